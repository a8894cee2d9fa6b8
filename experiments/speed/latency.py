"""Time to a first answer: each verb in a process of its own, with the kernel and without."""

import json
import os
import subprocess
import sys
import time

import jax
import numpy as np

from .circuits import error, seconds
from .verbs import programs, size_of


def first(verb: str, n: int) -> list[dict]:
    """Times of a verb with the kernel in C++ and in JAX alone, and the ratio of their first
    answers."""
    rows = {form: _apart(verb, n, form) for form in ("kernel", "JAX")}
    wrong = max(
        error(got, wanted)
        for got, wanted in zip(rows["kernel"].pop("found"), rows["JAX"].pop("found"), strict=True)
        if np.any(np.asarray(wanted) != 0)
    )
    assert wrong < 1e-6, (verb, wrong)
    times = rows["JAX"]["first_s"] / rows["kernel"]["first_s"]
    return [
        {"verb": verb, "n": n, "form": form, **row} | ({"times": times} if form == "kernel" else {})
        for form, row in rows.items()
    ]


def _apart(verb: str, n: int, form: str) -> dict:
    environment = os.environ | ({"XBARJAX_NATIVE": "0"} if form == "JAX" else {})
    command = [sys.executable, "-m", "experiments.speed.latency", verb, str(n)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(verb: str, n: int) -> dict:
    """Time to a first answer [s], its parts, and the time of later answers."""
    f, args = programs(n)[verb]
    marks = [time.perf_counter()]
    mark = lambda x: marks.append(time.perf_counter()) or x
    traced = mark(jax.jit(f).trace(*args))
    lowered = mark(traced.lower())
    compiled = mark(lowered.compile())
    out = mark(jax.block_until_ready(compiled(*args)))
    parts = dict(zip(("trace_s", "lower_s", "compile_s", "once_s"), np.diff(marks), strict=True))
    text = compiled.as_text()
    return {
        "first_s": marks[-1] - marks[0],
        **parts,
        "run_s": float(np.median(seconds(lambda: compiled(*args), least=9))),
        **size_of(lowered.as_text()),
        "optimised_lines": text.count("\n"),
        "optimised_loops": text.count(" while("),
        # floating-point results alone: the number of solver steps may differ
        "found": [x.tolist() for x in jax.tree.leaves(out) if x.dtype.kind == "f"],
    }


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2])), default=float))
