"""Device models against measured cells: prediction of current-voltage curves from a few points.

The data are currents of HfOx 1T1R cells at 36 bit-line voltages from 0 to 0.35 V, at 32 programmed
levels (Stanford, MIT licence, (c) 2021 Akash Levy,
https://github.com/robert-radway/NI-RRAM-Python). Cells were read with the word line at 2.5 V. The
current is the voltage across a shunt of 560 ohm, averaged over 1000 samples; the shunt is part of
every model.

Protocol: in order of address, every other cell is for training, the others are held out. On the
training cells, the shared parameters and the offset of each model are fitted by least squares, with
one conductance per cell. For a held-out cell only the conductance is fitted: to the 18 points below
0.175 V, to predict the 18 above; or to the read at 0.2 V alone, to predict all others. Errors are
rms over points, relative to the current of the cell at 0.35 V. "Noise alone" is the same for curves
simulated with `Sinh + r_s` and the noise of each cell; no model can do better. Noise is the
residual of a polynomial of degree 4 through the points of a cell.

Findings on the training cells (result.json):

- The offset is a constant of the instrument. At 0 V it is 0.608 +- 0.019 uA; its spread over cells
  (0.30 uA) is the noise of a point (0.29 uA); and it is independent of conductance and address
  (correlations -0.03, -0.08). At 0 V the current of every model is 0, so another fitted offset
  shows that the shape of a model is wrong: Ohmic 0.30, one Sinh 0.43 uA.
- The nonlinearity is that of the cells. An ohmic shunt can only straighten such a curve, and has at
  most 7 % of the voltage; a transistor bends it the other way. The instrument is not the cause
  either: at equal currents weak cells are nonlinear and strong ones are not.
- The nonlinearity falls with conductance, in part because of a series resistance. One `b` for all
  cells with a resistance of 6 kohm besides the shunt (two parameters) fits the curves as well as
  `b` as a quadratic in `log10(g)` (three parameters), with b = 4.8 +- 0.3 /V, near the 4 /V of the
  Stanford-PKU model. The fitted resistance depends on the law of the film, 5.4 to 7.0 kohm: the
  data do not distinguish the access transistor from a film that is more linear at high conductance.
- Cells differ in shape. Fitted alone, `b` varies two to three times as much as its uncertainty in
  the weak and the middle third, and some curves jump.

On the held-out cells the differences between cells are most of the error: 0.71 uA rms, where noise
alone would give 0.41. The better laws differ little; with a series resistance the weak third is
predicted with the least bias.

    python -m experiments.device_fit.run                      # fit, predict, write the results
    python -m experiments.device_fit.run --data other.tsv.gz  # predict all cells of another file
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

import xbarjax as xb

from ..common import keep, measured, write_json
from . import data
from .data import Curves
from .models import MODELS, R_SHUNT, Model, alone, conductances, curves, population

HERE = Path(__file__).parent
V_USED = 0.175  # [V] held-out conductances are fitted below, curves are predicted above
V_READ = 0.2  # [V] of the single read
BANDS = ("weak", "middle", "strong")  # thirds of the cells, by current at the highest voltage
SHOWN = (2, 15, 35, 60, 85, 98)  # percentiles of the cells drawn
DRAWN = ("Ohmic", "Sinh + r_s")


def smooth(c: Curves, degree: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A polynomial through the points of every cell: its values, and the residuals [A], scaled so
    that their mean square is the variance of the noise."""
    powers = np.vander(c.v / c.v[-1], degree + 1)
    values = c.i @ np.linalg.pinv(powers).T @ powers.T
    freedom = (len(c.v) - degree - 1) / len(c.v)
    return values, (c.i - values) / np.sqrt(freedom)


def rms(x: Any) -> np.ndarray:
    return np.sqrt(np.mean(np.asarray(x) ** 2, axis=1))


def spread(error: np.ndarray) -> dict:
    return {"median": np.median(error), "p90": np.percentile(error, 90)}


