"""ngspice netlists of the circuits that `read` solves, and their operating points by ngspice."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from ..cells import AbstractCell
from ..cells.cell import in_range
from ..crossbar import Crossbar, require_crossbar
from ..drive import Bias
from ..kirchhoff.circuit import bias_of, circuit_of
from ..readout import AbstractReadout
from .elements import GROUND, element
from .ideal import Link, without_loops
from .sense import sense

# The defaults of ngspice would put 1 pS across every junction and stop at 1e-3 of a current.
OPTIONS = ".options reltol=1e-9 abstol=1e-18 vntol=1e-13 gmin=1e-20 itl1=500"
# Wires are resistors, which put 1/r into the matrix, where small cell conductances lose digits.
# The loss is harmless on lines with a terminal (32 x 32 cells of 10 nS to 1 uS: 5e-14 of the
# largest output, from 10 ohm down to 1 mohm), but not on floating lines (8e-10 at 1 ohm, 8e-8 at
# 10 mohm). A floating wire is therefore a source of r times the current of an ammeter, which puts r
# into the matrix (error 2e-13). The ammeter comes second: if it came first, ngspice would eliminate
# by r where r is exactly 1 ohm, with an error as large as that of 1/r.
WIRE = [".subckt wire a b r=1", "h1 a c v1 {r}", "v1 c b 0", ".ends"]
# The message of a failed run, printed before any missing vector is used.
UNSOLVED = "no operating point: ngspice did not converge"
CHECK = ("if $?sim_status", "if $sim_status", f"echo {UNSOLVED}", "quit 1", "end", "end")
# Errors above which a result of ngspice is refused: node voltages beyond all terminals, relative to
# the range of terminal voltages; and missing current, relative to the largest output.
BEYOND, MISSING = 1e-6, 1e-6
LIMITS = (
    " ngspice keeps voltages to 1e-16 of the largest, and its currents of wires are differences of"
    " voltages: it cannot resolve lines that float behind junctions in reverse, nor outputs that"
    " are small against 1e-16 V / r. Use read for such arrays."
)


class OperatingPoint(NamedTuple):
    """Operating point of a crossbar by ngspice. Nodes of islands, with no path to ground, are given
    as 0 V."""

    i_out: np.ndarray  # output currents [A], (cols,)
    v_row: np.ndarray  # node voltages [V], (rows, cols)
    v_col: np.ndarray
    v_amp: np.ndarray  # outputs of amplifiers [V], (cols,); NaN where there are none


def netlist(
    crossbar: Crossbar, v_in: ArrayLike | Bias, *, title: str = "crossbar", data: str = "out.dat"
) -> str:
    """Netlist of the circuit that `read(crossbar, v_in)` solves, for `ngspice -b`.

    Nodes are `w_i_j` (word lines or source lines), `b_i_j` (bit lines) and `m_i_j` (inside a series
    cell). Islands, broken wires and cells without conductance are left out. Ideal wires and shorted
    cells are 0 V sources. Exponentials are not continued linearly beyond the range of a model,
    where `read` raises an error.

    Limits of ngspice: it keeps voltages to 1e-16 of the largest, and its currents of wires are
    differences of voltages.

    - An output current has an error of about 1e-16 V / r for wires of r ohm per segment. For a
        small output this can matter: a relative error of 2e-5 in a half-selected array of diodes
        whose selected cell is in reverse.
    - Lines that float behind junctions in reverse may have no operating point in ngspice, from any
        start: the currents that hold these lines are below the rounding of the other currents.

    `read` solves such arrays.

    **Arguments:**

    - `crossbar`, `v_in`: as in `read`; one array of concrete numbers.
    - `title`: the first line of the netlist.
    - `data`: path of the file that ngspice writes: one line of names, one line of all node
        voltages, branch currents and output currents `i_out_j`.

    **Returns:** the text of the netlist.

    **Errors:** `ValueError` for traced values (under `jit`, `vmap` or `grad`), for a batch, for
    parameters that no circuit can have, and for a `title` or `data` that cannot be written;
    `TypeError` for a cell class that `element` does not know.
    """
    if "\n" in title or "\r" in title:
        raise ValueError(f"title is {title!r}; it must be one line.")
    if not Path(data).suffix or any(c in data for c in " \t\r\n\"';"):
        raise ValueError(f"data is {data!r}; it must be a path with a suffix, without blanks.")
    bias = _checked(crossbar, v_in)
    wires, drive, readout = crossbar.wires, crossbar.drive, crossbar.readout
    rows, cols = crossbar.shape
    across = [[(i, j) for j in range(cols)] for i in range(rows)]
    down = [[(i, j) for i in range(rows)] for j in range(cols)]
    r, ends = _floats(wires.r_row, (rows, cols)), (drive.r_source, drive.r_source_far)
    of, v = down if wires.parallel else across, (bias.v_row, bias.v_row_far)
    taps = lambda r: None if r is None else _floats(r, (rows, cols))
    word = list(_family("row source in w", of, r, ends, v, taps(drive.r_strap)))
    inputs = [
        sense(_one(readout, k), k, float(bias.v_col[k]), float(r))
        for k, r in enumerate(_floats(readout.r_in, (cols,)))
    ]
    r, ends = _floats(wires.r_col, (rows, cols)), ([x.r for x in inputs], readout.r_in_far)
    of, v = [line[::-1] for line in down], (bias.v_col, bias.v_col_far)
    lines = [x.lines for x in inputs]
    bit = list(_family("col in out b", of, r, ends, v, taps(readout.r_strap), lines))
    devices = list(_devices(crossbar, bias))
    grounded = _grounded([*word, *bit, *devices])
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


def simulate(crossbar: Crossbar, v_in: ArrayLike | Bias) -> OperatingPoint:
    """The operating point of the circuit of `read(crossbar, v_in)`, by a run of ngspice.

    The time of a run grows with the fifth power of the side of an array: below a second at 32 x 32,
    minutes at 128 x 128.

    **Arguments:** as in `netlist`. **Returns:** an `OperatingPoint`.

    **Errors:** those of `netlist`; `FileNotFoundError` if ngspice is not installed; `RuntimeError`
    if ngspice finds no operating point (with its last lines), and if its result breaks the laws of
    the circuit: a node voltage beyond all terminals, or currents that do not add up.
    """
    text = netlist(crossbar, v_in)
    program = shutil.which("ngspice")
    if program is None:
        raise FileNotFoundError("ngspice is not installed, or not on the PATH; install it there.")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.cir").write_text(text)
        command = [program, "-n", "-b", "in.cir"]  # -n: without the user's start-up file
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        data = Path(folder) / "out.dat"  # the exit status does not show convergence
        table = [x.split() for x in data.read_text().splitlines()] if data.exists() else []
    values = dict(zip(table[0], map(float, table[1]))) if len(table) == 2 else {}
    rows, cols = crossbar.shape
    said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
    if f"i_out_{cols - 1}" not in values:
        limits = LIMITS if UNSOLVED in done.stdout else ""
        raise RuntimeError(f"ngspice found no operating point.{limits} Its last lines:\n{said}")
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
    traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((crossbar, v_in)))
    if traced or len(crossbar.cell.shape) != 2:
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


def _floats(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(np.asarray(x, float), shape)


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
    ends, v = ([_floats(x, (len(lines),)).tolist() for x in pair] for pair in (ends, v))
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
        for n, (tag, a, b, x) in enumerate(zip(tags, nodes, [*nodes[1:], end], chain)):
            floats = min(max(chain[: n + 1]), max(chain[n:])) == np.inf
            if x == 0 and a != b:  # ngspice would turn a resistor of 0 ohm into 1 mohm
                yield a, b, [f"v_wire_{tag} {a} {b} 0"]
            elif 0 < x < np.inf:  # above 1 Mohm, 1/r is small itself
                ammeter = f"x_{tag} {a} {b} wire r={x!r}"
                yield a, b, [ammeter if floats and x <= 1e6 else f"r_{tag} {a} {b} {x!r}"]


def _devices(crossbar: Crossbar, bias: Bias) -> Iterator[Link]:
    leaves, tree = jax.tree.flatten(circuit_of(crossbar, bias).cell)
    leaves = [_floats(x, crossbar.shape) for x in leaves]
    for i, j in np.ndindex(crossbar.shape):
        device = jax.tree.unflatten(tree, [float(x[i, j]) for x in leaves])
        if lines := element(device, f"{i}_{j}", f"w_{i}_{j}", f"b_{i}_{j}"):
            yield f"w_{i}_{j}", f"b_{i}_{j}", lines


def _grounded(links: list[Link]) -> set[str]:
    """Nodes with a path to ground. Links are in order along the lines, so that few rounds are
    enough."""
    seen, before = {GROUND}, 0
    while len(seen) > before:
        before = len(seen)
        for a, b, _ in links:
            if a in seen or b in seen:
                seen |= {a, b}
    return seen
