"""Netlist elements of the cells."""

import functools
import hashlib
from typing import Any

from .. import cells
from ..cells.constants import thermal_voltage

GROUND = "0"
SHORT = "v_cell_"  # prefix of the names of shorted cells


@functools.singledispatch
def element(cell: cells.AbstractCell, name: str, plus: str, minus: str) -> list[str]:
    """Netlist lines of one device. To support a cell class of your own, register a function:

        @xbarjax.spice.element.register(MyCell)
        def _(cell, name, plus, minus):
            return [f"r_cell_{name} {plus} {minus} {1 / cell.g!r}"]

    **Arguments:**

    - `cell`: one device, a cell whose parameters are Python floats.
    - `name`: of the crosspoint, for example `0_1`, to be used in names of elements and inner nodes.
    - `plus`, `minus`: nodes on the row side and on the column side.

    **Returns:** a list of lines, empty for a device that never conducts. A line that several cells
    return, such as a `.model` card or the source of a gate voltage, is written once.

    **Errors:** `TypeError` for a cell class without a registered function.
    """
    kind = type(cell).__name__
    raise TypeError(
        f"spice does not know {kind}: register a function of (cell, name, plus, minus) that returns"
        f" a list of lines, with @xbarjax.spice.element.register({kind})."
    )


@element.register
def _(cell: cells.Ohmic, name: str, plus: str, minus: str) -> list[str]:
    return _resistor(name, plus, minus, 1 / float(cell.g)) if cell.g > 0 else []


@element.register
def _(cell: cells.VTEAM, name: str, plus: str, minus: str) -> list[str]:
    r = cell.r_on + (cell.r_off - cell.r_on) * (cell.w - cell.w_on) / (cell.w_off - cell.w_on)
    return _resistor(name, plus, minus, float(r))


def _resistor(name: str, plus: str, minus: str, r: float) -> list[str]:
    """A resistor [ohm]. For 0 ohm it is a 0 V source, since ngspice turns a resistor of 0 ohm into
    one of 1 mohm."""
    if r == 0:
        return [f"{SHORT}{name} {plus} {minus} 0"]
    return [f"r_cell_{name} {plus} {minus} {r!r}"] if r < float("inf") else []


def constant(x: Any) -> str:
    """A number in an ngspice expression. ngspice keeps 11 digits per number; a number of more
    digits is written as a sum of two."""
    x = min(float(x), 1e300)  # ngspice has no inf
    high = float(f"{x:.10e}")
    text = f"{x:.11g}" if high == x else f"({high:.11g}+({x - high:.11g}))"
    return f"({text})" if text.startswith("-") else text


# Currents of cells that depend on the voltage v between their terminals alone, by names of
# parameters; u_t is k T / q. A cell with all of its FACTORS at 0 carries no current.
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
        parameters["b"] = 1e-6  # linear to 12 digits
    constants = {k: constant(x) for k, x in parameters.items()}
    current = form.format(v=f"V({plus},{minus})", **constants)
    return [f"b_cell_{name} {plus} {minus} I={current}"]


for kind in EXPRESSIONS:
    element.register(kind, _expression)


# Far below threshold 1 + exp(x/2) rounds to 1, and its logarithm to 0.
EKV = ".func ekv(x) {x>-23 ? ln(1+exp(x/2))*ln(1+exp(x/2)) : exp(x)*(1-exp(x/2))}"


def _rail(what: str, v: Any) -> tuple[str, str]:
    """A node at a fixed voltage, and the line of its source. The voltage is part of both names, so
    that cells share them."""
    node = f"{what}_{float(v)!r}".replace("-", "m").replace(".", "p")
    return node, f"v_{node} {node} {GROUND} {float(v)!r}"


@element.register
def _(cell: cells.Mosfet, name: str, plus: str, minus: str) -> list[str]:
    if cell.beta == 0:
        return []
    gate, source = _rail("gate", cell.v_gate)
    u_t = thermal_voltage(cell.temperature)
    v_t, n, bulk, lam = map(constant, (cell.v_t, cell.n, cell.v_bulk, cell.lam))
    below, above = (f"-{bulk}", f"+{bulk}") if cell.v_bulk else ("", "")
    pinch_off = f"(V({gate}){below}-{v_t})/{n}{above}"
    ahead, back = (f"ekv(({pinch_off}-V({node}))/{constant(u_t)})" for node in (minus, plus))
    size = f"{constant(2 * cell.n * cell.beta * u_t**2)}*(1+{lam}*abs(V({plus},{minus})))"
    return [EKV, source, f"b_cell_{name} {plus} {minus} I={size}*({ahead}-{back})"]


@element.register
def _(cell: cells.Level1Mosfet, name: str, plus: str, minus: str) -> list[str]:
    if cell.beta == 0:
        return []
    (gate, source), (bulk, well) = _rail("gate", cell.v_gate), _rail("bulk", cell.v_bulk)
    # The channel alone: no bulk junctions, and tnom at the temperature of the analysis.
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