def evaluate(
    c: Curves,
    parameters: dict,
    models: tuple[Model, ...] = MODELS,
    on_model: Callable[[str], None] = lambda name: None,
) -> dict:
    """Errors of predicted curves, for cells that `parameters` were not fitted to.

    `parameters` is a `result.json` of this experiment: `theta` and `i_offset` of each model, and
    `i_zero` of the instrument. Errors are rms over the points of a cell, relative to its current at
    the highest voltage (of the smooth curve, minus `i_zero`).
    """
    values, noise = smooth(c)
    top = values[:, -1] - parameters["offset"]["i_zero"]
    low, one = c.v < V_USED, np.arange(len(c.v)) == np.argmin(np.abs(c.v - V_READ))
    band = np.argsort(np.argsort(top)) * len(BANDS) // len(top)
    v = jnp.asarray(c.v)

    def predict(model, i, used):
        """Curves with conductances fitted to the `used` points, and the number of fits that did not
        converge."""
        theta = jnp.asarray(parameters["models"][model.name]["theta"], v.dtype)
        g, rest = conductances(model, theta, v, jnp.where(used, i, jnp.nan))
        return np.asarray(curves(model, theta, g, v)), int(jnp.sum(~rest))

    def errors(model, i):
        above, failed = predict(model, i, low)
        from_one, failed_one = predict(model, i, one)
        return above - i, from_one - i, failed + failed_one

    report: dict = {
        "cells": len(top),
        "noise": spread(rms(noise) / top),
        "noise_above": spread(rms(noise[:, ~low]) / top),
        "noise_above_a": np.sqrt(np.mean(noise[:, ~low] ** 2)),
        "models": {},
    }
    for model in models:
        on_model(model.name)
        i = c.i - parameters["models"][model.name]["i_offset"]
        above, from_one, failed = errors(model, i)
        mean = np.mean(above[:, ~low], axis=1) / top
        report["models"][model.name] = {
            "above": spread(rms(above[:, ~low]) / top),
            "above_a": np.sqrt(np.mean(above[:, ~low] ** 2)),
            "one_read": spread(rms(from_one[:, ~one]) / top),
            "bias": {
                name: [np.mean(mean[band == k]), np.std(mean[band == k]) / np.sqrt(sum(band == k))]
                for k, name in enumerate(BANDS)
            },
            "not_converged": failed,
        }
        if model.name == DRAWN[1]:  # curves simulated with this model, whose errors are noise alone
            exact, _ = predict(model, i, np.ones_like(low))
            random = np.random.default_rng(0).normal(size=exact.shape)
            made = exact + rms(noise)[:, None] * random
            above, from_one, _ = errors(model, made)
            report["noise_alone"] = {
                "above": spread(rms(above[:, ~low]) / top),
                "above_a": np.sqrt(np.mean(above[:, ~low] ** 2)),
                "one_read": spread(rms(from_one[:, ~one]) / top),
            }
    return report


def train(c: Curves, models: tuple[Model, ...], on_model: Callable[[str], None]) -> dict:
    """Shared parameters of every model, fitted to the training cells."""
    values, noise = smooth(c)
    at_zero = c.i[:, 0]
    g = (values[:, -1] - at_zero.mean()) / c.v[-1]
    top = values[:, -1] - at_zero.mean()
    v, i = jnp.asarray(c.v), jnp.asarray(c.i)
    report: dict = {"cells": len(top), "noise": spread(rms(noise) / top)}
    report["noise_a_at"] = {
        f"{lo:g} to {hi:g} V": np.sqrt(np.mean(noise[:, (c.v >= lo) & (c.v < hi)] ** 2))
        for lo, hi in ((0, 0.045), (0.045, 0.175), (0.175, 0.36))
    }
    report["offset"] = {
        "i_zero": at_zero.mean(),
        "i_zero_std": at_zero.std() / np.sqrt(len(top)),
        "spread_over_cells": at_zero.std(),
        "correlation_with_g": np.corrcoef(at_zero, g)[0, 1],
        "correlation_with_address": np.corrcoef(at_zero, c.address)[0, 1],
    }
    report["largest_share_of_shunt"] = R_SHUNT * top.max() / c.v[-1]
    report["models"] = {}
    for model in models:
        on_model(model.name)
        found = population(model, v, i)
        names = zip(model.names, zip(found.theta, found.theta_std))
        report["models"][model.name] = {
            "theta": found.theta,
            "i_offset": found.i_offset,
            "i_offset_std": found.i_offset_std,
            "shared": {name: list(pair) for name, pair in names},
            "in_sample": spread(rms(found.left) / top),
            "rms_a": jnp.sqrt(jnp.mean(found.left**2)),
            "g_min": found.g.min(),
            "g_max": found.g.max(),
            "converged": found.converged,
        }
    report["each_cell_alone"] = by_itself(c, top, on_model)
    return report


