"""`xbarjax read`: one static read of an array in a file."""

import warnings
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from .._files import save_results
from ..analyses.read import read
from ..cells import Ohmic
from ..crossbar import Crossbar
from ..drive import Drive
from ..kirchhoff.advice import explain
from ..kirchhoff.solution import Solution, Status
from ..readout import VirtualGround
from ..solvers import LadderCG
from ..wires import Wires
from .inputs import (
    VALUE,
    Inputs,
    Out,
    PlotFile,
    RCol,
    RIn,
    RInFar,
    RRow,
    RSource,
    RSourceFar,
    UnitOf,
)
from .outputs import (
    check_outputs,
    print_table,
    refusing,
    save_figure,
    say_warnings,
    say_written,
    units_said,
)

RESULT_UNITS = {
    **dict.fromkeys(("i_out_min", "i_out_max", "i_out_mean", "residual"), "A"),
    **dict.fromkeys(("drop_row_largest", "drop_col_largest"), "V"),
    **dict.fromkeys(("p_delivered", "p_dissipated"), "W"),
    **dict.fromkeys(("relative_error_largest", "relative_error_rms", "residual_relative"), "1"),
}


def read_command(
    g: Annotated[
        str, typer.Argument(help="File of conductances [S] or in --unit, shape (rows, cols).")
    ],
    v_in: Annotated[
        str,
        typer.Option(
            metavar=VALUE,
            help="Word-line voltages [V]: a number for all rows, or a file of one number per row.",
        ),
    ],
    unit: UnitOf = None,
    r_row: RRow = "0",
    r_col: RCol = "0",
    r_source: RSource = "0",
    r_source_far: RSourceFar = "inf",
    r_in: RIn = "0",
    r_in_far: RInFar = "inf",
    v_ref: Annotated[
        str,
        typer.Option(
            metavar=VALUE,
            help="Reference [V] of each readout: a number, or a file of one number per column.",
        ),
    ] = "0",
    v_offset: Annotated[
        str,
        typer.Option(
            metavar=VALUE, help="Offset [V] of each readout's amplifier, on top of the reference."
        ),
    ] = "0",
    max_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Maximum number of solver iterations [1].")
    ] = 10_000,
    out: Out = None,
    plot: PlotFile = None,
) -> None:
    """Read an array: output currents for input voltages, with the IR drop in every wire.

    The report compares the output with that of ideal wires, i = sum over rows of g (v_in - v_ref).
    Errors are relative to the largest (or rms) ideal current.

    \b
    Examples:
      python -c "import numpy as n; n.save('g.npy', n.random.uniform(1e-6, 1e-4, (64, 64)))"
      xbarjax read g.npy --v-in 0.2 --r-row 1 --r-col 1
      xbarjax read g.npy --v-in 0.2 --r-row 1 --r-col 1 --r-source 50 --out run --plot run.png
      python -c "import numpy as n; n.save('r.npy', n.random.uniform(10, 1000, (64, 64)))"
      xbarjax read r.npy --unit kohm --v-in 0.2 --r-row 1 --r-col 1
    """
    with refusing(ValueError, OSError), units_said():
        plots = check_outputs(out, plot)
        inputs = Inputs()
        conductances = inputs.conductances("G", inputs.array("G", g), unit)
        cell = Ohmic(jnp.asarray(conductances))
        rows, cols = cell.shape
        v = inputs.line("--v-in", v_in, rows, "row")
        reference = inputs.line("--v-ref", v_ref, cols, "column")
        crossbar = Crossbar(
            cell,
            Wires(inputs.value("--r-row", r_row), inputs.value("--r-col", r_col)),
            Drive(
                inputs.line("--r-source", r_source, rows, "row"),
                inputs.line("--r-source-far", r_source_far, rows, "row"),
            ),
            VirtualGround(
                inputs.line("--r-in", r_in, cols, "column"),
                inputs.line("--r-in-far", r_in_far, cols, "column"),
                reference,
                inputs.line("--v-offset", v_offset, cols, "column"),
            ),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # printed below from the solution
            solution = read(crossbar, v, solver=LadderCG(max_steps=max_steps))
    with np.errstate(invalid="ignore"):  # inf * 0 for a short without voltage
        ideal = np.sum((np.asarray(v)[:, None] - np.asarray(reference)) * conductances, axis=0)
    results, lines = _describe_read(solution, ideal)
    lines += [("skipped", part) for part in inputs.skipped]
    say_warnings(inputs.warnings)
    print_table(f"Read of {g}", lines)
    if Status(int(solution.status)):
        typer.echo(f"Warning: {explain(solution)}.", err=True)
    with refusing(OSError):
        if out is not None:
            arrays, units = _read_arrays(solution, conductances, v, ideal)
            units |= RESULT_UNITS
            report = {
                "command": "read",
                "inputs": inputs.used,
                "warnings": inputs.warnings,
                "units": units,
                "results": results,
            }
            say_written(*save_results(out, arrays, report))
        if plot is not None and plots is not None:
            save_figure(plots.overview(solution, ideal=ideal), plot)


def _describe_read(solution: Solution, ideal: np.ndarray) -> tuple[dict, list[tuple[str, str]]]:
    """The numbers of the report, and the rows of the table."""
    i_out = np.asarray(solution.i_out)
    rows, cols = solution.drop_row.shape
    largest = np.max(np.abs(i_out))
    meant = np.isfinite(ideal)  # excludes columns with a short
    off, ideal = (i_out - ideal)[meant], ideal[meant]
    # no relative error if all ideal currents are 0
    relative = [
        float(np.max(np.abs(off)) / np.max(np.abs(ideal))) if np.any(ideal) else None,
        float(np.linalg.norm(off) / np.linalg.norm(ideal)) if np.any(ideal) else None,
    ]
    residual = float(solution.residual / largest) if largest > 0 else None
    drop, rise = (float(np.max(np.abs(x))) for x in (solution.drop_row, solution.drop_col))
    results = {
        "rows": rows,
        "cols": cols,
        "i_out_min": i_out.min(),
        "i_out_max": i_out.max(),
        "i_out_mean": i_out.mean(),
        "relative_error_largest": relative[0],
        "relative_error_rms": relative[1],
        "drop_row_largest": drop,
        "drop_col_largest": rise,
        "p_delivered": float(solution.p_delivered),
        "p_dissipated": float(solution.p_dissipated),
        "residual": float(solution.residual),
        "residual_relative": residual,
        "num_steps": int(solution.num_steps),
        "status": explain(solution) or "good",
    }
    part = lambda x: "none: no current" if x is None else f"{x:.3e}"
    lines = [
        ("array", f"{rows} x {cols} (word lines x bit lines)"),
        ("output current, smallest", f"{i_out.min():.6g} A"),
        ("output current, largest", f"{i_out.max():.6g} A"),
        ("output current, mean", f"{i_out.mean():.6g} A"),
        ("error to ideal, largest", f"{part(relative[0])} of the largest ideal current"),
        ("error to ideal, rms", f"{part(relative[1])} of the rms ideal current"),
        ("largest row drop", f"{drop:.6g} V"),
        ("largest column rise", f"{rise:.6g} V"),
        ("power delivered", f"{float(solution.p_delivered):.6g} W"),
        ("power dissipated", f"{float(solution.p_dissipated):.6g} W"),
        ("KCL residual", f"{part(residual)} of the largest output current"),
        ("iterations", str(int(solution.num_steps))),
        ("status", results["status"]),
    ]
    return results, lines


def _read_arrays(
    solution: Solution, g: np.ndarray, v_in: jax.Array, ideal: np.ndarray
) -> tuple[dict[str, Any], dict[str, str]]:
    """The stored arrays of a read, and their units."""
    names = {
        "A": ("i_out", "i_cell", "i_row", "i_row_far", "i_col", "i_col_far", "i_in"),
        "V": ("v_row", "v_col", "drop_row", "drop_col"),
        "W": ("p_cell",),
        "1": ("floating_row", "floating_col"),
    }
    arrays = {"g": g, "v_in": v_in, "i_ideal": ideal}
    units = {"g": "S", "v_in": "V", "i_ideal": "A"}
    for unit, group in names.items():
        arrays |= {name: getattr(solution, name) for name in group}
        units |= dict.fromkeys(group, unit)
    return arrays, units
