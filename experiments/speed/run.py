"""How long a read takes, against SciPy's SuperLU and ngspice in the same run.

Correctness is asserted before anything is timed; compile time is apart from run time; every
figure is a median, and competitors take turns. r Gmax = 1e-4: 1 ohm a segment, 1 to 100 uS.

    python -m experiments.speed.run
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import xbarjax as xb

from .. import reference
from ..common import machine, write_figure, write_json

HERE = Path(__file__).parent
HUGE_PAGES = "glibc.malloc.hugetlb=1"  # asked of the C library, from version 2.35


def circuit(n: int, per_segment: bool, seed: int = 0):
    """Conductances [S], segment resistances [ohm] and inputs [V] of an n x n array."""
    rng = np.random.default_rng(seed)
    g = rng.uniform(1e-6, 1e-4, (n, n))
    wire = (lambda: rng.uniform(0.5, 1.5, (n, n))) if per_segment else (lambda: 1.0)
    return g, wire(), wire(), rng.uniform(0, 1, n)


def seconds(f, least: int = 5, most: float = 10.0) -> list[float]:
    """Run times of `f`, at least `least` of them unless they take longer than `most` in all."""
    times = []
    while len(times) < 2 or (len(times) < least and sum(times) < most):
        start = time.perf_counter()
        jax.block_until_ready(f())
        times.append(time.perf_counter() - start)
    return times


def read_of(g, r_row, r_col):
    wires = xb.Wires(*(r if np.isscalar(r) else jnp.asarray(r) for r in (r_row, r_col)))
    return xb.Crossbar(xb.Ohmic(jnp.asarray(g)), wires)


def against_superlu(n: int, per_segment: bool) -> dict:
    """One read against assembly, factorisation and solve, in turns."""
    g, r_row, r_col, v = circuit(n, per_segment)
    crossbar, v_in = read_of(g, r_row, r_col), jnp.asarray(v)
    compiled = jax.jit(lambda crossbar, v_in: xb.read(crossbar, v_in).i_out)
    read = lambda: compiled(crossbar, v_in)
    everything = lambda: xb.read(crossbar, v_in)  # all node voltages and currents, checked
    got, wanted = np.asarray(read()), reference.solve(g, r_row, r_col, v)
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error < 1e-10, error

    matrix, b = reference.nodal_matrix(g, r_row, r_col, v)
    ours, full, factors, solves = [], [], [], []
    jax.block_until_ready(everything())
    for _ in range(3 if n >= 512 else 5):
        ours += seconds(read, least=7 if n >= 512 else 25)
        full += seconds(everything, least=5 if n >= 512 else 15)
        start = time.perf_counter()
        lu = reference.factor(matrix)
        middle = time.perf_counter()
        lu.solve(b)
        factors.append(middle - start)
        solves.append(time.perf_counter() - middle)
    solution = xb.read(crossbar, v_in)
    ours, lu_read = np.median(ours), np.median(np.add(factors, solves))
    return {
        "n": n,
        "wires": "per segment" if per_segment else "uniform",
        "read_s": ours,
        "everything_s": np.median(full),
        "superlu_factor_s": np.median(factors),
        "superlu_solve_s": np.median(solves),
        "times_faster": lu_read / ours,
        "error": error,
        "iterations": int(solution.num_steps),
        "residual": float(solution.residual / jnp.max(solution.i_out)),
    }


def against_ngspice(n: int) -> dict:
    g, r_row, r_col, v = circuit(n, False)
    crossbar, v_in = read_of(g, r_row, r_col), jnp.asarray(v)
    read = lambda: xb.read(crossbar, v_in).i_out
    wanted = reference.ngspice(g, r_row, r_col, v)
    error = np.abs(np.asarray(read()) - wanted).max() / np.abs(wanted).max()
    assert error < 1e-9, error
    spice = np.median(seconds(lambda: reference.ngspice(g, r_row, r_col, v), least=3))
    ours = np.median(seconds(read, least=15))
    return {
        "n": n,
        "read_s": ours,
        "ngspice_process_s": spice,
        "times_faster": spice / ours,
        "error": error,
    }


def gradient(n: int) -> dict:
    """A gradient with respect to every leaf of the circuit, in units of its own read."""
    g, r_row, r_col, v = circuit(n, True)
    crossbar, v_in = read_of(g, r_row, r_col), jnp.asarray(v)
    loss = lambda crossbar, v_in: jnp.sum(xb.read(crossbar, v_in).i_out ** 2)
    value = jax.jit(loss)
    slope = jax.jit(jax.grad(loss, argnums=(0, 1)))
    reads, grads = [], []
    jax.block_until_ready((value(crossbar, v_in), slope(crossbar, v_in)))
    for _ in range(5):
        reads += seconds(lambda: value(crossbar, v_in))
        grads += seconds(lambda: slope(crossbar, v_in))
    ratio = np.median(grads) / np.median(reads)
    return {"n": n, "gradient_s": np.median(grads), "reads": ratio}


def transfer(n: int) -> dict:
    g, r_row, r_col, v = circuit(n, False)
    crossbar = read_of(g, r_row, r_col)
    matrix = xb.transfer(crossbar)
    wanted = reference.solve(g, r_row, r_col, v)
    error = np.abs(v @ matrix - wanted).max() / np.abs(wanted).max()
    assert error < 1e-10, error
    return {
        "n": n,
        "transfer_s": np.median(seconds(lambda: xb.transfer(crossbar))),
        "error": float(error),
    }


def in_process_of_its_own(what: str, n: int, **variables: str) -> dict:
    command = [sys.executable, "-m", "experiments.speed.run", f"--{what}", str(n)]
    environment = os.environ | variables
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _peak_bytes() -> int:
    """The most memory this process has held (getrusage would report its parent's, on Linux)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def fresh(n: int) -> dict:
    """First and later reads of a process of its own, and the memory it takes."""
    g, r_row, r_col, v = circuit(n, False)
    crossbar, v_in = read_of(g, r_row, r_col), jnp.asarray(v)
    before = _peak_bytes()
    start = time.perf_counter()
    solution = jax.block_until_ready(xb.read(crossbar, v_in))
    first = time.perf_counter() - start
    later = float(np.median(seconds(lambda: xb.read(crossbar, v_in))))
    assert solution.residual < 1e-10 * jnp.max(solution.i_out)
    peak = _peak_bytes()
    return {
        "n": n,
        "first_read_s": first,
        "read_s": later,
        "peak_bytes": peak,
        "bytes_a_cell": (peak - before) / n**2,
        "iterations": int(solution.num_steps),
    }


def draw(result: dict) -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    uniform = [r for r in result["superlu"] if r["wires"] == "uniform"]
    n = [r["n"] for r in uniform]
    lu = [r["superlu_factor_s"] + r["superlu_solve_s"] for r in uniform]
    axis.loglog(n, lu, "k--s", label="SuperLU, symmetric ordering")
    if result["ngspice"]:
        sizes, spice = zip(*((r["n"], r["ngspice_process_s"]) for r in result["ngspice"]))
        axis.loglog(sizes, spice, ":^", color="0.4", label="ngspice, whole process")
    reads = {r["n"]: r["read_s"] for r in result["superlu"] + result["ngspice"]}
    reads |= {r["n"]: r["read_s"] for r in result["fresh"]}
    sizes = sorted(reads)
    axis.loglog(sizes, [reads[n] for n in sizes], "k-o", label="xbarjax, float64")
    axis.set_xlabel("rows = columns")
    axis.set_ylabel("one exact read [s]")
    axis.set_xticks(sizes, labels=[str(n) for n in sizes], minor=False)
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def show(result: dict, console: Console) -> None:
    table = Table(title="One read against SuperLU (factor and solve)")
    for column in ("n", "wires", "read [ms]", "SuperLU [s]", "times faster", "iterations"):
        table.add_column(column, justify="right")
    for r in result["superlu"]:
        lu = r["superlu_factor_s"] + r["superlu_solve_s"]
        cells = f"{r['n']}|{r['wires']}|{1e3 * r['read_s']:.1f}|{lu:.2f}"
        table.add_row(*f"{cells}|{r['times_faster']:.0f}|{r['iterations']}".split("|"))
    console.print(table)
    for name in ("ngspice", "gradient", "gradient_huge_pages", "transfer", "fresh"):
        for r in result[name]:
            console.print(name, *(f"{k} {v:.4g}" for k, v in r.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", type=int, help="only first and later reads of this size")
    parser.add_argument("--gradient", type=int, help="only the gradient of a read of this size")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for what in (fresh, gradient):
        if n := getattr(arguments, what.__name__):
            print(json.dumps(what(n)))
            return
    console = Console()
    parts = {
        "superlu": [
            lambda n=n, s=s: against_superlu(n, s)
            for n in (64, 128, 256, 512)
            for s in (False, True)
        ],
        "ngspice": [lambda n=n: against_ngspice(n) for n in (16, 32, 64)],
        "gradient": [lambda n=n: gradient(n) for n in (64, 128, 256, 512)],
        "transfer": [lambda n=n: transfer(n) for n in (64, 128)],
        "gradient_huge_pages": [
            lambda n=n: in_process_of_its_own("gradient", n, GLIBC_TUNABLES=HUGE_PAGES)
            for n in (256, 512)
        ],
        "fresh": [lambda n=n: in_process_of_its_own("fresh", n) for n in (64, 1024)],
    }
    if shutil.which("ngspice") is None:
        console.print("ngspice is not installed: its column is left out")
        parts["ngspice"] = []
    result = {}
    for name, jobs in parts.items():
        result[name] = []
        for job in jobs:
            console.print(f"{name} {len(result[name]) + 1} of {len(jobs)}")
            result[name].append(job())
    result["machine"] = machine()
    write_json(HERE / "result.json", result)
    write_figure(draw(result), HERE / "figure.svg")
    show(result, console)


if __name__ == "__main__":
    main()
