"""`xbarjax compensate`: conductances for the weights in a file."""

import contextlib
import enum
from collections.abc import Iterator
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from .._files import save_results
from ..cells import Ohmic
from ..crossbar import Crossbar
from ..drive import Drive
from ..programming.compensation import AbstractMethod, Compensation, Descent, FixedPoint, compensate
from ..programming.mapping import AbstractMapping, DifferentialPair, InterleavedPair, OffsetColumn
from ..programming.target import Report
from ..readout import VirtualGround
from ..wires import Wires
from .inputs import Inputs, Out, PlotFile, RCol, RIn, RInFar, RRow, RSource, RSourceFar, UnitOf
from .outputs import (
    check_outputs,
    print_table,
    refusing,
    save_figure,
    say_warnings,
    say_written,
    units_said,
)

G_MIN, G_MAX = 1e-6, 1e-4  # S


class MappingChoice(enum.StrEnum):
    pair = "pair"
    interleaved = "interleaved"
    offset = "offset"


class MethodChoice(enum.StrEnum):
    fixed_point = "fixed-point"
    descent = "descent"


# Classes by their names on the command line.
MAPPINGS: dict[MappingChoice, type[Any]] = {
    MappingChoice.pair: DifferentialPair,
    MappingChoice.interleaved: InterleavedPair,
    MappingChoice.offset: OffsetColumn,
}


def _method(choice: MethodChoice, free_gain: bool, **limits: Any) -> tuple[AbstractMethod, int]:
    """The method, and its largest number of steps."""
    given = {name: value for name, value in limits.items() if value is not None}
    if choice is MethodChoice.fixed_point:
        method = FixedPoint(free_gain=free_gain, **given)
        return method, method.max_steps
    # The start has the same free_gain: Descent with fixed gains keeps the gains of its start.
    start = FixedPoint(rtol=1e-4, max_steps=20, free_gain=free_gain)
    method = Descent(start=start, free_gain=free_gain, **given)
    return method, start.max_steps + method.max_steps


def compensate_command(
    weights: Annotated[
        str,
        typer.Argument(help="File of the target weights [1], shape (rows, cols)."),
    ],
    g_min: Annotated[
        float | None,
        typer.Option(
            help=f"Smallest conductance of a cell, [S] or in --unit. [default: {G_MIN:g} S]",
        ),
    ] = None,
    g_max: Annotated[
        float | None,
        typer.Option(
            help=f"Largest conductance of a cell, [S] or in --unit. [default: {G_MAX:g} S]"
        ),
    ] = None,
    unit: UnitOf = None,
    r_row: RRow = "0",
    r_col: RCol = "0",
    r_source: RSource = "0",
    r_source_far: RSourceFar = "inf",
    r_in: RIn = "0",
    r_in_far: RInFar = "inf",
    scale: Annotated[
        float,
        typer.Option(help="Part of the conductance range for the largest weight [1], above 0."),
    ] = 1.0,
    mapping: Annotated[
        MappingChoice,
        typer.Option(
            help="Mapping of signed weights: pair (two arrays, subtracted), interleaved (one array"
            " with twice the columns) or offset (one array with a reference column)."
        ),
    ] = MappingChoice.pair,
    method: Annotated[
        MethodChoice,
        typer.Option(help="fixed-point (fast) or descent (gradient descent from there)."),
    ] = MethodChoice.fixed_point,
    max_steps: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Most steps [1]. [default: 60 fixed-point, 200 descent]"
        ),
    ] = None,
    rtol: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Relative rms error [1] of the weights at which the method stops."
            " [default: 1e-9 fixed-point, 1e-6 descent]",
        ),
    ] = None,
    no_gain: Annotated[
        bool, typer.Option("--no-gain", help="Keep the digital gain of every column at 1.")
    ] = False,
    out: Out = None,
    plot: PlotFile = None,
) -> None:
    """Find conductances with which the array, wires included, computes with the target weights.

    A product is the combined output currents, divided by gain times k. PREFIX.npz holds g_0 (and
    g_1, the subtracted array of a pair) [S], gain [1], k [S per unit of weight] and the errors.

    \b
    Examples:
      python -c "import numpy as n; n.save('w.npy', n.random.normal(0, 0.3, (64, 32)))"
      xbarjax compensate w.npy --r-row 1 --r-col 1 --scale 0.5 --out tuned --plot tuned.png
      xbarjax read tuned.npz:g_0 --v-in 0.2 --r-row 1 --r-col 1
    """
    with refusing(ValueError, OSError), units_said():
        plots = check_outputs(out, plot)
        if rtol is not None and not 0 <= rtol < 1:
            raise ValueError(f"--rtol is {rtol}; it must be at least 0 and below 1.")
        inputs = Inputs()
        wanted = jnp.asarray(inputs.array("WEIGHTS", weights))
        if wanted.ndim != 2:
            raise ValueError(f"WEIGHTS has shape {wanted.shape}; it must be (rows, cols).")
        low, high = _bounds(inputs, g_min, g_max, unit)
        chosen: AbstractMapping = MAPPINGS[mapping](low, high)
        k = chosen.siemens_per_weight(wanted)
        _, rows, cols = chosen.program(wanted, k).shape  # of one physical array
        wires = Wires(inputs.value("--r-row", r_row), inputs.value("--r-col", r_col))
        drive = Drive(
            inputs.line("--r-source", r_source, rows, "row"),
            inputs.line("--r-source-far", r_source_far, rows, "row"),
        )
        readout = VirtualGround(
            inputs.line("--r-in", r_in, cols, "column"),
            inputs.line("--r-in-far", r_in_far, cols, "column"),
        )
        how, steps = _method(method, not no_gain, max_steps=max_steps, rtol=rtol)
        inputs.used |= {
            "--g-min": low,
            "--g-max": high,
            "--scale": scale,
            "--mapping": str(mapping),
            "--method": str(method),
            "--max-steps": max_steps,
            "--rtol": how.rtol,
            "--no-gain": no_gain,
        }
        with _progress() as (bar, task):

            def on_step(step: int, error: float) -> None:
                del step  # a descent numbers the steps of its start separately
                bar.start()  # not earlier: bad input gives one sentence and no bar
                bar.update(task, advance=1, total=steps, error=f"{error:.2e}")

            result = compensate(
                wanted,
                chosen,
                lambda g: Crossbar(Ohmic(g), wires, drive, readout),
                scale=scale,
                method=how,
                on_step=on_step,
            )
            bar.update(task, total=bar.tasks[0].completed)  # full, after any number of steps
    say_warnings(inputs.warnings)
    skipped = [("skipped", part) for part in inputs.skipped]
    print_table(f"Compensation of {weights}", _describe_compensation(result) + skipped)
    if not result.reached:
        typer.echo(f"Warning: {result.summary().splitlines()[-1]}", err=True)
    with refusing(OSError):
        if out is not None:
            arrays, units = _compensation_arrays(result, wanted)
            report = {
                "command": "compensate",
                "inputs": inputs.used,
                "warnings": inputs.warnings,
                "units": units,
                "reached": result.reached,
                "history": result.history,
                "before": _describe_report(result.before),
                "after": _describe_report(result.after),
            }
            say_written(*save_results(out, arrays, report))
        if plot is not None and plots is not None:
            save_figure(plots.compensation(result), plot)


