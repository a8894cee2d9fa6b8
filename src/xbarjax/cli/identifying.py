"""`xbarjax identify`: the cells and wires of an array from reads in a file."""

import contextlib
import enum
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from .._files import save_results
from .._files.fields import number
from .._units import unit_named
from ..cells import Ohmic
from ..crossbar import Crossbar
from ..drive import Drive
from ..identification.identify import identify
from ..identification.measured import Measured
from ..identification.table import load_measured
from ..identification.unknown import Unknown
from ..kirchhoff.solution import Status
from ..readout import VirtualGround
from ..wires import Wires
from .found import PLACES, describe_twin, twin_arrays
from .inputs import VALUE, Inputs, Out, PlotFile, UnitOf, require_given
from .outputs import (
    check_outputs,
    print_table,
    refusing,
    save_figure,
    say_warnings,
    say_written,
    units_said,
)

WITH_UNIT = re.compile(r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)\s*([^\W\d].*)")
WIRES = "r_row", "r_col"


class PerChoice(enum.StrEnum):
    array = "array"
    row = "row"
    col = "col"
    each = "each"


class PerEndChoice(enum.StrEnum):
    array = "array"
    each = "each"


def _guess(what: str) -> Any:
    return typer.Option(metavar=VALUE, help=f"First guess of {what}")


