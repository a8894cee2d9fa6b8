"""State models of memristors against write pulses on measured cells: the resistance after a pulse
from the resistance before.

The data are SET and RESET pulses on HfOx 1T1R cells, one of each per cell: 7 widths from 20 ns to
2 us, 30 word-line voltages from 0.5 to 3.4 V and 6 bit-line or source-line voltages from 0.5 to 3 V
(Stanford, MIT licence, (c) 2021 Akash Levy, https://github.com/robert-radway/NI-RRAM-Python). Cells
were read at 0.2 V with the word line at 2.5 V; the shunt of 560 ohm is not part of the resistances.

Protocol: in order of address, every other cell is for training, the others are held out, in both
sweeps. Each model has one set of parameters for all cells and both sweeps, with a transistor
(`xb.Level1Mosfet`) in series. The state before a pulse is that whose read has the resistance
before; the pulse moves it; a read of the state after is the prediction (pulse.py). The fit is least
squares of ln R by Levenberg-Marquardt, through the pulses, to every eighth training cell; errors of
a sweep count in units of its spread at equal conditions. Predictors without a model (table.py) are
trained on all training cells.

Findings on the held-out cells (result.json), rms errors of ln R:

- SET: the resistance falls to one that word line and voltage set, after 20 ns as after 2 us. VTEAM,
  Yakopcic and StanfordPKU follow it to 0.35 to 0.37, boosted trees to 0.31; "stays as it was" is
  off by 1.88. Cells with equal pulses and resistances before differ by 0.29: a model without
  parameters of its own for each cell has little left to explain.
- RESET: almost all pulses do nothing. "Stays as it was" is off by 0.096, all models but
  LinearIonDrift by 0.090 to 0.095, trees by 0.078. From 2.5 V on a part of the cells jumps to two
  to five times its resistance; models that move all cells alike predict their mean at best. Cells
  with equal pulses and resistances before differ by 0.080.
- Two reads of one cell differ by 0.31 at high and 0.026 at low resistances, so that much of the
  spread after weak pulses is that of reads. One pulse per cell and sweep cannot tell differences
  between cells from those between pulses; but residuals of a cell in both sweeps, and of
  neighbours, are next to uncorrelated.
- The fitted transistors are not those of a data sheet. At a given word line the resistance after a
  SET falls further with the bit-line voltage, which a large channel-length modulation gives.
  StanfordPKU, with one rate for both directions, weakens a RESET by a large body effect instead.
  The parameters hold for these pulses, in this cell; they are no preset.
- LinearIonDrift has no threshold, and fails. JartVCM is left out for its cost: its current is a
  search of its own at each of the many points that a prediction needs.

Against `xb.simulate` of 32 cells with the parameters of VTEAM, pulse.py differs by 1.1e-4 of R at
most (`check`); more than half of these pulses move nothing.

    python -m experiments.hfox_pulses.run                 # fit, predict, write the results
    python -m experiments.hfox_pulses.run --stored        # predict and draw with stored parameters
    python -m experiments.hfox_pulses.run --data FOLDER   # predict all cells of other sweeps
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import xbarjax as xb

from ..common import keep, measured, write_json
from . import data
from .data import Pulses
from .models import MODELS, Fitted, Model, fit, log_after, one, question
from .pulse import resistance, state, state_after
from .table import EMPIRICAL, at_equal_conditions, of_equal_cells, of_two_reads, shared_by_cell

HERE = Path(__file__).parent
STRIDE = 8  # of the training cells that models are fitted to
STEPS = 40
CHECKED = 16  # pulses of each sweep that are simulated as circuits
EDGE = 1e-12  # [s] of these
Sweeps = dict[str, Pulses]
OnStep = Callable[[str], None]


def load(folder: Path) -> Sweeps:
    return {name: data.load(folder / f"{name}_sweep.tsv.gz", name) for name in data.SWEEPS}


def errors(predicted: np.ndarray, p: Pulses) -> dict:
    """Errors of predicted ln R."""
    off = predicted - np.log(p.r_after)
    rms = lambda x: float(np.sqrt(np.mean(x**2)))
    return {
        "rms": rms(off),
        "rms_decades": rms(off) / np.log(10),
        "median_size": float(np.median(np.abs(off))),
        "mean": float(off.mean()),
        "by_v": {f"{v:g} V": rms(off[p.v == v]) for v in np.unique(p.v)},
        "by_width": {f"{w:g} s": rms(off[p.width == w]) for w in np.unique(p.width)},
    }


def train(training: Sweeps, models: tuple[Model, ...], on_step: OnStep) -> dict:
    """Parameters of every model, fitted to training cells of both sweeps at once."""
    sigma = {name: at_equal_conditions(p) for name, p in training.items()}
    some = {name: p.part(np.arange(len(p.width)) % STRIDE == 0) for name, p in training.items()}
    both = data.joined(*some.values())
    scale = np.concatenate([np.full(len(p.width), sigma[name]) for name, p in some.items()])
    report: dict = {"sigma": sigma, "pulses": len(both.width), "models": {}}
    for model in models:
        on_step(f"{model.name}: fit")
        begun = time.perf_counter()
        found = fit(model, both, scale, STEPS)
        theta, std = found.model.theta, found.std.theta
        report["models"][model.name] = {
            "theta": {name: [float(theta[name]), float(std[name])] for name in theta},
            "converged": bool(found.converged),
            "rms_in_sigma": float(found.rms),
            "seconds": time.perf_counter() - begun,
        }
    return report


def fitted(model: Model, result: dict) -> Fitted:
    """A model with stored parameters."""
    theta = result["models"][model.name]["theta"]
    return Fitted({name: jnp.asarray(x) for name, (x, _) in theta.items()}, model)


def predictions(training: Sweeps, held_out: Sweeps, result: dict, on_step: OnStep) -> dict:
    """Predicted ln R of all predictors: by name, then by sweep."""
    found: dict = {name: {} for name in EMPIRICAL}
    for name, p in held_out.items():
        for kind, make in EMPIRICAL.items():
            found[kind][name] = make(training[name])(p)
    for model in MODELS:
        if model.name in result["models"]:
            on_step(f"{model.name}: prediction")
            cell = fitted(model, result)
            found[model.name] = {
                name: np.asarray(log_after(cell, question(p))) for name, p in held_out.items()
            }
    return found


def evaluate(predicted: dict, held_out: Sweeps) -> dict:
    report: dict = {"cells": {name: len(p.width) for name, p in held_out.items()}}
    report["predictors"] = {
        kind: {name: errors(y, held_out[name]) for name, y in of.items()}
        for kind, of in predicted.items()
    }
    left = {name: y - np.log(held_out[name].r_after) for name, y in predicted[BASE].items()}
    report["unexplained"] = {
        name: {
            "at_equal_conditions": at_equal_conditions(p),
            "equal_cells": of_equal_cells(p),
            "two_reads": of_two_reads(p),
        }
        for name, p in held_out.items()
    }
    report["correlation_of_residuals"] = shared_by_cell(left, held_out)
    return report


BASE = "boosted trees"


def best(result: dict) -> str:
    """The model with the least error on the pulses that it was fitted to."""
    return min(result["models"], key=lambda name: result["models"][name]["rms_in_sigma"])


def check(cell: Fitted, sweeps: Sweeps) -> dict:
    """Pulses by quadrature (pulse.py) against `xb.simulate` of the same cells, with edges of
    `EDGE`: differences of ln R."""
    device = one(cell.model, cell.theta)
    some = [p.part(np.linspace(0, len(p.width) - 1, CHECKED).astype(int)) for p in sweeps.values()]
    q = question(data.joined(*some))
    x = jax.vmap(lambda r: state(device, r))(q.r_before)

    @jax.jit
    @jax.vmap
    def simulated(x, width, v_gate, v_bit, v_source):
        lines = (v[None] for v in device.terminals(v_bit, v_source))
        wave = xb.BiasWaveform(*(xb.waveform.pulse(v, width, EDGE) for v in lines))
        array = xb.Crossbar(device.cell(x[None, None], v_gate[None, None]))
        seen = xb.simulate(array, wave, jnp.stack([0 * width, width + 2 * EDGE]), rtol=1e-6)
        return xb.cells.states_of(seen.crossbar.cell), seen.status

    states, status = simulated(x, *q[:4])
    (exact,) = (leaf[:, 0, 0] for leaf in jax.tree.leaves(states))
    ours = jax.vmap(lambda *q: state_after(device, *q))(x, *q[:4])
    off = np.abs(np.log(resistance(device, ours) / resistance(device, exact)))
    return {
        "model": cell.model.name,
        "pulses": len(off),
        "largest": float(off.max()),
        "median": float(np.median(off)),
        "not_converged": int(np.sum((np.asarray(status) & xb.Status.NOT_CONVERGED) > 0)),
    }


def show(check: dict, console: Console) -> None:
    table = Table(title="Held-out cells: rms error of ln R (decades) after a pulse")
    table.add_column("predictor", no_wrap=True)
    for name in check["cells"]:
        table.add_column(f"{name} ({check['cells'][name]} cells)", justify="right")
    for kind, of in check["predictors"].items():
        cells = (f"{x['rms']:.3f} ({x['rms_decades']:.3f})" for x in of.values())
        table.add_row(kind, *cells)
    table.add_section()
    for what in ("at_equal_conditions", "equal_cells", "two_reads"):
        row = (f"{x[what]:.3f}" for x in check["unexplained"].values())
        table.add_row(what.replace("_", " "), *row)
    console.print(table)
    for what, x in check["correlation_of_residuals"].items():
        console.print(f"  residuals {what}: {x:.3g}")


def at_voltages(p: Pulses, values: np.ndarray, part: np.ndarray) -> list[np.ndarray]:
    """The values of a part of the pulses, by voltage."""
    return [values[part & (p.v == v)] for v in np.unique(p.v)]


def draw(held_out: Sweeps, predicted: dict, name: str, report: dict) -> Figure:
    """Three panels: resistance after over voltage in both sweeps, and errors."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.1))
    widths = (20e-9, 400e-9, 2e-6)
    gates = {"set": ((0.7, 0.9), (1.0, 1.4), (2.0, 3.4)), "reset": ((2.6, 3.4),)}
    for axes, sweep in ((left, "set"), (middle, "reset")):
        p = held_out[sweep]
        several = len(gates[sweep]) > 1  # ranges of word-line voltage: the shade shows these
        for k, (low, high) in enumerate(gates[sweep]):
            for j, (width, marker) in enumerate(zip(widths, ("^", "s", "o"))):
                if several and j == 1:
                    continue
                part = (np.abs(p.width - width) < 1e-9) & (p.v_gate > low - 0.05)
                part &= p.v_gate < high + 0.05
                color = ("0.65", "0.4", "0.0")[k if several else j]
                v = np.unique(p.v)
                measured_after = at_voltages(p, np.log(p.r_after), part)
                centre = np.exp([x.mean() for x in measured_after]) / 1e3
                spread = np.exp([np.percentile(x, (16, 84)) for x in measured_after]) / 1e3
                label = f"{width * 1e9:g} ns" if k == 0 else None
                at = v + 0.04 * (j - 1)
                axes.plot(at, centre, marker, color=color, ms=4, mfc="w", label=label)
                axes.vlines(at, *spread.T, color=color, lw=0.7)
                for kind, style in ((name, "-"), (BASE, ":")):
                    y = [x.mean() for x in at_voltages(p, predicted[kind][sweep], part)]
                    axes.plot(at, np.exp(y) / 1e3, style, color=color, lw=1.3)
        axes.set_yscale("log")
        ticks = {"set": (5, 10, 20, 50, 100, 200), "reset": (8, 10, 15, 20, 30)}[sweep]
        axes.set_yticks(ticks, [str(x) for x in ticks])
        axes.minorticks_off()
        line = {"set": "bit-line", "reset": "source-line"}[sweep]
        axes.set_xlabel(f"{line} voltage [V]")
        axes.set_ylabel("resistance after one pulse [kohm]")
        axes.plot([], [], "k-", lw=1.3, label=name)
        axes.plot([], [], "k:", lw=1.3, label=BASE)
        axes.legend(fontsize=7, loc={"set": "upper right", "reset": "upper left"}[sweep])
    left.set_title("SET; word line 0.7-0.9, 1-1.4, 2-3.4 V (light to dark)", fontsize=8)
    middle.set_title("RESET; word line 2.6-3.4 V", fontsize=8)
    rows = report["predictors"]
    for sweep, marker, fill in (("set", "o", "k"), ("reset", "s", "w")):
        x = [row[sweep]["rms"] for row in rows.values()]
        right.plot(x, range(len(rows)), marker, color="k", mfc=fill, ms=5, label=sweep.upper())
        for what, style in (("equal_cells", "--"), ("two_reads", ":")):
            label = what.replace("_", " ") if sweep == "set" else None
            right.axvline(report["unexplained"][sweep][what], color="0.5", ls=style, label=label)
    right.set_yticks(range(len(rows)), list(rows), fontsize=8)
    right.invert_yaxis()
    right.set_xscale("log")
    right.grid(alpha=0.3, axis="x")
    right.legend(fontsize=7, loc="lower right")
    right.set_title("held-out cells", fontsize=8)
    right.set_xlabel("rms error of ln(resistance) [1]")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--stored", action="store_true", help="predict with the parameters of result.json, no fit"
    )
    parser.add_argument(
        "--data", type=Path, help="predict all cells of other sweeps with stored parameters"
    )
    parser.add_argument("--out", type=Path, help="with --data: a .json file for its numbers")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    console, start = Console(), time.perf_counter()
    halves = {name: data.split(p) for name, p in load(measured(data.FOLDER)).items()}
    training = {name: half[0] for name, half in halves.items()}
    held_out = {name: half[1] for name, half in halves.items()}
    if arguments.data:
        held_out = load(arguments.data)
    with Progress(console=console) as progress:
        bar = progress.add_task("reading", total=None)
        on_step = lambda what: progress.update(bar, description=what)
        if arguments.data or arguments.stored:
            result = json.loads((HERE / "result.json").read_text())
        else:
            result = train(training, MODELS, on_step)
        predicted = predictions(training, held_out, result, on_step)
        report = evaluate(predicted, held_out)
        if not arguments.data:
            result["held_out"] = report
            result["best"] = best(result)
            on_step("check by circuits")
            model = next(m for m in MODELS if m.name == result["best"])
            result["check"] = check(fitted(model, result), held_out)
    show(report, console)
    if arguments.data:
        if arguments.out:
            write_json(arguments.out, report)
        return
    console.print(f"best model: {result['best']}; against circuits: {result['check']}")
    figure = draw(held_out, predicted, result["best"], report)
    console.print(keep(HERE, result, figure, start))


if __name__ == "__main__":
    main()
