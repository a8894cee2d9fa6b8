"""Netlists: the circuit that `read` solves, for ngspice and for whoever designs the periphery.

`element` says what one device is in a netlist. For a cell of your own, register it:

    @spice.element.register(MyCell)
    def _(cell, name, plus, minus):
        return [f"r_cell_{name} {plus} {minus} {1 / cell.g!r}"]
"""

import functools
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.core
import numpy as np
from jaxtyping import ArrayLike

from . import cells
from .assembly import circuit_of
from .cells.constants import thermal_voltage
from .crossbar import Crossbar
from .drive import Bias
from .read import bias_of

# The defaults of ngspice would put 1 pS across every junction and stop at 1e-3 of a current.
OPTIONS = ".options reltol=1e-9 abstol=1e-18 vntol=1e-13 gmin=1e-20 itl1=500"
GROUND = "0"
WIRE = "R"


class OperatingPoint(NamedTuple):
    """What ngspice finds: output currents [A], `(cols,)`, and node voltages [V], `(rows, cols)`,
    0 V at nodes of islands."""

    i_out: np.ndarray
    v_row: np.ndarray
    v_col: np.ndarray


class Link(NamedTuple):
    """What joins two nodes: the lines of the netlist that are left out with them."""

    a: str
    b: str
    lines: list[str]


def netlist(
    crossbar: Crossbar, v_in: ArrayLike | Bias, *, title: str = "crossbar", data: str = "out.dat"
) -> str:
    """The circuit that `read(crossbar, v_in)` solves, as a netlist that `ngspice -b` runs.

    Its nodes are `w_i_j` (word or source lines), `b_i_j` (bit lines) and `m_i_j` (inside a series
    cell); all indices count from 0 as those of arrays do. What no source or ground is connected to
    is left out, and so are broken wires and cells without conductance. Exponentials do not go on
    as straight lines beyond the range of their model, where `read` raises an error.

    **Arguments:**

    - `crossbar`, `v_in`: as of `read`; one array of concrete numbers.
    - `title`: the first line.
    - `data`: the file that ngspice writes: a line of names, and one of all node voltages, branch
        currents and output currents `i_out_j`.

    **Returns:** the text.

    **Errors:** `ValueError` under a transformation, for a batch, and for input that no circuit can
    have; `TypeError` for a type of cell of which `element` does not know.
    """
    for what, text, bad in (("title", title, "\r\n"), ("data", data, " \t\r\n\"';")):
        if not text or any(c in text for c in bad):
            raise ValueError(f"{what} is {text!r}; it must be one line, without blanks in a path.")
    bias = _checked(crossbar, v_in)
    rows, cols = crossbar.shape
    row_family, col_family = list(_row_family(crossbar, bias)), list(_col_family(crossbar, bias))
    devices = list(_cells(crossbar, bias))
    grounded = _grounded(row_family + col_family + devices)
    parallel = crossbar.wires.parallel
    lines = [
        f"* {title}",
        f"* {rows} word lines x {cols} bit lines; units V, A, ohm; indices count from 0",
        "* w_i_j, b_i_j: the row and column node of cell (i, j); m_i_j: inside a series cell",
        f"* row_k, col_k: sources and sense inputs of the {'source' if parallel else 'word'} and"
        " bit lines, in_k and out_k behind",
        "* their resistance; ..._far: those at the other ends. Left out: open wires, cells of 0 S,",
        "* islands. An ideal wire is a source of 0 V.",
        OPTIONS,
    ]
    name = "Source lines, driven above row 0" if parallel else "Word lines, driven at column 0"
    lines += ["", f"* {name}", *_text(row_family, grounded)]
    lines += ["", "* Bit lines, sensed below the last row", *_text(col_family, grounded)]
    lines += ["", "* Cells", *_text(devices, grounded)]
    if grounded == {GROUND}:
        raise ValueError("no line of the array ends in a source or ground: give one a terminal.")
    lines += ["", ".control", "set numdgt=16", "set wr_singlescale", "set wr_vecnames", "op"]
    sensed = {line.split()[0] for link in col_family for line in link.lines}
    for j in range(cols):
        ends = [f"i({v})" for v in (f"v_col_{j}", f"v_col_far_{j}") if v in sensed]
        lines.append(f"let i_out_{j} = {' + '.join(ends) or '0'}")
    return "\n".join([*lines, f"wrdata {data} all", "quit", ".endc", ".end", ""])