def by_itself(c: Curves, top: np.ndarray, on_model: Callable[[str], None]) -> dict:
    """Shape and offset of every training cell, fitted alone, by bands of current: median over
    cells, half the width between the 16th and 84th percentiles, and the median of `Fit.std`."""
    v, i = jnp.asarray(c.v), jnp.asarray(c.i)
    band = np.argsort(np.argsort(top)) * len(BANDS) // len(top)
    of = {
        "Sinh": (lambda g: xb.Sinh(g, 2.0), lambda s: (s.g, s.b), {"b [1/V]": lambda s: s.b}),
        "Polynomial": (
            lambda g: xb.Polynomial(g, 0.0, 0.0),
            lambda s: (s.g, s.g_2, s.g_3),
            {"g_2 [S/V]": lambda s: s.g_2, "g_3 [S/V^2]": lambda s: s.g_3},
        ),
    }
    report = {}
    for name, (device, free, parts) in of.items():
        on_model(f"{name}, each cell alone")
        found = alone(device, free, v, i)
        row: dict = {
            "in_sample": spread(np.asarray(found.rms) / top),
            "converged": jnp.mean(found.converged),
            "i_offset_spread_over_std": jnp.sqrt(
                jnp.mean(((found.i_offset - found.i_offset.mean()) / found.i_offset_std) ** 2)
            ),
        }
        quantities = {
            k: (get(found.cell.second), get(found.std.second)) for k, get in parts.items()
        }
        for quantity, (value, std) in quantities.items():
            row[quantity] = {}
            for k, label in enumerate(BANDS):
                mine = np.asarray(value)[band == k]
                low, high = np.percentile(mine, (16, 84))
                row[quantity][label] = {
                    "median": np.median(mine),
                    "spread": (high - low) / 2,
                    "std": np.median(np.asarray(std)[band == k]),
                }
        report[name] = row
    return report


def show(result: dict, check: dict, console: Console) -> None:
    percent = lambda x: f"{100 * x['median']:.2f} / {100 * x['p90']:.1f}"
    table = Table(title=f"{check['cells']} cells predicted: rms errors, median / 90th percentile")
    table.add_column("model", no_wrap=True)
    heads = ("shared", "in-sample [%]", f"above {V_USED} V [%]", "the same [uA]")
    for head in (*heads, f"one read at {V_READ} V [%]", "bias, weak third [%]"):
        table.add_column(escape(head), justify="right")
    for name, row in check["models"].items():
        found = result["models"][name]
        bias, std = row["bias"][BANDS[0]]
        table.add_row(
            name,
            str(len(found["theta"])),
            percent(found["in_sample"]),
            percent(row["above"]),
            f"{1e6 * row['above_a']:.3f}",
            percent(row["one_read"]),
            f"{100 * bias:+.1f} ± {100 * std:.1f}",
        )
    least = check["noise_alone"]
    table.add_section()
    uncertain = percent(least["above"]), f"{1e6 * least['above_a']:.3f}", percent(least["one_read"])
    table.add_row(f"{DRAWN[1]}, noise alone", "", "", *uncertain, "")
    noise = percent(check["noise"]), percent(check["noise_above"])
    table.add_row("noise", "", *noise, f"{1e6 * check['noise_above_a']:.3f}", "", "")
    console.print(table)
    console.print("in percent of the current at 0.35 V; standard deviations are over cells\n")
    shared = Table(title="Shared parameters of the training cells")
    for head in ("model", "parameter", "value"):
        shared.add_column(head, no_wrap=True)
    pair = lambda value, std, unit=1.0: f"{unit * value:.3f} ± {unit * std:.3f}"
    for name, found in result["models"].items():
        for quantity, values in found["shared"].items():
            shared.add_row(name, escape(quantity), pair(*values))
        shared.add_row(
            name, escape("offset [uA]"), pair(found["i_offset"], found["i_offset_std"], 1e6)
        )
    zero = result["offset"]
    shared.add_row(
        "read at 0 V", escape("offset [uA]"), pair(zero["i_zero"], zero["i_zero_std"], 1e6)
    )
    console.print(shared)


