"""`xbarjax program`: pulses that write the conductances in a file."""

import contextlib
import enum
from collections.abc import Iterator
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from .._files import save_results
from ..analyses.schemes import half, third
from ..cells import AbstractMemoryCell, Mosfet, Series
from ..crossbar import Crossbar
from ..drive import Drive
from ..programming.groups import conductance_of
from ..programming.pulses import Pulses, Staircase
from ..programming.selection import SelectCrosspoints, SelectRows
from ..programming.write_verify import WriteVerify
from ..programming.writing import Programmed, program
from ..readout import VirtualGround
from ..wires import Wires
from .inputs import (
    VALUE,
    Inputs,
    Out,
    RCol,
    RIn,
    RInFar,
    RRow,
    RSource,
    RSourceFar,
    UnitOf,
)
from .outputs import check_outputs, print_table, refusing, say_warnings, say_written, units_said
from .writing import DeviceChoice, device, pulses_text, said_defaults, share_of

Volts = tuple[float, float, float]


class SchemeChoice(enum.StrEnum):
    half = "half"
    third = "third"


# Functions by their names on the command line.
SCHEMES = {SchemeChoice.half: half, SchemeChoice.third: third}
RESULT_UNITS = {
    **dict.fromkeys(("cells", "good", "kept", "pulses_mean", "pulses_largest"), "1"),
    **dict.fromkeys(("error_rms", "disturb_rms", "disturb_largest"), "S"),
    "energy": "J",
}


