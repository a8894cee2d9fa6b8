"""Netlist lines of cells and of elements of circuits."""

import functools
import hashlib
import math
from typing import Any

import numpy as np

from .. import cells, elements as el
from ..cells import AbstractCell
from ..cells.constants import BOLTZMANN, CHARGE, thermal_voltage
from ..cells.jart import CHARGES, ELECTRON, PLANCK, RICHARDSON, VACUUM
from ..elements import AbstractElement

GROUND = "0"
SHORT = "v_cell_"  # prefix of the names of shorted cells


@functools.singledispatch
def element(part: AbstractCell | AbstractElement, name: str, *nodes: str) -> list[str]:
    """Netlist lines of one device of a cell, or of one lane of an element of a circuit. To support
    a class of your own, register a function:

        @xbarjax.spice.element.register(MyCell)
        def _(cell, name, plus, minus):
            return [f"r_cell_{name} {plus} {minus} {1 / cell.g!r}"]

        @xbarjax.spice.element.register(MyElement)
        def _(part, name, a, b):
            return [f"r_{name} {a} {name}__i {part.r!r}", f"v_{name} {name}__i {b} 0"]

    **Arguments:**

    - `part`: one device or one lane, whose parameters are Python floats. The value of a source that
        a waveform drives is the text of its piecewise linear values: write it by `value`.
    - `name`: of the crosspoint or the lane, for example `0_1` or `amps_0`, to be used in names of
        elements and inner nodes. A node inside an element is `{name}__` and a name.
    - `nodes`: of a cell those on the row side and on the column side; of an element those of its
        `terminals`, in their order.

    **Returns:** a list of lines, empty for a device that never conducts. A line that several cells
    return, such as a `.model` card or the source of a gate voltage, is written once. A source of
    0 V called `v_{name}` is the ammeter of an element: its current is the one that solutions
    report.

    **Errors:** `TypeError` for a class without a registered function.
    """
    kind = type(part).__name__
    is_cell = isinstance(part, AbstractCell)
    arguments = "cell, name, plus, minus" if is_cell else "part, name, *nodes"
    raise TypeError(
        f"spice does not know {kind}: register a function of ({arguments}) that returns"
        f" a list of lines, with @xbarjax.spice.element.register({kind})."
    )


@element.register
def _(cell: cells.Ohmic, name: str, plus: str, minus: str) -> list[str]:
    return _resistor(name, plus, minus, 1 / float(cell.g)) if cell.g > 0 else []


@element.register
def _(cell: cells.VTEAM | cells.TEAM, name: str, plus: str, minus: str) -> list[str]:
    r = cell.r_on + (cell.r_off - cell.r_on) * (cell.w - cell.w_on) / (cell.w_off - cell.w_on)
    return _resistor(name, plus, minus, float(r))


@element.register
def _(cell: cells.LinearIonDrift, name: str, plus: str, minus: str) -> list[str]:
    r = cell.r_on * cell.w / cell.length + cell.r_off * (1 - cell.w / cell.length)
    return _resistor(name, plus, minus, float(r))


@element.register
def _(cell: cells.Ecram, name: str, plus: str, minus: str) -> list[str]:
    g = cell.g_min + (cell.g_max - cell.g_min) * (cell.x - cell.x_min) / (cell.x_max - cell.x_min)
    return _resistor(name, plus, minus, 1 / float(g)) if g > 0 else []


@element.register
def _(cell: cells.ThermalSwitch, name: str, plus: str, minus: str) -> list[str]:
    cold = (1 + np.tanh(cell.steepness * (cell.t_c - cell.temperature))) / 2
    r = cell.r_0 * np.exp(cell.t_a / cell.temperature) * cold + cell.r_m
    return _resistor(name, plus, minus, float(r))


# Contact, disc with plug and line of a JartVCM are in series, each with the law that its current
# states. Its temperature is the voltage of a node, in kelvin above that around the device.
EMITTED = "{area}*{T}*{T}*exp(-{phi}/{u_t})*(exp({v}/{u_t})-1)"
TUNNELLED = (
    "-{area}*{T}*{kelvins}*sqrt({pi_w}*(max(-{v},0)+{phi}*(1-{tail}*{tail})))"
    "*exp(-{phi}*{tail}/{w})*(exp(-{v}*(1-{tail}/({w}/{u_t}))/{u_t})-1)"
)