def simulate(crossbar: Crossbar, v_in: ArrayLike | Bias) -> OperatingPoint:
    """Runs ngspice on the netlist of `read(crossbar, v_in)`.

    Its time grows with the fifth power of the side of an array: a second at 32 x 32, minutes at
    128 x 128.

    **Arguments:** as of `netlist`.

    **Returns:** an `OperatingPoint`.

    **Errors:** those of `netlist`; `FileNotFoundError` where ngspice is not installed;
    `RuntimeError`, with its last lines, where it finds no operating point.
    """
    text = netlist(crossbar, v_in)
    program = shutil.which("ngspice")
    if program is None:
        raise FileNotFoundError("ngspice is not installed: install it so that it is on the PATH.")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.cir").write_text(text)
        command = [program, "-n", "-b", "in.cir"]  # without the user's start-up file
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        data = Path(folder) / "out.dat"
        # the exit status says nothing about convergence
        table = data.read_text().splitlines() if data.exists() else []
    values = dict(zip(table[0].split(), map(float, table[1].split()))) if len(table) == 2 else {}
    rows, cols = crossbar.shape
    if f"i_out_{cols - 1}" not in values or not np.isfinite(list(values.values())).all():
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise RuntimeError(f"ngspice found no operating point; it says:\n{said}")
    of = lambda form: np.array(
        [[values.get(form.format(i, j), 0.0) for j in range(cols)] for i in range(rows)]
    )
    return OperatingPoint(of("i_out_{1}")[0], of("w_{}_{}"), of("b_{}_{}"))


def _checked(crossbar: Crossbar, v_in: ArrayLike | Bias) -> Bias:
    """The bias, where all of it is one circuit of concrete numbers."""
    if any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((crossbar, v_in))):
        raise ValueError("a netlist needs concrete numbers: call it outside of jit, vmap and grad.")
    if len(crossbar.cell.shape) != 2:
        raise ValueError(
            f"the cells have the shape {crossbar.cell.shape}; a netlist is of one array (rows,"
            " cols): pick one of the batch."
        )
    for part in (crossbar.wires, crossbar.drive, crossbar.readout, crossbar):
        part.__check_init__()
    if not np.all(crossbar.cell.valid()):
        where = np.argwhere(~np.broadcast_to(crossbar.cell.valid(), crossbar.shape))[0]
        raise ValueError(f"cell {tuple(where.tolist())} has parameters that no device can have.")
    (rows, cols), n = crossbar.shape, crossbar.lines
    bias = v_in if isinstance(v_in, Bias) else bias_of(crossbar, v_in)
    for name, size in (("v_row", n), ("v_row_far", n), ("v_col", cols), ("v_col_far", cols)):
        if getattr(bias, name).shape != (size,):
            raise ValueError(
                f"bias.{name} has shape {getattr(bias, name).shape}, but the array is"
                f" {rows} x {cols}: it must be ({size},)."
            )
    gates = () if bias.v_gate is None else bias.v_gate.shape
    if gates not in ((), (rows,), (rows, 1), (1, cols), (rows, cols)):
        raise ValueError(
            f"bias.v_gate has shape {gates}, but the array is {rows} x {cols}: it must be"
            f" ({rows},), one a row, (1, {cols}), one a column, or ({rows}, {cols})."
        )
    return bias


