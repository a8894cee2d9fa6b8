"""Relaxation of the conductances of a HfOx chip in a bake: a fit to half of the cells, tested on
the other half.

    python -m experiments.relaxation.run

`Relaxation`, `g + shift(g) + size(g) xi`, with a shift of second and a size of third degree in
`g/150 uS`, is fitted by maximum likelihood, for the bakes at 110 and 130 C. Cells of even rank by
address are fitted, those of odd rank are held out. Compared on the held-out cells are the mean and
standard deviation of the change within eighths of the cells, and the fraction of changes within 1,
2 and 3 standard deviations (for a normal distribution 68.3, 95.4 and 99.7 %).
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from xbarjax.variability import Relaxation

from ..common import keep, measured

HERE = Path(__file__).parent
G_MAX = 150e-6
BAKES = (110, 130)  # [C]
EIGHTHS = 8


def cells(celsius: int) -> tuple[np.ndarray, np.ndarray]:
    """Conductances [S] of the same cells before and after the bake."""
    tables = []
    for when in ("pre", "post"):
        table = np.loadtxt(measured(f"rram_hfox_1t1r/{when}bake{celsius}.tsv.gz"))
        tables.append(table[np.argsort(table[:, 0])])
    before, after = tables
    assert np.array_equal(before[:, 0], after[:, 0]), "the two files have different cells"
    return 1 / before[:, 1], 1 / after[:, 1]


def moments(model: Relaxation, g: Any) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation [S] of the change of cells at `g`."""
    still = model.apply(g, jnp.zeros_like(g)) - g
    return still, model.apply(g, jnp.ones_like(g)) - g - still


def fit(before: np.ndarray, after: np.ndarray) -> Relaxation:
    """Maximum-likelihood fit, computed in units of `G_MAX`."""
    g, change = jnp.asarray(before) / G_MAX, jnp.asarray(after - before) / G_MAX

    def model(p):
        return Relaxation(p[:3], p[3:], g_max=1.0)

    def surprise(p, _):
        shift = jnp.polyval(p[:3][::-1], g)
        size = jnp.maximum(jnp.polyval(p[3:][::-1], g), 1e-4)
        return jnp.mean(jnp.log(size) + ((change - shift) / size) ** 2 / 2)

    start = jnp.array([0.0, 0.0, 0.0, 0.02, 0.1, 0.0, 0.0])
    found = optx.minimise(surprise, optx.BFGS(rtol=1e-9, atol=1e-9), start, max_steps=2000)
    p = model(found.value)
    return Relaxation(p.shift * G_MAX, p.size * G_MAX, G_MAX)


def held_out(model: Relaxation, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """Measured and predicted change within eighths of the cells, and the fraction of changes within
    1, 2 and 3 standard deviations."""
    change = after - before
    mean, size = map(np.asarray, moments(model, jnp.asarray(before)))
    edges = np.quantile(before, np.linspace(0, 1, EIGHTHS + 1))
    which = np.clip(np.searchsorted(edges, before, side="right") - 1, 0, EIGHTHS - 1)
    rows = []
    for k in range(EIGHTHS):
        mine = which == k
        spread = np.sqrt(np.mean(size[mine] ** 2) + np.var(mean[mine]))
        error = change[mine].std() / np.sqrt(mine.sum())
        rows.append(
            {
                "g_S": before[mine].mean(),
                "cells": int(mine.sum()),
                "mean_S": change[mine].mean(),
                "mean_error_S": error,
                "model_mean_S": mean[mine].mean(),
                "deviation_S": change[mine].std(),
                "model_deviation_S": spread,
            }
        )
    apart = np.abs(change - mean) / size
    return {"eighths": rows, "within": {str(k): np.mean(apart < k) for k in (1, 2, 3)}}


def figure(result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(9, 3.6), layout="constrained")
    for panel, celsius in zip(made.subplots(1, 2, sharey=True), BAKES, strict=True):
        of = result[str(celsius)]
        model = Relaxation(jnp.asarray(of["shift_S"]), jnp.asarray(of["size_S"]), G_MAX)
        g = jnp.linspace(1e-6, 130e-6, 200)
        mean, size = moments(model, g)
        rows = of["held_out"]["eighths"]
        column = lambda name, rows=rows: 1e6 * np.array([row[name] for row in rows])
        panel.plot(1e6 * g, 1e6 * size, "k-", label="deviation, fitted")
        panel.plot(column("g_S"), column("deviation_S"), "ko", label="deviation, held-out cells")
        panel.plot(1e6 * g, 1e6 * mean, "k--", label="mean, fitted")
        bars = dict(yerr=column("mean_error_S"), fmt="s", color="0.5", capsize=2)
        panel.errorbar(column("g_S"), column("mean_S"), label="mean, held-out cells", **bars)
        panel.axhline(0, color="0.8", lw=0.8, zorder=0)
        panel.set(title=f"{celsius} °C", xlabel="conductance before the bake [µS]")
    panel.legend(fontsize=8, loc="upper right")
    made.axes[0].set_ylabel("change of conductance [µS]")
    return made


def main() -> None:
    began, console = time.perf_counter(), Console()
    jax.config.update("jax_enable_x64", True)
    result: dict[str, Any] = {}
    table = Table("bake", "worst deviation", "worst mean, in standard errors", "within 1, 2, 3")
    for celsius in BAKES:
        before, after = cells(celsius)
        even = np.arange(len(before)) % 2 == 0
        model = fit(before[even], after[even])
        seen = held_out(model, before[~even], after[~even])
        result[str(celsius)] = {"shift_S": model.shift, "size_S": model.size, "held_out": seen}
        ratio = [row["deviation_S"] / row["model_deviation_S"] for row in seen["eighths"]]
        z = [(row["mean_S"] - row["model_mean_S"]) / row["mean_error_S"] for row in seen["eighths"]]
        worst = max(ratio, key=lambda x: abs(np.log(x)))
        within = ", ".join(f"{100 * p:.1f} %" for p in seen["within"].values())
        table.add_row(f"{celsius} C", f"{worst:.2f}", f"{max(z, key=abs):.1f}", within)
        assert 0.85 < min(ratio) and max(ratio) < 1.18 and max(map(abs, z)) < 3, (ratio, z)
    console.print(table)
    console.print(keep(HERE, result, figure(result), began))


if __name__ == "__main__":
    main()
