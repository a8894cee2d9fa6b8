"""Decks of crossbars between drive and readout, and their operating points by ngspice."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from ..cells import AbstractCell
from ..cells.cell import in_range
from ..crossbar import Crossbar, require_crossbar
from ..drive import Bias
from ..kirchhoff.circuit import bias_of, circuit_of
from ..readout import AbstractReadout
from .deck import (
    CHECK,
    LIMITS,
    OPTIONS,
    UNSOLVED,
    WIRE,
    devices_of,
    floats,
    is_traced,
    last_lines,
    reached,
    run,
    segments,
)
from .elements import GROUND
from .ideal import Link, without_loops
from .sense import sense

# Errors above which a result of ngspice is refused: node voltages beyond all terminals, relative to
# the range of terminal voltages; and missing current, relative to the largest output.
BEYOND, MISSING = 1e-6, 1e-6


class OperatingPoint(NamedTuple):
    """Operating point of a crossbar by ngspice. Nodes of islands, with no path to ground, are given
    as 0 V."""

    i_out: np.ndarray  # output currents [A], (cols,)
    v_row: np.ndarray  # node voltages [V], (rows, cols)
    v_col: np.ndarray
    v_amp: np.ndarray  # outputs of amplifiers [V], (cols,); NaN where there are none


def deck_of(crossbar: Crossbar, v_in: ArrayLike | Bias, title: str, data: str) -> str:
    """The deck of a biased array."""
    bias = _checked(crossbar, v_in)
    wires, drive, readout = crossbar.wires, crossbar.drive, crossbar.readout
    rows, cols = crossbar.shape
    across = [[(i, j) for j in range(cols)] for i in range(rows)]
    down = [[(i, j) for i in range(rows)] for j in range(cols)]
    r, ends = floats(wires.r_row, (rows, cols)), (drive.r_source, drive.r_source_far)
    of, v = down if wires.parallel else across, (bias.v_row, bias.v_row_far)
    taps = lambda r: None if r is None else floats(r, (rows, cols))
    word = list(_family("row source in w", of, r, ends, v, taps(drive.r_strap)))
    inputs = [
        sense(_one(readout, k), k, float(bias.v_col[k]), float(r))
        for k, r in enumerate(floats(readout.r_in, (cols,)))
    ]
    r, ends = floats(wires.r_col, (rows, cols)), ([x.r for x in inputs], readout.r_in_far)
    of, v = [line[::-1] for line in down], (bias.v_col, bias.v_col_far)
    lines = [x.lines for x in inputs]
    bit = list(_family("col in out b", of, r, ends, v, taps(readout.r_strap), lines))
    devices = list(devices_of(circuit_of(crossbar, bias).cell))
    grounded = reached([*word, *bit, *devices], {GROUND})
    kept = iter(without_loops([*word, *bit, *devices]))
    word, bit, devices = ([next(kept) for _ in links] for links in (word, bit, devices))
    if grounded == {GROUND}:
        raise ValueError("no line of the array ends in a source or ground; connect at least one.")
    # Lines that cells share, such as models and sources of gate voltages, are written once.
    word, bit, devices = (
        list(dict.fromkeys(line for a, _, lines in links if a in grounded for line in lines))
        for links in (word, bit, devices)
    )

    kind, start = ("Source", "row 0") if wires.parallel else ("Word", "column 0")
    lines = [
        f"* {title}",
        f"* {rows} rows x {cols} columns of cells; units V, A, ohm; indices count from 0.",
        "* Nodes: w_i_j and b_i_j at the row and the column side of cell (i, j), m_i_j inside it;",
        "* row_k and col_k: sources of the lines below, sense inputs of bit lines; in_k and out_k:",
        "* behind their resistances; row_far_k and col_far_k: at the other ends of the lines;",
        "* amp_k: outputs of amplifiers.",
        "* Ideal wires are sources of 0 V; open ones, cells of 0 S and islands are left out.",
        OPTIONS,
        *(WIRE if any(line.startswith("x_") for line in word + bit) else []),
        *("", f"* {kind} lines, driven from {start} on", *word),
        *("", "* Bit lines, sensed below the last row", *bit),
        *("", "* Cells", *devices, ""),
        *(".control", "set numdgt=16", "set wr_singlescale", "set wr_vecnames", "op", *CHECK),
    ]
    sources = {line.split()[0] for line in bit}
    for j in range(cols):
        currents = [f"i({v})" for v in (f"v_col_{j}", f"v_col_far_{j}") if v in sources]
        lines.append(f"let i_out_{j} = {' + '.join(currents) or '0'}")
    return "\n".join([*lines, f"wrdata {data} all", "quit", ".endc", ".end", ""])


def point_of(crossbar: Crossbar, v_in: ArrayLike | Bias, text: str) -> OperatingPoint:
    """The operating point of a biased array, by a run of its deck."""
    found, said = run(text)
    values = {name: float(x[0]) for name, x in found.items()}
    rows, cols = crossbar.shape
    if f"i_out_{cols - 1}" not in values:
        limits = LIMITS if UNSOLVED in said else ""
        raise RuntimeError(
            f"ngspice found no operating point.{limits} Its last lines:\n{last_lines(said)}"
        )
    _within_terminals(values, text)
    collect = lambda form: np.array(
        [[values.get(form.format(i, j), 0.0) for j in range(cols)] for i in range(rows)]
    )
    v_amp = np.array([values.get(f"amp_{j}", np.nan) for j in range(cols)])
    found = OperatingPoint(collect("i_out_{1}")[0], collect("w_{}_{}"), collect("b_{}_{}"), v_amp)
    _adds_up(found, circuit_of(crossbar, bias_of(crossbar, v_in)).cell)
    return found


def _within_terminals(values: dict[str, float], text: str) -> None:
    """Raises `RuntimeError` for a node voltage beyond all terminals: no circuit of passive devices
    has one."""
    sources = [line.split() for line in text.splitlines() if line.startswith(("v_row", "v_col"))]
    held = [values[x[1]] for x in sources] + [values[x] for x in values if x.startswith("amp_")]
    low, high = min(0.0, *held), max(0.0, *held)
    slack = BEYOND * (high - low)
    for name in (x for x in values if x[:2] in ("w_", "b_", "m_") and "#" not in x):
        if not low - slack <= values[name] <= high + slack:  # or NaN
            raise RuntimeError(
                f"ngspice puts node {name} at {values[name]:.3g} V, beyond all terminals"
                f" ({low:.3g} to {high:.3g} V): it did not solve the circuit.{LIMITS}"
            )


def _adds_up(found: OperatingPoint, cell: AbstractCell) -> None:
    """Raises `RuntimeError` for an output current that is not the sum of the currents of its cells.
    Columns with a shorted cell, whose current is unknown, and with a cell beyond the range of its
    model, where the netlist differs, are not checked."""
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda x: jnp.asarray(np.asarray(x, float)), cell)
        at = jnp.asarray(found.v_row), jnp.asarray(found.v_col)
        i_cell, *slopes = map(np.asarray, exact.linearise(*at))
        known = np.asarray(in_range(exact, *at)) & np.isfinite(i_cell)
    rounding = 8 * np.finfo(float).eps * np.abs(at).max() * np.abs(slopes).max(axis=(0, 1))
    off = np.abs(np.where(known, i_cell, 0).sum(axis=0) - found.i_out) - rounding
    off, largest = np.where(known.all(axis=0), off, 0), np.abs(found.i_out).max()
    if not off.max() <= MISSING * largest:
        raise RuntimeError(
            f"ngspice's currents do not add up: at its voltages, the cells of column {off.argmax()}"
            f" carry {off.max():.3g} A more or less than comes out, and the largest output is"
            f" {largest:.3g} A.{LIMITS}"
        )


def _checked(crossbar: Crossbar, v_in: ArrayLike | Bias) -> Bias:
    """The bias; raises `ValueError` unless crossbar and bias are one circuit of valid, concrete
    numbers."""
    require_crossbar(crossbar)
    if is_traced((crossbar, v_in)) or len(crossbar.cell.shape) != 2:
        raise ValueError(
            "crossbar and v_in must be one array of concrete numbers, no batch: call netlist"
            " outside of jit, vmap and grad."
        )
    for part in (crossbar.wires, crossbar.drive, crossbar.readout, crossbar):
        getattr(part, "__check_init__", lambda: None)()
    bad = np.argwhere(~np.broadcast_to(crossbar.cell.valid(), crossbar.shape))
    if len(bad):
        raise ValueError(f"cell {tuple(bad[0].tolist())} has parameters that no device can have.")
    return bias_of(crossbar, v_in)


def _one(readout: AbstractReadout, k: int) -> AbstractReadout:
    """The readout of column `k`, with Python floats."""
    return jax.tree.map(lambda x: float(np.asarray(x).ravel()[k if np.ndim(x) else 0]), readout)


def _family(
    names: str,
    lines: list,
    r: np.ndarray,
    ends: Any,
    v: Any,
    taps: np.ndarray | None,
    inputs: list | None = None,
) -> Iterator[Link]:
    """The links of a line family. Each line gives, from its near end to its far end, sources or
    grounds, their series resistances, one segment into every cell `(i, j)`, and straps."""
    family, resistance, inner, letter = names.split()
    ends, v = ([floats(x, (len(lines),)).tolist() for x in pair] for pair in (ends, v))
    for k, (line, near, far, v_near, v_far) in enumerate(zip(lines, *ends, *v)):
        chain = [near, *(float(r[at]) for at in line), far]
        if not any(chain):
            if v_near != v_far:
                raise ValueError(
                    f"line {k} of the {family}s is ideal wire between ideal terminals at different"
                    " voltages; give the wire or one of the terminals a resistance."
                )
            chain[-1] = np.inf  # only the split between both ends changes, which is arbitrary
        start, end = f"{family}_{k}", f"{family}_far_{k}"
        nodes = [start, f"{inner}_{k}" if near else start, *(f"{letter}_{i}_{j}" for i, j in line)]
        tags = [f"{resistance}_{k}", *(f"{family}_{i}_{j}" for i, j in line), end]
        strapped = {} if taps is None else {at: float(taps[at]) for at in line if taps[at] < np.inf}
        if chain[0] < np.inf or strapped:
            source = [f"v_{start} {start} {GROUND} {v_near!r}"]
            yield start, GROUND, source if inputs is None else inputs[k]
        if chain[-1] < np.inf:
            yield end, GROUND, [f"v_{end} {end} {GROUND} {v_far!r}"]
        for (i, j), x in strapped.items():
            node = f"{letter}_{i}_{j}"
            yield start, node, [f"r_tap_{node} {start} {node} {x!r}"]
        yield from segments(tags, [*nodes, end], chain)