def identify_command(
    measured: Annotated[
        list[str],
        typer.Argument(
            help="Files of reads, as xb.load_measured reads them: .csv with columns such as"
            " 'v_row[0] [V]', 'i_out[0] [uA]' and 'sigma i_out [A]', or .npz."
        ),
    ],
    g: Annotated[
        str,
        typer.Option(
            metavar=VALUE,
            help="First guess of the conductances [S] or in --unit: a number for all cells, also"
            " with its unit as 50uS or 20kohm, or a file of shape (rows, cols).",
        ),
    ],
    unit: UnitOf = None,
    rows: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of rows [1]. [default: that of the reads]"),
    ] = None,
    cols: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Number of columns [1]. [default: that of the reads or of G]"
        ),
    ] = None,
    r_row: Annotated[str, _guess("the word-line wire [ohm per segment].")] = "0",
    r_col: Annotated[str, _guess("the bit-line wire [ohm per segment].")] = "0",
    r_source: Annotated[
        str, _guess("the resistance [ohm] between source and column 0; inf is open.")
    ] = "0",
    r_source_far: Annotated[
        str, _guess("the resistance [ohm] of source and wire beyond the last column.")
    ] = "inf",
    r_in: Annotated[
        str, _guess("the input resistance [ohm] of each readout below the last row.")
    ] = "0",
    r_in_far: Annotated[
        str, _guess("the resistance [ohm] of readout and wire above row 0.")
    ] = "inf",
    known: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="What is known and not searched, separated by commas: g, "
            f"{', '.join(PLACES)}. A resistance of 0 or inf is known without it.",
        ),
    ] = "",
    per: Annotated[
        PerChoice,
        typer.Option(
            help="Numbers of each wire's resistance: one for the array, one per row or col, or one"
            " for each segment. A file's profile is kept up to these factors."
        ),
    ] = PerChoice.array,
    per_end: Annotated[
        PerEndChoice,
        typer.Option(help="Numbers of sources and readouts: one for the array, or for each line."),
    ] = PerEndChoice.array,
    sigma: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Standard deviation of the noise of all readings [A] or [V], where files have"
            " none. Without it the noise is estimated from what the model leaves.",
        ),
    ] = None,
    robust: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="Residuals beyond this many standard deviations [1] count less; inf counts all"
            " alike.",
        ),
    ] = 5.0,
    max_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most steps of the search [1].")
    ] = 60,
    out: Out = None,
    plot: PlotFile = None,
) -> None:
    """Find the conductances and wires of an array from reads at its terminals, with deviations.

    Resistances other than 0 and inf are first guesses of unknown ones, if they are not --known.
    PREFIX.npz holds g, the resistances, their standard deviations (g_std, r_row_std, ...; 0 where
    known, inf where no read shows the number) and the residuals, and PREFIX.json what was found in
    words. The figure maps the conductances and their deviations, or the residuals if g is known.

    A model that the reads refute is a warning. Exit status 1: the search did not come to rest, or
    reads of the array found failed; files are written all the same.

    \b
    Examples:
      python -c "import numpy as n; n.savez('m.npz', v_row=n.eye(16), i_out=n.full((16, 16), 5e-5))"
      xbarjax identify m.npz --g 50uS --r-row 1 --r-col 1 --known r_row,r_col --out twin
      xbarjax read twin.npz:g --v-in 0.2
    """
    with refusing(ValueError, OSError), units_said():
        plots = check_outputs(out, plot)
        if plots is not None:
            from ..plot import twin as plots
        inputs = Inputs()
        every = [_measured(name, sigma, inputs) for name in measured]
        fixed = _known(known)
        guess = _conductances(g, unit, inputs)
        if "g" not in fixed and not np.all((guess > 0) & np.isfinite(guess)):
            raise ValueError(
                "--g has cells that are not above 0 and finite; give other first guesses, or name"
                " g in --known."
            )
        shape = _shape(every, guess, rows, cols)
        first = {
            "r_row": inputs.value("--r-row", r_row),
            "r_col": inputs.value("--r-col", r_col),
            "r_source": inputs.line("--r-source", r_source, shape[0], "row"),
            "r_source_far": inputs.line("--r-source-far", r_source_far, shape[0], "row"),
            "r_in": inputs.line("--r-in", r_in, shape[1], "column"),
            "r_in_far": inputs.line("--r-in-far", r_in_far, shape[1], "column"),
        }
        crossbar = Crossbar(
            Ohmic(jnp.broadcast_to(jnp.asarray(guess), shape)),
            Wires(first["r_row"], first["r_col"]),
            Drive(first["r_source"], first["r_source_far"]),
            VirtualGround(first["r_in"], first["r_in_far"]),
        )
        free = [] if "g" in fixed else [Unknown(lambda c: c.cell.g)]
        names = [name for name, r in first.items() if name not in fixed and not _ideal(r)]
        for name in names:
            free.append(Unknown(PLACES[name], per=str(per if name in WIRES else per_end)))
        if not free:
            raise ValueError(
                f"--known is {known}: nothing is left to find; leave out a name or give a"
                " resistance above 0."
            )
        inputs.used |= {
            "--known": sorted(fixed),
            "unknown": [*(["g"] if "g" not in fixed else []), *names],
            "--per": str(per),
            "--per-end": str(per_end),
            "--sigma": sigma,
            "--robust": robust,
            "--max-steps": max_steps,
        }
        with _progress() as on_step:
            twin = identify(
                every, crossbar, free, robust=robust, max_steps=max_steps, on_step=on_step
            )
    results, lines = describe_twin(twin, every)
    say_warnings(inputs.warnings)
    lines += [("skipped", part) for part in inputs.skipped]
    print_table(f"Identification of {', '.join(measured)}", lines)
    say_warnings(twin.advice.splitlines())
    with refusing(OSError):
        if out is not None:
            arrays, units = twin_arrays(twin, every)
            report = {
                "command": "identify",
                "inputs": inputs.used,
                "warnings": inputs.warnings + twin.advice.splitlines(),
                "units": units,
                "results": results,
            }
            say_written(*save_results(out, arrays, report))
        if plot is not None and plots is not None:
            figure = plots.residuals(twin) if "g" in fixed else plots.parameter_map(twin, "cell.g")
            save_figure(figure, plot)
    if not bool(twin.converged) or Status(int(twin.status)).is_error:
        raise typer.Exit(1)