def program_command(
    target: Annotated[
        str,
        typer.Argument(help="File of target conductances [S] or in --unit, shape (rows, cols)."),
    ],
    acceptance: Annotated[
        float,
        typer.Option(
            metavar="X", help="Half the width of the window around each target [S], in any --unit."
        ),
    ],
    unit: UnitOf = None,
    kind: Annotated[
        DeviceChoice,
        typer.Option("--device", help=f"Model and defaults in SI units: {said_defaults()}."),
    ] = DeviceChoice.vteam,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=X", help="A parameter of the device in SI units; may be given repeatedly."
        ),
    ] = None,
    start: Annotated[
        str,
        typer.Option(
            metavar=VALUE,
            help="State before [1]: a number, or a file of shape (rows, cols), from 0 at the lowest"
            " conductance of a device to 1 at its highest.",
        ),
    ] = "0.5",
    r_row: RRow = "0",
    r_col: RCol = "0",
    r_source: RSource = "0",
    r_source_far: RSourceFar = "inf",
    r_in: RIn = "0",
    r_in_far: RInFar = "inf",
    set_: Annotated[
        Volts,
        typer.Option(
            "--set",
            metavar="START STEP STOP",
            help="Voltages [V] of pulses that raise a conductance, row less column.",
        ),
    ] = (-0.45, -0.05, -2.0),
    reset: Annotated[
        Volts,
        typer.Option(
            metavar="START STEP STOP",
            help="Voltages [V] of pulses that lower a conductance, row less column.",
        ),
    ] = (0.45, 0.05, 2.0),
    width: Annotated[
        float,
        typer.Option(
            metavar="X", help="Length of a pulse [s], from the middle of one edge to the other's."
        ),
    ] = 1e-7,
    edge: Annotated[float, typer.Option(metavar="X", help="Length of an edge [s].")] = 1e-8,
    v_gate_set: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Gate voltage [V] of the selected row in set pulses. With gates a transistor is in"
            " series with each device, and rows are written one by one.",
        ),
    ] = None,
    v_gate_reset: Annotated[
        float | None, typer.Option(metavar="X", help="Gate voltage [V] in reset pulses.")
    ] = None,
    v_gate_read: Annotated[
        float | None, typer.Option(metavar="X", help="Gate voltage [V] in reads.")
    ] = None,
    beta: Annotated[
        float, typer.Option(metavar="X", help="Transistors: current factor [A/V^2].")
    ] = 2e-3,
    v_t: Annotated[
        float, typer.Option(metavar="X", help="Transistors: threshold voltage [V].")
    ] = 0.4,
    scheme: Annotated[
        SchemeChoice | None,
        typer.Option(
            help="Without gates: write cell by cell with unselected lines at V/2 (half) or at V/3"
            " and 2V/3 (third). [default: half]"
        ),
    ] = None,
    v_read: Annotated[float, typer.Option(metavar="X", help="Read voltage [V], not 0.")] = 0.2,
    read_noise: Annotated[
        float,
        typer.Option(
            metavar="X", help="Standard deviation of one read [S], at most half of --acceptance."
        ),
    ] = 0.0,
    v_spread: Annotated[
        float, typer.Option(metavar="X", help="Standard deviation of the voltage of a pulse [V].")
    ] = 0.0,
    most: Annotated[int, typer.Option(min=1, metavar="N", help="Most pulses of a cell [1].")] = 50,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of noise and spread [1].")] = 0,
    out: Out = None,
) -> None:
    """Write conductances with pulses: read each cell, and pulse it until it is in its window.

    Every pulse and read passes the wires. Besides PREFIX.npz and PREFIX.json, --out writes
    PREFIX.csv: the pulses in the order in which an instrument plays them. Pulses of one step are
    given at once, with a read between steps. In PREFIX.npz g_verified is what the last read of each
    cell saw, g_device the conductance that all pulses left, without wires, and share the states,
    which --start takes.

    \b
    Examples:
      python -c "import numpy as n; n.save('t.npy', n.random.uniform(1e-5, 9e-5, (16, 16)))"
      xbarjax program t.npy --acceptance 2e-6 --scheme third --start 0.2 --r-row 1 --out passive
      xbarjax program t.npy --acceptance 2e-6 --v-gate-set 2 --v-gate-reset 3 --v-gate-read 3
    """
    with refusing(ValueError, OSError), units_said():
        check_outputs(out, None, (".npz", ".json", ".csv"))
        inputs = Inputs()
        wanted = inputs.conductances("TARGET", inputs.array("TARGET", target), unit)
        if wanted.ndim != 2:
            raise ValueError(f"TARGET has shape {wanted.shape}; it must be (rows, cols).")
        rows, cols = wanted.shape
        if not acceptance < np.max(wanted):
            raise ValueError(
                f"--acceptance is {acceptance} S, but the largest target is {np.max(wanted):.4g} S:"
                " give half the width of the window in S, also with --unit."
            )
        if set_[0] * reset[0] >= 0:
            raise ValueError(
                f"--set starts at {set_[0]} V and --reset at {reset[0]} V: they need opposite"
                " signs."
            )
        gates = _gates(v_gate_set, v_gate_reset, v_gate_read, scheme)
        cell = device(kind, parameter or [], inputs, start, (rows, cols))
        crossbar = Crossbar(
            Series(Mosfet(beta, v_t, 0.0), cell) if gates else cell,
            Wires(inputs.value("--r-row", r_row), inputs.value("--r-col", r_col)),
            Drive(
                inputs.line("--r-source", r_source, rows, "row"),
                inputs.line("--r-source-far", r_source_far, rows, "row"),
            ),
            VirtualGround(
                inputs.line("--r-in", r_in, cols, "column"),
                inputs.line("--r-in-far", r_in_far, cols, "column"),
            ),
        )
        if not gates:
            scheme = scheme or SchemeChoice.half
        method = WriteVerify(
            set=_pulses("set", set_, width, edge, v_gate_set),
            reset=_pulses("reset", reset, width, edge, v_gate_reset),
            acceptance=acceptance,
            v_read=v_read,
            v_gate_read=v_gate_read,
            read_noise=read_noise,
            v_spread=v_spread,
            most=most,
            select=SelectRows() if scheme is None else SelectCrosspoints(SCHEMES[scheme]),
        )
        inputs.used |= {
            "--acceptance": acceptance,
            "--device": str(kind),
            "--set": list(set_),
            "--reset": list(reset),
            "--width": width,
            "--edge": edge,
            "--scheme": scheme and str(scheme),
            **{f"--v-gate-{name}": v for name, v in gates.items()},
            **({"--beta": beta, "--v-t": v_t} if gates else {}),
            "--v-read": v_read,
            "--read-noise": read_noise,
            "--v-spread": v_spread,
            "--most": most,
            "--seed": seed,
        }
        done = program(crossbar, jnp.asarray(wanted), method, key=jax.random.key(seed))
    arrays, units = _program_arrays(done, method, wanted)
    results, lines = _describe(done, wanted, acceptance)
    lines += [("skipped", part) for part in inputs.skipped]
    say_warnings(inputs.warnings)
    print_table(f"Programming of {target}", lines)
    _say_missed(results, most)
    with refusing(OSError):
        if out is not None:
            report = {
                "command": "program",
                "inputs": inputs.used,
                "warnings": inputs.warnings,
                "units": units | RESULT_UNITS,
                "results": results,
            }
            table = pulses_text(method.table(done))
            say_written(*save_results(out, arrays, report, {".csv": table}))