def draw(c: Curves, result: dict) -> Figure:
    """Three panels: curves, chord conductance over voltage, and errors of held-out cells."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.1, 1, 1.1))
    lines = {DRAWN[0]: ("0.55", "--"), DRAWN[1]: ("k", "-")}
    zero = result["offset"]["i_zero"]
    top = smooth(c)[0][:, -1] - zero
    v, low = jnp.asarray(c.v), c.v < V_USED
    at = [int(np.argsort(top)[int(p / 100 * len(top))]) for p in SHOWN]
    left.plot(c.v[low], 1e6 * c.i[at][:, low].T, "o", color="0.3", markersize=2.5)
    left.plot(c.v[~low], 1e6 * c.i[at][:, ~low].T, "o", color="0.3", mfc="w", markersize=2.5)
    dense = jnp.linspace(0, c.v[-1], 100)
    models = {model.name: model for model in MODELS}
    for name, (color, style) in lines.items():
        found = result["models"][name]
        theta, offset = jnp.asarray(found["theta"], v.dtype), found["i_offset"]
        used = jnp.where(low, c.i - offset, jnp.nan)
        g, _ = conductances(models[name], theta, v, used)
        y = 1e6 * (curves(models[name], theta, g[np.array(at)], dense) + offset)
        left.plot(dense, y.T, style, color=color, lw=1, label=[name] + [None] * (len(at) - 1))
        band = np.argsort(np.argsort(top)) * len(BANDS) // len(top)
        predicted = np.asarray(curves(models[name], theta, g, v))
        for k in range(len(BANDS)):
            chord = predicted[band == k].mean(axis=0)[1:] / c.v[1:]
            middle.plot(c.v[1:], 1e6 * chord, style, color=color, lw=1)
    left.set_title("six held-out cells: fitted (filled) and predicted (open)", fontsize=9)
    left.set_xlabel("bit-line voltage [V]")
    left.set_ylabel("measured current, with offset [uA]")
    left.legend(fontsize=8, loc="upper left")
    for k, marker in zip(range(len(BANDS)), ("^", "s", "o")):
        chord = (c.i[band == k].mean(axis=0) - zero)[1:] / c.v[1:]
        style = {"color": "0.3", "markersize": 3, "mfc": "w"}
        middle.plot(c.v[1:], 1e6 * chord, marker, label=BANDS[k], **style)
    middle.set_title("means over thirds of the held-out cells", fontsize=9)
    middle.set_xlabel("bit-line voltage [V]")
    middle.set_ylabel("(current - offset) / voltage [uS]")
    middle.set_ylim(0, 135)
    middle.legend(fontsize=7, loc="upper center", ncols=3, frameon=False, handletextpad=0.1)
    rows = result["held_out"]["models"] | {"noise alone": result["held_out"]["noise_alone"]}
    for k, row in enumerate(rows.values()):
        median, p90 = (100 * row["above"][x] for x in ("median", "p90"))
        right.plot([median, p90], [k, k], "-", color="0.6", lw=1)
        right.plot(median, k, "ko", markersize=5)
        right.plot(p90, k, "k|", markersize=9)
    right.set_yticks(range(len(rows)), list(rows), fontsize=8)
    right.invert_yaxis()
    right.set_xscale("log")
    right.set_xticks([2, 5, 10, 20, 30], ["2", "5", "10", "20", "30"])
    right.minorticks_off()
    right.grid(alpha=0.3, axis="x")
    right.set_title(f"held-out cells, predicted above {V_USED} V", fontsize=9)
    right.set_xlabel("rms error / current at 0.35 V [%]\ndot: median, bar: 90th percentile")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data",
        type=Path,
        help="evaluate the stored parameters on all cells of another file of the same form",
    )
    parser.add_argument("--out", type=Path, help="with --data: a .json file for its numbers")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    console, start = Console(), time.perf_counter()
    with Progress(console=console) as progress:
        bar = progress.add_task("reading", total=None)
        on_model = lambda name: progress.update(bar, description=name, advance=1)
        if arguments.data:
            result = json.loads((HERE / "result.json").read_text())
            progress.update(bar, total=len(MODELS))
            check = evaluate(data.load(arguments.data), result, on_model=on_model)
        else:
            training, held_out = data.split(data.load(measured(data.FILE)))
            progress.update(bar, total=2 * len(MODELS) + 2)
            result = train(training, MODELS, on_model)
            result["held_out"] = check = evaluate(held_out, result, on_model=on_model)
            progress.update(bar, description="drawing", completed=2 * len(MODELS) + 2)
            figure = draw(held_out, result)
    show(result, check, console)
    if arguments.data:
        if arguments.out:
            write_json(arguments.out, check)
        return
    console.print(keep(HERE, result, figure, start))


if __name__ == "__main__":
    main()