def _measured(path: str, sigma: float | None, inputs: Inputs) -> Measured:
    """The reads in a file, with the noise that was stated for all."""
    require_given(path, "MEASURED")
    found = load_measured(path)
    inputs.used.setdefault("MEASURED", []).append(
        {
            "file": path,
            "reads": found.reads,
            "sensed": sorted(found.sensed),
            "sha256 of the file": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        }
    )
    if sigma is None:
        return found
    if found.sigma is not None:
        raise ValueError(f"--sigma is {sigma}, but {path} states its own noise; leave one out.")
    volts = [name for name in found.sensed if name in ("v_sense", "output")]
    if volts and len(found.sensed) > 1:
        raise ValueError(
            f"--sigma is {sigma}, but {path} has readings in V and A: write columns such as"
            f" 'sigma {volts[0]} [V]' instead."
        )
    if not 0 < sigma < np.inf:
        raise ValueError(f"--sigma is {sigma}; it must be above 0 and finite.")
    parts = {k: getattr(found, k) for k in ("v_row_far", "v_col", "v_col_far", "v_gate")}
    return Measured(found.v_row, found.sensed, sigma, **parts, open_ends=found.open_ends)


def _known(text: str) -> set[str]:
    names = {name.strip().replace("-", "_") for name in text.split(",")} - {""}
    for name in sorted(names - {"g", *PLACES}):
        raise ValueError(f"--known has {name!r}; it must be one of g, {', '.join(PLACES)}.")
    return names


def _conductances(text: str, unit: str | None, inputs: Inputs) -> np.ndarray:
    """The first guess of the conductances [S]: a number, or the array of a file."""
    require_given(text, "--g")
    match = WITH_UNIT.fullmatch(text.strip())
    if match and number(match[1]) is not None and _is_unit(match[2]):
        if unit is not None:
            raise ValueError(f"--g is {text}, but --unit is {unit}; give the unit once.")
        text, unit = match[1], match[2]
    given = np.asarray(inputs.value("--g", text))
    if given.ndim not in (0, 2):
        raise ValueError(f"--g has shape {given.shape}; it must be a number or (rows, cols).")
    guess = inputs.conductances("--g", given, unit)
    return guess


def _is_unit(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(unit_named(text, "--g"))
    return False


def _shape(
    every: list[Measured], guess: np.ndarray, rows: int | None, cols: int | None
) -> tuple[int, int]:
    """Rows and columns of the array, of which options, reads and the first guess must agree."""
    of_lines: dict[str, int] = {"the reads have": every[0].v_row.shape[1]}
    of_cols: dict[str, int] = {}
    for m in every:
        widths = {k: x.shape[1] for k, x in m.sensed.items() if not k.startswith("i_in")}
        widths |= {
            k: v.shape[1] for k in ("v_col", "v_col_far") if (v := getattr(m, k)) is not None
        }
        of_cols |= {f"{name} of the reads has": n for name, n in widths.items()}
    if guess.ndim:
        of_lines["--g has"], of_cols["--g has"] = guess.shape
    for option, n, of in (("rows", rows, of_lines), ("cols", cols, of_cols)):
        if n is not None:
            of[f"--{option} says"] = n
        if len(set(of.values())) > 1:
            raise ValueError(
                f"the numbers of {option} differ: {', '.join(f'{k} {x}' for k, x in of.items())};"
                " give reads and options of one array."
            )
    if not of_cols:
        raise ValueError("the reads do not tell the number of columns; give --cols.")
    return next(iter(of_lines.values())), next(iter(of_cols.values()))


def _ideal(r: jax.Array) -> bool:
    """Whether a resistance is 0 or inf throughout."""
    return bool(jnp.all((r == 0) | jnp.isinf(r)))


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, float], None]]:
    """What shows steps and errors on stderr: stdout holds results alone."""
    columns = (
        SpinnerColumn(),
        TextColumn("step {task.completed:.0f}"),
        TextColumn("error {task.fields[error]} standard deviations rms"),
        TimeElapsedColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task("identify", total=None, error="-")

    def on_step(step: int, error: float) -> None:
        bar.start()  # not earlier: bad input gives one sentence and no bar
        bar.update(task, completed=step, error=f"{error:.3g}")

    try:
        yield on_step
    finally:
        if bar.live.is_started:
            bar.stop()
