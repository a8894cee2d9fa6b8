"""Times of reads: over sizes, in batches, with gradients, and against other solvers.

Correctness is asserted before anything is timed. Compile time is separate from run time. Every
number is a median, and competitors take turns. Conductances are 1 to 100 uS, and r Gmax = 1e-4
(1 ohm per segment) unless stated otherwise. Every part runs in a process of its own, with huge
pages of the C library for all competitors alike, unless its name says otherwise.

    python -m experiments.speed.run              # everything
    python -m experiments.speed.run --only dies  # one part, printed and not written
    python -m experiments.speed.run --only dies --write  # replaces this part in the result
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
from rich.console import Console

from ..common import machine, write_figure, write_json

HERE = Path(__file__).parent
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # of glibc, from version 2.35


def parts() -> dict:
    """All parts by name: lists of jobs, each of which returns one or several rows."""
    from . import (
        batches,
        forms,
        latency,
        loops,
        nonlinear,
        own_forms,
        peers,
        sizes,
        sweeps,
        transients,
    )
    from .verbs import VERBS

    both = ("float64", "float32")
    n_dies, n_inputs = 256, 4096
    of = lambda f, ns: [lambda n=n: f(n) for n in ns]
    return {
        "bandwidth": [sizes.bandwidth],
        "superlu": [
            lambda n=n, s=s: peers.superlu(n, s) for n in (64, 128, 256, 512) for s in (False, True)
        ],
        "superlu_small_pages": [lambda s=s: peers.superlu(512, s) for s in (False, True)],
        "klu": of(peers.klu, (64, 128, 256)),
        "ngspice": of(peers.ngspice, (16, 32, 64)),
        "read": [
            lambda n=n, d=d: sizes.read(n, d)
            for n in (32, 64, 128, 256, 512, 1024, 2048, 4096)
            for d in both
        ],
        "gradient": of(sizes.gradient, (64, 128, 256, 512)),
        "gradient_small_pages": of(sizes.gradient, (64, 128, 256, 512)),
        "transfer": [
            lambda n=n, m=m, d=d: sizes.transfer(n, m, d)
            for n, m in ((32, 32), (64, 64), (128, 128), (256, 256), (64, 512), (512, 64))
            for d in both
        ],
        "transfer_gradient": [
            lambda n=n, m=m, d=d: sizes.transfer_gradient(n, m, d)
            for n, m in ((32, 32), (64, 64), (128, 128), (784, 128))
            for d in both
        ],
        "start": [
            lambda n=n, g=g: sizes.start(n, g) for n in (128, 512) for g in (1e-4, 1e-2, 1e-1)
        ],
        "dies": [
            lambda d=d, m=m: batches.dies(128, n_dies, d, mapped=m)
            for d in both
            for m in (False, True)
        ],
        "sweep": [lambda: sweeps.stored(64, 100_000, 500)],
        "inputs": [lambda d=d: batches.inputs(128, n_inputs, d) for d in both],
        "inputs_through_transfer": [lambda: batches.through_transfer(128, n_inputs)],
        "gradient_of_batch": [lambda: batches.gradient(128, 64)],
        "nonlinear": [*of(nonlinear.one_transistor, (64,)), *of(nonlinear.sinh, (64, 256, 512))],
        "transient": [
            *(lambda n=n, s=s: transients.against_ngspice(n, s) for n, s in ((32, 370), (64, 470))),
            lambda: transients.equal_steps(256, 500),
        ],
        "transient_gradient": of(transients.gradient, (32, 64)),
        "loops": of(loops.against_ngspice, (64,)),
        "loops_of_inputs": [lambda: loops.inputs(64, 1000)],
        "shared_lines": [
            *of(own_forms.shared_lines, (16, 128)),
            *(lambda n=n: own_forms.shared_lines(n, gradient=True) for n in (16, 128)),
            *(lambda n=n: own_forms.shared_lines(n, 64) for n in (16, 128)),
        ],
        "integrators": of(own_forms.integrators, (16, 128)),
        "forms": [
            *(lambda n=n, d=d: forms.read(n, d) for n in (64, 128, 256, 512, 1024) for d in both),
            *(lambda n=n: forms.read(n, "float64", everything=True) for n in (64, 128, 512)),
            lambda: forms.one_transistor(64),
            lambda: forms.simulate(64),
        ],
        "forms_of_batches": [
            *(lambda d=d: forms.dies(128, n_dies, d) for d in both),
            lambda: forms.gradient(128, 64, "float64"),
        ],
        "epoch": [forms.epoch],
        "latency": of(lambda verb: latency.first(verb, 64), VERBS),
        "fresh_64": [lambda: sizes.fresh(64)],
        "fresh_1024": [lambda: sizes.fresh(1024)],
    }


def run_here(name: str) -> list[dict]:
    """Rows of a part, run in this process."""
    jax.config.update("jax_enable_x64", True)
    if name in ("dies", "sweep", "forms_of_batches"):
        jax.config.update("jax_num_cpu_devices", os.cpu_count())
    rows = []
    for job in parts()[name]:
        found = job()
        rows += found if isinstance(found, list) else [found] if found else []
    return rows


def run_apart(name: str) -> list[dict]:
    """Rows of a part, run in a process of its own."""
    command = [sys.executable, "-m", "experiments.speed.run", "--part", name]
    environment = os.environ | ({} if name.endswith("small_pages") else HUGE_PAGES)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(parts()), help="one part, printed and not written")
    parser.add_argument("--write", action="store_true", help="with --only: write the part")
    parser.add_argument("--part", choices=list(parts()), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(run_here(arguments.part), default=float))
        return
    console, result = Console(), {}
    for name in [arguments.only] if arguments.only else parts():
        console.print(f"[bold]{name}")
        result[name] = run_apart(name)
        for row in result[name]:
            console.print(
                "  ", *(f"{k} {v:.4g}" if type(v) is float else f"{k} {v}" for k, v in row.items())
            )
    if arguments.only and not arguments.write:
        return
    _write(result, arguments.only)


def _write(result: dict, only: str | None) -> None:
    from .figure import draw

    result["machine"] = machine()
    folder = HERE / re.sub(
        r"[^a-z0-9]+", "-", f"{result['machine']['processor']} {os.cpu_count()} cores".lower()
    )
    folder.mkdir(exist_ok=True)
    if only and (folder / "result.json").exists():
        result = json.loads((folder / "result.json").read_text()) | result
    write_json(folder / "result.json", result)
    if only is None or (folder / "figure.svg").exists():
        write_figure(draw(result), folder / "figure.svg")


if __name__ == "__main__":
    main()