@element.register
def _(cell: cells.JartVCM, name: str, plus: str, minus: str) -> list[str]:
    contact, end, heat = f"{name}__contact", f"{name}__end", f"{name}__heat"
    n, area = math.exp(cell.log_n), math.pi * cell.radius**2
    carried = CHARGES * CHARGE * cell.mobility * area  # [S m^4], times a concentration
    r = cell.l_disc / (carried * n) + (cell.l_cell - cell.l_disc) / (carried * cell.n_plug)
    w = PLANCK / (4 * math.pi) * math.sqrt(CHARGES * n / (ELECTRON * VACUUM * cell.eps))
    fourth = CHARGES * n / (8 * math.pi**2) * (CHARGE / (VACUUM * cell.eps_phi)) ** 3
    p = {"area": RICHARDSON * area, "kelvins": CHARGE / BOLTZMANN, "w": w, "pi_w": math.pi * w}
    p = {key: constant(x) for key, x in p.items()}
    p["T"] = f"({constant(cell.t_0)}+V({heat}))"
    p["u_t"] = f"({constant(BOLTZMANN / CHARGE)}*{p['T']})"
    p["tail"] = "tanh({w}/{u_t})".format(**p)
    p["v"] = f"V({plus},{contact})"
    above = f"max({constant(cell.phi - cell.phi_n)}-{p['v']},0)"
    p["phi"] = f"max({constant(cell.phi)}-sqrt(sqrt({constant(fourth)}*{above})),0)"
    sign = f"V({plus},{minus})<0"
    i = f"I(v_{name}__line)"
    line = (
        f"{constant(cell.r_0)}*{i}*(1+{constant(cell.alpha * cell.r_0 * cell.r_th_line)}*{i}*{i})"
    )
    power = f"{i}*({p['v']}+{constant(r)}*{i})"
    r_th = f"({sign} ? {constant(cell.r_th)} : {constant(cell.r_th * cell.scaling)})"
    return [
        f"b_{name}__contact {plus} {contact} I={sign} ? {TUNNELLED} : {EMITTED}".format(**p),
        f"r_{name}__filament {contact} {name}__s {r + cell.r_s!r}",
        f"v_{name}__line {name}__s {end} 0",
        f"b_{name}__line {end} {minus} V={line}",
        f"b_{name}__heat {heat} {GROUND} V={power}*{r_th}",
    ]


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
FACTORS = ("g", "g_2", "g_3", "g_off", "on", "i_s", "i_0", "x", "r")
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
    cells.Messaris: "({v}>=0 ? {a_p}*sinh({b_p}*{v}) : {a_n}*sinh({b_n}*{v}))/{r}",
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
def _(cell: cells.PChannel, name: str, plus: str, minus: str) -> list[str]:
    n = cell.channel
    if n.beta == 0:
        return []
    (gate, source), (bulk, well) = _rail("gate", cell.v_gate), _rail("bulk", cell.v_bulk)
    if isinstance(n, cells.Level1Mosfet):
        form = "pmos level=1 is=1e-30 tox=1e-3 tnom=27 kp={} vto={} lambda={} gamma={} phi={}"
        fields = n.beta, -n.v_t, n.lam, n.gamma, n.phi
        card = form.format(*(repr(float(x)) for x in fields))
        model = "pmos_" + hashlib.sha256(card.encode()).hexdigest()[:12]
        device = f"m_cell_{name} {plus} {gate} {minus} {bulk} {model} w=1u l=1u"
        return [f".model {model} {card}", source, well, device]
    u_t = thermal_voltage(n.temperature)
    v_t, slope, lam = map(constant, (n.v_t, n.n, n.lam))
    pinch_off = f"(V({bulk},{gate})-{v_t})/{slope}"
    ahead, back = (f"ekv(({pinch_off}-V({bulk},{node}))/{constant(u_t)})" for node in (minus, plus))
    size = f"{constant(2 * n.n * n.beta * u_t**2)}*(1+{lam}*abs(V({plus},{minus})))"
    return [EKV, source, well, f"b_cell_{name} {plus} {minus} I={size}*({back}-{ahead})"]


@element.register
def _(cell: cells.Parallel, name: str, plus: str, minus: str) -> list[str]:
    parts = (element(part, f"{name}{k}", plus, minus) for k, part in zip("ab", cell.parts))
    return [line for part in parts for line in part]


@element.register
def _(cell: cells.Series, name: str, plus: str, minus: str) -> list[str]:
    first = element(cell.first, f"{name}a", plus, f"m_{name}")
    second = element(cell.second, f"{name}b", f"m_{name}", minus)
    return first + second if first and second else []