def _gates(
    v_set: float | None, v_reset: float | None, v_read: float | None, scheme: SchemeChoice | None
) -> dict[str, float]:
    """The gate voltages [V], none of them or all."""
    every = {"set": v_set, "reset": v_reset, "read": v_read}
    given = {name: v for name, v in every.items() if v is not None}
    missing = [f"--v-gate-{name}" for name in every if name not in given]
    if given and missing:
        raise ValueError(
            f"--v-gate-{next(iter(given))} is given without {' and '.join(missing)}: give the gate"
            " voltages of set pulses, reset pulses and reads, or none of them."
        )
    if given and scheme is not None:
        raise ValueError(
            f"--scheme is {scheme}, but rows with gates are written one by one: leave one of them"
            " out."
        )
    return given


@contextlib.contextmanager
def _about(option: str) -> Iterator[None]:
    """A context in which a `ValueError` begins with the name of an option."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def _pulses(way: str, v: Volts, width: float, edge: float, v_gate: float | None) -> Pulses:
    with _about(f"--{way}"):
        staircase = Staircase(*v)
    with _about(f"--v-gate-{way}"):
        gate = None if v_gate is None else Staircase(v_gate)
    return Pulses(staircase, width=width, edge=edge, v_gate=gate)


def _describe(
    done: Programmed, wanted: np.ndarray, acceptance: float
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The numbers of the report, and the rows of the table."""
    rows, cols = wanted.shape
    off, pulses = np.asarray(done.g) - wanted, np.asarray(done.pulses)
    disturb, good = np.asarray(done.disturb), np.asarray(done.good)
    rms = lambda x: float(np.sqrt(np.mean(x**2)))
    results = {
        "cells": good.size,
        "good": int(good.sum()),
        "kept": int((good & (np.abs(off + disturb) <= acceptance)).sum()),
        "pulses_mean": float(pulses.mean()),
        "pulses_largest": int(pulses.max()),
        "energy": float(np.sum(done.energy)),
        "error_rms": rms(off),
        "disturb_rms": rms(disturb),
        "disturb_largest": float(disturb.flat[np.argmax(np.abs(disturb))]),
    }
    of = f"of {good.size} cells"
    lines = [
        ("array", f"{rows} x {cols} (word lines x bit lines)"),
        ("accepted", f"{results['good']} {of}, within {acceptance:g} S"),
        ("in the window at the end", f"{results['kept']} {of}"),
        ("pulses per cell", f"{results['pulses_mean']:.3g} mean, {results['pulses_largest']} most"),
        ("energy left in cells", f"{results['energy']:.4g} J"),
        ("error to target, rms", f"{results['error_rms']:.4g} S at the last read of each cell"),
        (
            "disturb by later pulses",
            f"{results['disturb_rms']:.4g} S rms, {results['disturb_largest']:.4g} S largest",
        ),
    ]
    return results, lines


def _say_missed(results: dict[str, Any], most: int) -> None:
    missed = results["cells"] - results["good"]
    if missed:
        typer.echo(
            f"Warning: {missed} of {results['cells']} cells missed their window after {most} pulses"
            " each: allow more (--most), take smaller steps or stronger pulses (--set, --reset), or"
            " widen --acceptance.",
            err=True,
        )


def _program_arrays(
    done: Programmed, method: WriteVerify, wanted: np.ndarray
) -> tuple[dict[str, Any], dict[str, str]]:
    cell = done.crossbar.cell
    devices = cell.second if isinstance(cell, Series) else cell
    assert isinstance(devices, AbstractMemoryCell)
    siemens = {
        "target": wanted,
        "g_verified": done.g,
        "g_device": conductance_of(method, cell),
        "disturb": done.disturb,
    }
    pure = {
        "good": done.good,
        "sets": done.sets,
        "resets": done.resets,
        "share": share_of(devices),
    }
    units = dict.fromkeys(siemens, "S") | dict.fromkeys(pure, "1") | {"energy": "J"}
    return siemens | pure | {"energy": done.energy}, units