def _bounds(
    inputs: Inputs, g_min: float | None, g_max: float | None, unit: str | None
) -> tuple[float, float]:
    """The bounds of cells [S]. Defaults are in S, also if another unit is given."""
    bounds = []
    for name, given, default in (("--g-min", g_min, G_MIN), ("--g-max", g_max, G_MAX)):
        one = None if given is None else inputs.conductances(name, np.array(given), unit)
        bounds.append(default if one is None else float(one))
    return bounds[0], bounds[1]


@contextlib.contextmanager
def _progress() -> Iterator[tuple[Progress, TaskID]]:
    """A progress bar, not yet started, on stderr: stdout holds results alone."""
    columns = (
        TextColumn("step {task.completed:.0f}"),
        BarColumn(),
        TextColumn("error {task.fields[error]}"),
        TimeElapsedColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    try:
        yield bar, bar.add_task("compensate", total=None, error="-")
    finally:
        if bar.live.is_started:
            bar.stop()


def _describe_report(report: Report) -> dict[str, Any]:
    return {
        "rms": float(report.rms),
        "worst": float(report.worst),
        "error": report.error,
        "used": report.used,
        "saturated": int(np.sum(report.saturated)),
    }


def _describe_compensation(result: Compensation) -> list[tuple[str, str]]:
    """Rows of the table: the lines of `Compensation.summary` as name and value, and more."""
    lines = []
    for line in result.summary().splitlines():
        name, colon, rest = line.partition(": ")
        if colon and name != "The target was not reached":  # printed as a warning
            lines.append((name, rest))
        elif not colon:
            lines.append(("gains and range", line))
    arrays, rows, physical = result.g.shape
    size = f"{arrays} of {rows} x {physical} cells, {float(result.g.min()):.3g} to"
    lines.append(("physical arrays", f"{size} {float(result.g.max()):.3g} S"))
    lines.append(("k", f"{float(result.k):.6g} S per unit of weight"))
    lines.append(("target", "reached" if result.reached else "not reached"))
    return lines


def _compensation_arrays(
    result: Compensation, weights: jax.Array
) -> tuple[dict[str, Any], dict[str, str]]:
    arrays = {f"g_{index}": g for index, g in enumerate(np.asarray(result.g))}
    units = dict.fromkeys(arrays, "S") | {"k": "S per unit of weight"}
    pure = {
        "weights": weights,
        "gain": result.gain,
        "error_before": result.before.error,
        "error_after": result.after.error,
        "used": result.after.used,
        "saturated": result.after.saturated,
    }
    return arrays | {"k": result.k} | pure, units | dict.fromkeys(pure, "1")