def _row_family(crossbar: Crossbar, bias: Bias) -> Iterator[Link]:
    (rows, cols), n, parallel = crossbar.shape, crossbar.lines, crossbar.wires.parallel
    r = _floats(crossbar.wires.r_row, (rows, cols))
    near, far = (_floats(getattr(crossbar.drive, k), (n,)) for k in ("r_source", "r_source_far"))
    for k in range(n):
        nodes = (
            [f"w_{i}_{k}" for i in range(rows)] if parallel else [f"w_{k}_{j}" for j in range(cols)]
        )
        at = [(i, k) for i in range(rows)] if parallel else [(k, j) for j in range(cols)]
        segments = [(f"row_{i}_{j}", float(r[i, j])) for i, j in at]
        v = float(bias.v_row[k]), float(bias.v_row_far[k])
        yield from _line("row", "source", "in", k, nodes, segments, (near[k], far[k]), v)


def _col_family(crossbar: Crossbar, bias: Bias) -> Iterator[Link]:
    rows, cols = crossbar.shape
    r = _floats(crossbar.wires.r_col, (rows, cols))
    near, far = (_floats(getattr(crossbar.readout, k), (cols,)) for k in ("r_in", "r_in_far"))
    for k in range(cols):
        # from the sense side on, as the lines of the other family run from the driver's
        at = [(i, k) for i in reversed(range(rows))]
        nodes = [f"b_{i}_{j}" for i, j in at]
        segments = [(f"col_{i}_{j}", float(r[i, j])) for i, j in at]
        v = float(bias.v_col[k]), float(bias.v_col_far[k])
        yield from _line("col", "in", "out", k, nodes, segments, (near[k], far[k]), v)


def _line(family, resistance, inner, k, nodes, segments, ends, v) -> Iterator[Link]:
    """One line, from its near end to its far one."""
    near, far = (float(r) for r in ends)
    if far == near == 0 and not any(r for _, r in segments):
        if v[0] != v[1]:
            raise ValueError(
                f"line {k} of the {family}s is ideal wire between ideal terminals at different"
                " voltages: give the wire or one of the terminals a resistance."
            )
        far = np.inf  # it changes nothing, and the split between the two would be open
    start = f"{family}_{k}"
    if near < np.inf:
        yield Link(start, GROUND, [f"v_{start} {start} 0 {v[0]!r}"])
    if near > 0:
        yield from _wire(f"{resistance}_{k}", start, f"{inner}_{k}", near)
        start = f"{inner}_{k}"
    for (name, r), node in zip(segments, nodes, strict=True):
        yield from _wire(name, start, node, r)
        start = node
    if far < np.inf:
        end = f"{family}_far_{k}"
        yield from _wire(end, start, end, far)
        yield Link(end, GROUND, [f"v_{end} {end} 0 {v[1]!r}"])


def _wire(name: str, a: str, b: str, r: float) -> Iterator[Link]:
    if r == 0:  # of a resistor of 0 ohm ngspice makes one of 1 mohm
        yield Link(a, b, [f"v_short_{name} {a} {b} 0"])
    elif r < np.inf and (WIRE == "R" or r > 1e6):
        yield Link(a, b, [f"r_{name} {a} {b} {r!r}"])
    elif r < np.inf:
        yield Link(a, b, [f"x_{name} {a} {b} wire r={r!r}"])


def _cells(crossbar: Crossbar, bias: Bias) -> Iterator[Link]:
    shape = crossbar.shape
    leaves, treedef = jax.tree.flatten(circuit_of(crossbar, bias).cell)
    leaves = [_floats(x, shape) for x in leaves]
    for i, j in np.ndindex(shape):
        device = jax.tree.unflatten(treedef, [float(x[i, j]) for x in leaves])
        w, b = f"w_{i}_{j}", f"b_{i}_{j}"
        if lines := element(device, f"{i}_{j}", w, b):
            yield Link(w, b, lines)


