"""Netlists: the circuit that `read` solves, for ngspice and for whoever designs the periphery."""

import functools
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
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
# Wires are resistors. They put 1/r into the matrix, in which small conductances drown: harmless on
# lines that end in a terminal (32 x 32 cells of 10 nS to 1 uS: 5e-14 of the largest output, from
# 10 ohm down to 1 mohm), but not on lines that float (8e-10 at 1 ohm, 8e-8 at 10 mohm). There a
# wire is r times the current of an ammeter, with r in the matrix: 2e-13. The ammeter has to come
# second: in front, ngspice eliminates by r where that is exactly 1 ohm, as bad as 1/r.
WIRE = [".subckt wire a b r=1", "h1 a c v1 {r}", "v1 c b 0", ".ends"]
GROUND = "0"
Link = tuple[str, str, list[str]]  # two nodes, and the lines that join them


class OperatingPoint(NamedTuple):
    """What ngspice finds. Nodes of islands are at 0 V."""

    i_out: np.ndarray  # output currents [A], (cols,)
    v_row: np.ndarray  # node voltages [V], (rows, cols)
    v_col: np.ndarray


def netlist(
    crossbar: Crossbar, v_in: ArrayLike | Bias, *, title: str = "crossbar", data: str = "out.dat"
) -> str:
    """The circuit that `read(crossbar, v_in)` solves, as a netlist that `ngspice -b` runs.

    Its nodes are `w_i_j` (word or source lines), `b_i_j` (bit lines) and `m_i_j` (inside a series
    cell). Islands, broken wires and cells without conductance are left out. Exponentials do not go
    on as straight lines beyond the range of a model, where `read` raises an error.

    **Arguments:**

    - `crossbar`, `v_in`: as of `read`; one array of concrete numbers.
    - `title`: the first line. - `data`: the file that ngspice writes: a line of names, and one of
        all node voltages, branch currents and output currents `i_out_j`.

    **Returns:** the text.

    **Errors:** `ValueError` under a transformation, for a batch, and for input that no circuit can
    have; `TypeError` for a type of cell that `element` does not know.
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
    word = list(_family("row source in w", of, r, ends, v))
    r, ends = _floats(wires.r_col, (rows, cols)), (readout.r_in, readout.r_in_far)
    of, v = [line[::-1] for line in down], (bias.v_col, bias.v_col_far)
    bit = list(_family("col in out b", of, r, ends, v))
    devices = list(_devices(crossbar, bias))
    grounded = _grounded([*word, *bit, *devices])
    if grounded == {GROUND}:
        raise ValueError("no line of the array ends in a source or ground: give one a terminal.")
    # what cells share, such as models and sources of gate voltages, stands where it is first used
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
        "* behind their resistances; row_far_k and col_far_k: at the other ends of the lines.",
        "* Ideal wires are sources of 0 V; open ones, cells of 0 S and islands are left out.",
        OPTIONS,
        *(WIRE if any(line.startswith("x_") for line in word + bit) else []),
        *("", f"* {kind} lines, driven from {start} on", *word),
        *("", "* Bit lines, sensed below the last row", *bit),
        *("", "* Cells", *devices, ""),
        *(".control", "set numdgt=16", "set wr_singlescale", "set wr_vecnames", "op"),
    ]
    sources = {line.split()[0] for line in bit}
    for j in range(cols):
        currents = [f"i({v})" for v in (f"v_col_{j}", f"v_col_far_{j}") if v in sources]
        lines.append(f"let i_out_{j} = {' + '.join(currents) or '0'}")
    return "\n".join([*lines, f"wrdata {data} all", "quit", ".endc", ".end", ""])


def simulate(crossbar: Crossbar, v_in: ArrayLike | Bias) -> OperatingPoint:
    """Runs ngspice on the netlist of `read(crossbar, v_in)`.

    Its time grows with the fifth power of the side of an array: below a second at 32 x 32, minutes
    at 128 x 128.

    **Arguments:** as of `netlist`. **Returns:** an `OperatingPoint`.

    **Errors:** those of `netlist`; `FileNotFoundError` where ngspice is not installed;
    `RuntimeError`, with its last lines, where it finds no operating point.
    """
    text = netlist(crossbar, v_in)
    program = shutil.which("ngspice")
    if program is None:
        raise FileNotFoundError("ngspice is not installed: install it so that it is on the PATH.")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.cir").write_text(text)
        command = [program, "-n", "-b", "in.cir"]  # -n: without the user's start-up file
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        data = Path(folder) / "out.dat"  # the exit status says nothing about convergence
        table = [x.split() for x in data.read_text().splitlines()] if data.exists() else []
    values = dict(zip(table[0], map(float, table[1]))) if len(table) == 2 else {}
    rows, cols = crossbar.shape
    if f"i_out_{cols - 1}" not in values or not np.isfinite(list(values.values())).all():
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise RuntimeError(f"ngspice found no operating point; its last lines:\n{said}")
    collect = lambda form: np.array(
        [[values.get(form.format(i, j), 0.0) for j in range(cols)] for i in range(rows)]
    )
    return OperatingPoint(collect("i_out_{1}")[0], collect("w_{}_{}"), collect("b_{}_{}"))


def _checked(crossbar: Crossbar, v_in: ArrayLike | Bias) -> Bias:
    """The bias, where all of it is one circuit of concrete numbers."""
    traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((crossbar, v_in)))
    if traced or len(crossbar.cell.shape) != 2:
        raise ValueError(
            "a netlist is of one concrete array, no batch, outside of jit, vmap and grad."
        )
    for part in (crossbar.wires, crossbar.drive, crossbar.readout, crossbar):
        part.__check_init__()
    bad = np.argwhere(~np.broadcast_to(crossbar.cell.valid(), crossbar.shape))
    if len(bad):
        raise ValueError(f"cell {tuple(bad[0].tolist())} has parameters that no device can have.")
    return bias_of(crossbar, v_in)


def _floats(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(np.asarray(x, float), shape)


def _family(names: str, lines: list, r: np.ndarray, ends: Any, v: Any) -> Iterator[Link]:
    """All lines of a family, each from its near end to its far one: the sources or grounds, what
    stands before them, and the segments, one into every cell `(i, j)` of the line."""
    family, resistance, inner, letter = names.split()
    ends, v = ([_floats(x, (len(lines),)).tolist() for x in pair] for pair in (ends, v))
    for k, (line, near, far, v_near, v_far) in enumerate(zip(lines, *ends, *v)):
        chain = [near, *(float(r[at]) for at in line), far]
        if not any(chain):
            if v_near != v_far:
                raise ValueError(
                    f"line {k} of the {family}s is ideal wire between ideal terminals at different"
                    " voltages: give the wire or one of the terminals a resistance."
                )
            chain[-1] = np.inf  # nothing changes but the split between both ends, which is open
        start, end = f"{family}_{k}", f"{family}_far_{k}"
        nodes = [start, f"{inner}_{k}" if near else start, *(f"{letter}_{i}_{j}" for i, j in line)]
        tags = [f"{resistance}_{k}", *(f"{family}_{i}_{j}" for i, j in line), end]
        for n, node, v_end in ((0, start, v_near), (-1, end, v_far)):
            if chain[n] < np.inf:
                yield node, GROUND, [f"v_{node} {node} {GROUND} {v_end!r}"]
        for n, (tag, a, b, x) in enumerate(zip(tags, nodes, [*nodes[1:], end], chain)):
            floats = min(max(chain[: n + 1]), max(chain[n:])) == np.inf
            if x == 0 and a != b:  # of a resistor of 0 ohm ngspice makes one of 1 mohm
                yield a, b, [f"v_wire_{tag} {a} {b} 0"]
            elif 0 < x < np.inf:  # beyond a megaohm there is little that could drown
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
    """Nodes with a path to ground. Lines are in order, so that few rounds are enough."""
    seen, before = {GROUND}, 0
    while len(seen) > before:
        before = len(seen)
        for a, b, _ in links:
            if a in seen or b in seen:
                seen |= {a, b}
    return seen


@functools.singledispatch
def element(cell: cells.AbstractCell, name: str, plus: str, minus: str) -> list[str]:
    """One device as lines of a netlist. For a cell of your own:

        @xbarjax.spice.element.register(MyCell)
        def _(cell, name, plus, minus):
            return [f"r_cell_{name} {plus} {minus} {1 / cell.g!r}"]

    **Arguments:**

    - `cell`: the device: a cell whose parameters are Python floats.
    - `name`: of the crosspoint, such as `0_1`: part of the names of elements and inner nodes.
    - `plus`, `minus`: the nodes on the row and on the column side.

    **Returns:** lines; none for a device that never conducts. A line that several cells return,
    such as a `.model` card or the source of a gate voltage, is written once.

    **Errors:** `TypeError` for a type of cell that is not registered.
    """
    kind = type(cell).__name__
    raise TypeError(
        f"spice does not know {kind}: register a function of (cell, name, plus, minus) that returns"
        f" a list of lines, with @xbarjax.spice.element.register({kind})."
    )


@element.register
def _(cell: cells.Ohmic | cells.Conductor, name: str, plus: str, minus: str) -> list[str]:
    return [f"r_cell_{name} {plus} {minus} {1 / float(cell.g)!r}"] if cell.g > 0 else []


@element.register
def _(cell: cells.VTEAM, name: str, plus: str, minus: str) -> list[str]:
    r = cell.r_on + (cell.r_off - cell.r_on) * (cell.w - cell.w_on) / (cell.w_off - cell.w_on)
    return [f"r_cell_{name} {plus} {minus} {float(r)!r}"]


def _constant(x: Any) -> str:
    """A number in an expression. ngspice keeps 11 digits of one: others are sums of two."""
    x = min(float(x), 1e300)  # there is no inf
    high = float(f"{x:.10e}")
    text = f"{x:.11g}" if high == x else f"({high:.11g}+({x - high:.11g}))"
    return f"({text})" if text.startswith("-") else text


# Currents by the names of parameters, where they depend on the voltage between both terminals, v,
# alone; u_t is k T / q. Where all of FACTORS are 0, nothing flows.
FACTORS = ("g", "g_2", "g_3", "g_off", "on", "i_s", "i_0", "x")
LEAK = "*{v}*exp((sqrt(sqrt({v}*{v}+1e-6))-sqrt(1e-3))/sqrt({v_pf}))"
HELD = "uramp(abs({v})-{v_hold})"
EXPRESSIONS: dict[Any, str] = {
    cells.Sinh: "{g}/{b}*sinh({b}*{v})",
    cells.Polynomial: "{v}*({g}+{v}*({g_2}+{v}*{g_3}))",
    cells.PooleFrenkel: "{g}" + LEAK,
    cells.Rectifying: "{g}/{b}*(sinh({b}*{v})/{ratio}+({v}>0"
    " ? (1-1/{ratio})*sinh({b}*{v}*{v}*{v}/({v}*{v}+{v_knee}*{v_knee})) : 0))",
    cells.Diode: "{i_s}*(exp({v}/({n}*{u_t}))-1)",
    cells.AntiparallelDiodes: "2*{i_s}*sinh({v}/({n}*{u_t}))",
    cells.BackToBackDiodes: "{i_s}*tanh({v}/(2*{n}*{u_t}))",
    cells.Schottky: "{i_s}*(exp({v}/({n}*{u_t}))-1)"
    "*exp((sqrt((sqrt({v}*{v}+1e-6)-{v})/2)-sqrt(5e-4))/sqrt({v_b}))",
    cells.ThresholdSwitch: "{g_off}" + LEAK + "+{on}*sgn({v})*HELD*HELD/(HELD+1e-3)/{r_on}",
    cells.StanfordPKU: "{i_0}*exp(-{gap}/{g_0})*sinh({v}/{v_0})",
    cells.Yakopcic: "({v}>=0 ? {a_1} : {a_2})*{x}*sinh({b}*{v})",
}


def _expression(cell: Any, name: str, plus: str, minus: str) -> list[str]:
    parameters = vars(cell) | {"u_t": thermal_voltage(getattr(cell, "temperature", 0.0))}
    form = EXPRESSIONS[type(cell)].replace("HELD", HELD)
    if not any(parameters.get(k) for k in FACTORS):
        return []
    if "/{b}" in form and cell.b == 0:
        parameters["b"] = 1e-6  # a straight line to 12 digits
    constants = {k: _constant(x) for k, x in parameters.items()}
    current = form.format(v=f"V({plus},{minus})", **constants)
    return [f"b_cell_{name} {plus} {minus} I={current}"]


for kind in EXPRESSIONS:
    element.register(kind, _expression)


# Far below threshold the logarithm would be of 1 and the rounding of 1.
EKV = ".func ekv(x) {x>-23 ? ln(1+exp(x/2))*ln(1+exp(x/2)) : exp(x)*(1-exp(x/2))}"


def _rail(what: str, v: Any) -> tuple[str, str]:
    """A node at a voltage and its source: both are named by it, so that cells share them."""
    node = f"{what}_{float(v)!r}".replace("-", "m").replace(".", "p")
    return node, f"v_{node} {node} {GROUND} {float(v)!r}"


@element.register
def _(cell: cells.Mosfet, name: str, plus: str, minus: str) -> list[str]:
    if cell.beta == 0:
        return []
    gate, source = _rail("gate", cell.v_gate)
    u_t = thermal_voltage(cell.temperature)
    v_t, n, bulk, lam = map(_constant, (cell.v_t, cell.n, cell.v_bulk, cell.lam))
    below, above = (f"-{bulk}", f"+{bulk}") if cell.v_bulk else ("", "")
    pinch_off = f"(V({gate}){below}-{v_t})/{n}{above}"
    ahead, back = (f"ekv(({pinch_off}-V({node}))/{_constant(u_t)})" for node in (minus, plus))
    size = f"{_constant(2 * cell.n * cell.beta * u_t**2)}*(1+{lam}*abs(V({plus},{minus})))"
    return [EKV, source, f"b_cell_{name} {plus} {minus} I={size}*({ahead}-{back})"]


@element.register
def _(cell: cells.Level1Mosfet, name: str, plus: str, minus: str) -> list[str]:
    if cell.beta == 0:
        return []
    (gate, source), (bulk, well) = _rail("gate", cell.v_gate), _rail("bulk", cell.v_bulk)
    # the channel alone, without junctions to the bulk and at the temperature of its parameters
    form = "nmos level=1 is=1e-30 tox=1e-3 tnom=27 kp={} vto={} lambda={} gamma={} phi={}"
    fields = cell.beta, cell.v_t, cell.lam, cell.gamma, cell.phi
    card = form.format(*(repr(float(x)) for x in fields))
    model = "nmos_" + hashlib.sha256(card.encode()).hexdigest()[:12]
    device = f"m_cell_{name} {plus} {gate} {minus} {bulk} {model} w=1u l=1u"
    return [f".model {model} {card}", source, well, device]


@element.register
def _(cell: cells.Series, name: str, plus: str, minus: str) -> list[str]:
    first = element(cell.first, f"{name}a", plus, f"m_{name}")
    second = element(cell.second, f"{name}b", f"m_{name}", minus)
    return first + second if first and second else []
