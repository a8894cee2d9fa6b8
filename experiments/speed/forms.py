"""Times of the CPU kernel and of the form in JAX: the same work, in turns, in one process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb

from .batches import batch, on_all_cores
from .circuits import circuit, crossbar, error, seconds

FORMS = {"kernel": True, "JAX": False}  # the argument `native` of the solver
CHUNK = 16  # arrays per call of the kernel: few enough for the caches
ENOUGH = {"float64": 1e-9, "float32": 3e-5}  # largest difference, relative to the largest output


def beside(
    what: dict[str, Any], make: Callable[[bool], Callable[[], Any]], dtype: str, least: int = 9
) -> dict:
    """Median times of both forms of `make(native)`, and their ratio."""
    runs = {form: make(native) for form, native in FORMS.items()}
    found = {form: jax.tree.leaves(run())[0] for form, run in runs.items()}
    wrong = error(found["kernel"], found["JAX"])
    assert wrong < ENOUGH[dtype], (what, wrong)
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(5):
        for form, run in runs.items():
            times[form] += seconds(run, least=least, most=3)
    medians = {f"{form}_s": float(np.median(taken)) for form, taken in times.items()}
    row = what | {"dtype": dtype} | medians
    return row | {"times": medians["JAX_s"] / medians["kernel_s"], "difference": wrong}


def read(n: int, dtype: str, *, everything: bool = False) -> dict:
    """Times of one read of a linear array, for output currents or for everything."""
    g, r_row, r_col, v = circuit(n, False)
    xbar, v_in = crossbar(g, r_row, r_col, dtype), jnp.asarray(v, dtype)

    def make(native: bool) -> Callable[[], Any]:
        solver = xb.LadderCG(native=native)
        all_of_it = lambda xbar, v: xb.read(xbar, v, solver=solver)
        of = all_of_it if everything else lambda xbar, v: all_of_it(xbar, v).i_out
        compiled = jax.jit(of)
        return lambda: compiled(xbar, v_in)

    what = {"verb": "read, everything" if everything else "read", "n": n}
    return beside(what, make, dtype, least=3 if n >= 512 else 15)


def dies(n: int, count: int, dtype: str) -> dict:
    """Times of reads of many arrays with one input."""
    what = {"verb": "dies", "n": n, "count": count}
    return _on_every_core(what, dtype, lambda current: current)


def gradient(n: int, count: int, dtype: str) -> dict:
    """Times of gradients by all cells of a batch."""
    slope = lambda current: jax.grad(lambda g, v: 1e8 * jnp.sum(current(g, v) ** 2))
    return _on_every_core({"verb": "gradient of a batch", "n": n, "count": count}, dtype, slope)


def _on_every_core(what: dict, dtype: str, of: Callable[[Callable], Callable]) -> dict:
    """Times of a function `of` a read for many arrays. The kernel takes chunks of arrays on all
    cores; the form in JAX is split over devices."""
    g, v = batch(what["n"], what["count"], dtype)

    def make(native: bool) -> Callable[[], Any]:
        one = of(_current(xb.LadderCG(native=native)))
        if native:
            many = jax.jit(lambda g, v: jax.lax.map(lambda g: one(g, v), g, batch_size=CHUNK))
            return lambda: many(g, v[0])
        f, place = on_all_cores(lambda g, v: jax.lax.map(lambda g: one(g, v), g), (True, False))
        args = place(g, v[0])
        return lambda: f(*args)

    return beside(what, make, dtype, least=3)


def _current(solver: xb.LadderCG) -> Callable[[Any, Any], Any]:
    of = lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(1.0, 1.0))
    return lambda g, v: xb.read(of(g), v, solver=solver).i_out


def one_transistor(n: int) -> dict:
    """Times of a read of 1T1R cells."""
    g, r_row, r_col, v = circuit(n, True)
    cell = xb.Series(xb.Mosfet(1e-3, 0.45, v_gate=1.8, n=1.3), xb.Ohmic(jnp.asarray(g)))
    xbar = xb.Crossbar(cell, crossbar(g, r_row, r_col).wires)
    v_in = jnp.asarray(0.2 * v)

    def make(native: bool) -> Callable[[], Any]:
        solver = xb.LadderBiCGStab(native=native)
        compiled = jax.jit(lambda xbar, v: xb.read(xbar, v, solver=solver).i_out)
        return lambda: compiled(xbar, v_in)

    return beside({"verb": "1T1R read", "n": n}, make, "float64")


def simulate(n: int) -> dict:
    """Times of a simulated pulse through an array with line capacitance."""
    g, r_row, r_col, v = circuit(n, True)
    wires = crossbar(g, r_row, r_col).wires
    wires = xb.Wires(wires.r_row, wires.r_col, c_row=1e-16, c_col=1e-16)
    xbar, v_in = xb.Crossbar(xb.Ohmic(jnp.asarray(g)), wires), jnp.asarray(0.2 * v)

    def make(native: bool) -> Callable[[], Any]:
        def run(xbar: xb.Crossbar, v: Any) -> Any:
            wave, ts = xb.waveform.pulse(v, 1e-9, 1e-10), jnp.linspace(0, 2e-9, 5)
            return xb.simulate(xbar, wave, ts, solver=xb.LadderCG(native=native)).i_out

        compiled = jax.jit(run)
        return lambda: compiled(xbar, v_in)

    return beside({"verb": "simulate", "n": n}, make, "float64", least=3)


def epoch() -> dict:
    """Times of an epoch of experiments/mnist_wires on tiles of 64 rows, with each form in processes
    of its own."""
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(2):
        for form, native in FORMS.items():
            environment = os.environ | ({} if native else {"XBARJAX_NATIVE": "0"})
            command = [sys.executable, "-m", "experiments.speed.forms"]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=True, env=environment
            )
            times[form].append(json.loads(done.stdout.splitlines()[-1])["epoch_s"])
    medians = {f"{form}_s": float(np.median(taken)) for form, taken in times.items()}
    ratio = medians["JAX_s"] / medians["kernel_s"]
    return {"verb": "epoch of mnist_wires", "tile": 64} | medians | {"times": ratio}


if __name__ == "__main__":
    from . import gpu

    jax.config.update("jax_enable_x64", True)
    print(json.dumps(gpu.epoch(small=False)))
