"""Error of a product made of slices, over the number of slices, with wires.

    python -m experiments.slicing.run

Weights are normal with standard deviation 0.3, 64 x 64, on differential pairs of 1 to 100 uS. Every
slice is an array of its own, programmed with the residual of the slices before it
(`xb.nn.methods.sliced`). The programming error of a cell is normal, with a standard deviation given
as a part of the range. `error` is the rms error of the summed weights of all slices, relative to
their rms; median of five draws. Three arms:

- compensated: every slice is compensated for its wires; residuals are measured on the arrays, wires
  included.
- calibrated: every slice has a digital gain and offset per column instead.
- cells alone: residuals are computed from the programmed conductances, as if wires were ideal.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import xbarjax as xb
from xbarjax.nn import methods
from xbarjax.variability import Programming

from ..common import keep

HERE = Path(__file__).parent
N, LOW, HIGH, WIRE = 64, 1e-6, 1e-4, 1.0
SPREADS, SLICES, DRAWS = (0.005, 0.01, 0.02, 0.05), 6, 5
ARMS = ("compensated", "calibrated", "cells alone")


def wired(g: jax.Array) -> xb.Crossbar:
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(WIRE, WIRE))


def ideal(g: jax.Array) -> xb.Crossbar:
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(0.0, 0.0))


def hardware(sigma: float, build: Any = wired) -> methods.Hardware:
    vary = Programming(jnp.asarray([sigma * (HIGH - LOW)]), HIGH)
    return methods.Hardware(xb.DifferentialPair(LOW, HIGH), build, N, rest={"vary": vary})


def parts(weights: jax.Array, sigma: float, arm: str, key: jax.Array) -> list[jax.Array]:
    """Effective weights of each slice."""
    if arm == "cells alone":
        made = methods.sliced(weights, hardware(sigma, ideal), SLICES, key, methods.plain)
        return [dataclasses.replace(part, build=wired).weights() for part in made.parts]
    then = methods.compensated if arm == "compensated" else methods.calibrated
    return [p.weights() for p in methods.sliced(weights, hardware(sigma), SLICES, key, then).parts]


def errors(sigma: float, arm: str) -> np.ndarray:
    """Relative rms error of the weights after each slice, median over draws."""
    found = []
    for draw in range(DRAWS):
        w = jnp.asarray(np.random.default_rng(draw).normal(0, 0.3, (N, N)))
        off = np.cumsum(parts(w, sigma, arm, jax.random.key(draw)), axis=0) - np.asarray(w)
        found.append(np.sqrt(np.mean(off**2, axis=(1, 2)) / np.mean(np.asarray(w) ** 2)))
    return np.median(found, axis=0)


def figure(cases: list[dict[str, Any]]) -> Figure:
    made = Figure(figsize=(6.4, 4), layout="constrained")
    panel = made.subplots()
    dashes = dict(zip(ARMS, ("-", "--", ":"), strict=True))
    marks = dict(zip(SPREADS, "os^D", strict=True))
    for case in cases:
        shown = case["arm"] == "compensated" or case["sigma"] == 0.01
        if shown:
            label = f"{case['arm']}, spread {100 * case['sigma']:g} %"
            style = dashes[case["arm"]] + marks[case["sigma"]]
            color = "0.0" if case["arm"] == "compensated" else "0.5"
            x = range(1, SLICES + 1)
            panel.plot(x, case["error"], style, color=color, mfc="none", label=label)
    panel.set(yscale="log", xlabel="slices", ylabel="rms error of the weights over their rms [1]")
    panel.legend(fontsize=8)
    return made


def main() -> None:
    began, console = time.perf_counter(), Console()
    jax.config.update("jax_enable_x64", True)
    table, cases = Table("residuals", "spread", *map(str, range(1, SLICES + 1)), "per slice"), []
    for arm in ARMS:
        for sigma in SPREADS:
            error = errors(sigma, arm)
            a_slice = float((error[3] / error[0]) ** (1 / 3))  # of the first four
            cases.append({"arm": arm, "sigma": sigma, "error": error, "a_slice": a_slice})
            table.add_row(arm, f"{sigma:g}", *(f"{x:.1e}" for x in error), f"{a_slice:.3f}")
    console.print(table)
    console.print(keep(HERE, {"cases": cases}, figure(cases), began))


if __name__ == "__main__":
    main()