def _floats(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(np.asarray(x, float), shape)


def _grounded(links: list[Link]) -> set[str]:
    """Nodes with a path to ground."""
    neighbours: dict[str, list[str]] = {GROUND: []}
    for a, b, _ in links:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    seen, todo = {GROUND}, [GROUND]
    while todo:
        new = [node for node in neighbours[todo.pop()] if node not in seen]
        seen.update(new)
        todo += new
    return seen


def _text(links: list[Link], grounded: set[str]) -> list[str]:
    """Lines of what is no island; those that cells share, once."""
    return list(dict.fromkeys(line for a, _, lines in links if a in grounded for line in lines))


@functools.singledispatch
def element(cell: cells.AbstractCell, name: str, plus: str, minus: str) -> list[str]:
    """One device as lines of a netlist; of a cell of your own after `element.register`.

    **Arguments:**

    - `cell`: the device: a cell whose parameters are Python numbers.
    - `name`: of the crosspoint, such as `0_1`, to be part of the names of elements and inner nodes.
    - `plus`, `minus`: the nodes on the row and on the column side.

    **Returns:** lines; none for a device that never conducts. A line that several cells return,
    such as a `.model` card or the source of a gate voltage, is written once.

    **Errors:** `TypeError` for a type of cell that is not registered.
    """
    kind = type(cell).__name__
    raise TypeError(
        f"spice does not know {kind}: register a function (cell, name, plus, minus) -> list of"
        f" lines with @xbarjax.spice.element.register({kind})."
    )


def _n(x: float) -> str:
    """A constant of an expression. ngspice keeps 11 digits of each: others have two parts."""
    if np.isinf(x):
        return "1e300"
    high = float(f"{x:.10e}")
    text = f"{x:.11g}" if high == x else f"({high:.11g}+({x - high:.11g}))"
    return f"({text})" if text.startswith("-") else text


def _resistor(g: float, name: str, plus: str, minus: str) -> list[str]:
    return [f"r_cell_{name} {plus} {minus} {1 / g!r}"] if g > 0 else []


@element.register
def _(cell: cells.Ohmic, name: str, plus: str, minus: str) -> list[str]:
    return _resistor(float(cell.g), name, plus, minus)


@element.register
def _(cell: cells.VTEAM, name: str, plus: str, minus: str) -> list[str]:
    return _resistor(float(cell.current(1.0, 0.0)), name, plus, minus)  # pyright: ignore


# Currents of what sees the voltage between its terminals alone, by the names of parameters; v is
# that voltage and u_t is k T / q. After each, whether a device conducts at all.
EXPRESSIONS: dict[Any, tuple[str, Callable[[Any], Any]]] = {
    cells.Sinh: ("{g}/{b}*sinh({b}*{v})", lambda x: x.g),
    cells.Polynomial: ("{v}*({g}+{v}*({g_2}+{v}*{g_3}))", lambda x: x.g or x.g_2 or x.g_3),
    cells.PooleFrenkel: (
        LEAK := "{g}*{v}*exp((sqrt(sqrt({v}*{v}+1e-6))-sqrt(1e-3))/sqrt({v_pf}))",
        lambda x: x.g,
    ),
    cells.Rectifying: (
        "{g}/{b}*(sinh({b}*{v})/{ratio}"
        "+({v}>0 ? (1-1/{ratio})*sinh({b}*{v}*{v}*{v}/({v}*{v}+{v_knee}*{v_knee})) : 0))",
        lambda x: x.g,
    ),
    cells.Diode: ("{i_s}*(exp({v}/({n}*{u_t}))-1)", lambda x: x.i_s),
    cells.AntiparallelDiodes: ("2*{i_s}*sinh({v}/({n}*{u_t}))", lambda x: x.i_s),
    cells.BackToBackDiodes: ("{i_s}*tanh({v}/(2*{n}*{u_t}))", lambda x: x.i_s),
    cells.Schottky: (
        "{i_s}*(exp({v}/({n}*{u_t}))-1)"
        "*exp((sqrt((sqrt({v}*{v}+1e-6)-{v})/2)-sqrt(5e-4))/sqrt({v_b}))",
        lambda x: x.i_s,
    ),
    cells.ThresholdSwitch: (
        LEAK.replace("{g}", "{g_off}") + "+{on}*sgn({v})*{held}*{held}/({held}+1e-3)/{r_on}",
        lambda x: x.g_off or x.on,
    ),
    cells.StanfordPKU: ("{i_0}*exp(-{gap}/{g_0})*sinh({v}/{v_0})", lambda x: x.i_0),
    cells.Yakopcic: (
        "({v}>=0 ? {a_1} : {a_2})*{x}*sinh({b}*{v})",
        lambda x: x.x and x.b and (x.a_1 or x.a_2),
    ),
}


def _expression(cell: Any, name: str, plus: str, minus: str) -> list[str]:
    form, conducts = EXPRESSIONS[type(cell)]
    if not conducts(cell):
        return []
    constants = vars(cell) | {"u_t": thermal_voltage(getattr(cell, "temperature", 0.0))}
    if constants.get("b") == 0:
        if isinstance(cell, cells.Sinh):
            return _resistor(cell.g, name, plus, minus)
        constants["b"] = 1e-6  # a straight line to 12 digits
    text = {k: _n(x) for k, x in constants.items()} | {"v": f"V({plus},{minus})"}
    if isinstance(cell, cells.ThresholdSwitch):
        text["held"] = f"uramp(abs({text['v']})-{text['v_hold']})"
    return [f"b_cell_{name} {plus} {minus} I={form.format(**text)}"]


for kind in EXPRESSIONS:
    element.register(kind, _expression)


def _rail(what: str, v: float) -> tuple[str, list[str]]:
    """A node at a voltage, named by it, and its source, which all cells at that voltage share."""
    node = f"{what}_{v!r}".replace("-", "m").replace(".", "p")
    return node, [f"v_{node} {node} 0 {v!r}"]


@element.register
def _(cell: cells.Mosfet, name: str, plus: str, minus: str) -> list[str]:
    if cell.beta == 0:
        return []
    gate, lines = _rail("gate", float(cell.v_gate))
    u_t = thermal_voltage(cell.temperature)
    x = {k: _n(v) for k, v in vars(cell).items()} | {"u_t": _n(u_t), "v_b": "0"}
    bulk = float(cell.v_bulk)
    # against the bulk, what is subtracted from the pinch-off voltage twice is left over
    pinch_off = f"(V({gate})-{x['v_t']})/{x['n']}"
    if bulk:
        pinch_off = f"((V({gate})-{_n(bulk)}-{x['v_t']})/{x['n']}+{_n(bulk)})"
    ahead, back = (f"ekv(({pinch_off}-V({node}))/{x['u_t']})" for node in (minus, plus))
    i_s = f"{_n(2 * float(cell.n * cell.beta * u_t**2))}*(1+{x['lam']}*abs(V({plus},{minus})))"
    return [
        ".func ekv(x) {ln(1+exp(x/2))*ln(1+exp(x/2))}",
        *lines,
        f"b_cell_{name} {plus} {minus} I={i_s}*({ahead}-{back})",
    ]


@element.register
def _(cell: cells.Level1Mosfet, name: str, plus: str, minus: str) -> list[str]:
    if cell.beta == 0:
        return []
    gate, lines = _rail("gate", float(cell.v_gate))
    bulk, more = _rail("bulk", float(cell.v_bulk)) if cell.v_bulk else (GROUND, [])
    names = {"beta": "kp", "v_t": "vto", "lam": "lambda", "gamma": "gamma", "phi": "phi"}
    # without what is not of the channel: junctions to the bulk, and the default temperature
    card = "nmos level=1 is=1e-30 tox=1e-3 tnom=27 " + " ".join(
        f"{k}={float(getattr(cell, field))!r}" for field, k in names.items()
    )
    model = "nmos_" + hashlib.sha256(card.encode()).hexdigest()[:12]
    device = f"m_cell_{name} {plus} {gate} {minus} {bulk} {model} w=1u l=1u"
    return [f".model {model} {card}", *lines, *more, device]


@element.register
def _(cell: cells.Series, name: str, plus: str, minus: str) -> list[str]:
    inner = f"m_{name}"
    first = element(cell.first, f"{name}a", plus, inner)
    second = element(cell.second, f"{name}b", inner, minus)
    return first + second if first and second else []