# Elements of circuits. An ammeter comes after a resistor: see WIRE.


class Piecewise(str):
    """The text of the values of a source over time."""


def value(x: float | Piecewise) -> str:
    """The value of a source, which a waveform may drive."""
    return x if isinstance(x, Piecewise) else repr(x)


@element.register
def _(part: el.Resistor, name: str, a: str, b: str) -> list[str]:
    return _measured(name, a, b, part.r)  # pyright: ignore[reportArgumentType]


@element.register
def _(part: el.Switch, name: str, a: str, b: str) -> list[str]:
    r = part.r_on if part.closed > 0.5 else part.r_off
    return _measured(name, a, b, r)  # pyright: ignore[reportArgumentType]


def _measured(name: str, a: str, b: str, r: float) -> list[str]:
    """A resistor [ohm] and an ammeter behind it."""
    if r == 0:
        return [f"v_{name} {a} {b} 0"]
    inner = f"{name}__i"
    return [f"r_{name} {a} {inner} {r!r}", f"v_{name} {inner} {b} 0"] if r < float("inf") else []


@element.register
def _(part: el.Capacitor, name: str, a: str, b: str) -> list[str]:
    return [f"c_{name} {a} {b} {part.c!r}"] if part.c > 0 else []


@element.register
def _(part: el.VoltageSource, name: str, to: str, back: str) -> list[str]:
    inner = f"{name}__v"
    source = f"v_{name}__source {inner} {back} {value(part.v)}"  # pyright: ignore
    return [source, *_measured(name, inner, to, part.r)]  # pyright: ignore[reportArgumentType]


@element.register
def _(part: el.CurrentSource, name: str, to: str, back: str) -> list[str]:
    inner = f"{name}__i"
    source = f"i_{name} {back} {inner} {value(part.i)}"  # pyright: ignore[reportArgumentType]
    return [source, f"v_{name} {inner} {to} 0"]


@element.register
def _(part: el.Device, name: str, a: str, b: str) -> list[str]:
    inner = f"{name}__i"
    lines = element(part.cell, f"_{name}", inner, b)
    return [f"v_{name} {a} {inner} 0", *lines] if lines else []


# The law of an amplifier is Kirchhoff's at a node inside, whose currents are its voltages times LAW
# [S], so that its charge is of the order of that of a line. The voltage of this node is the drive.
# Of an amplifier with a swing and a pole it is the output instead: Newton's method without limits,
# as in ngspice, does not find the drive in time, since at the end of the swing the charge no longer
# depends on it. From a part KNEE short of an end on, the drive is continued as a straight line:
# the output then goes beyond the end by 2 KNEE times the drive.
LAW, KNEE = 1e-6, 1e-10


@element.register
def _(part: el.OpAmp, name: str, minus: str, plus: str, out: str) -> list[str]:
    inner, loaded = f"{name}__p", f"{name}__o"
    lines = [f"g_{name} {GROUND} {inner} {plus} {minus} {LAW!r}"]
    if part.v_offset != 0:
        lines.append(f"i_{name} {GROUND} {inner} {LAW * part.v_offset!r}")
    if part.gbw is not None:
        lines.append(f"c_{name} {inner} {GROUND} {float(LAW / (2 * np.pi * part.gbw))!r}")
    limited = f"e_{name} {loaded} {GROUND} {inner} {GROUND} 1"
    r_gain = f"r_{name}__gain {inner} {GROUND} {part.gain / LAW!r}"
    if part.v_low is None or part.v_high is None:
        lines += [r_gain, limited] if part.gain < float("inf") else [limited]
    else:
        middle = constant((part.v_high + part.v_low) / 2)
        half = constant((part.v_high - part.v_low) / 2)
        u = f"(V({inner})-{middle})/{half}"
        if part.gbw is None:
            lines += [r_gain, f"b_{name} {loaded} {GROUND} V={middle}+{half}*tanh({u})"]
        else:
            inside = f"max({constant(KNEE - 1)},min({constant(1 - KNEE)},{u}))"
            beyond = f"({u}-{inside})*{constant(1 / (KNEE * (2 - KNEE)))}"
            drive = f"{middle}+{half}*(atanh({inside})+{beyond})"
            lines += [f"b_{name} {inner} {GROUND} I={constant(LAW / part.gain)}*({drive})", limited]
    return [*lines, *_measured(name, loaded, out, part.r_out)]  # pyright: ignore
