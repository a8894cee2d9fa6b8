"""Netlist lines of devices with memory in time.

A state is the voltage of a capacitor of 1 F, from 0 to 1 over the range of the device, charged by a
source of its rate. Within EDGE of a bound the rate towards the bound falls to 0, since ngspice's
method does not get past a rate that jumps.
"""

import functools
import math
from typing import Any, ClassVar

from .. import cells
from .._types import DeviceMask, PerDevice
from ..cells import AbstractCell, AbstractMemoryCell, AbstractNestedCell, has_memory, windows
from ..cells.constants import thermal_voltage
from .elements import EXPRESSIONS, GROUND, constant, element

EDGE = 1e-6  # of the range


class Moving(AbstractCell):
    """Devices with memory whose states move, and the smallest and largest value of each state."""

    cell: AbstractMemoryCell
    bounds: tuple[tuple[Any, Any], ...]
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return self.cell.current(v_row, v_col)

    def valid(self) -> DeviceMask:
        return self.cell.valid()


def moving(cell: AbstractCell) -> AbstractCell:
    """The cell with its devices with memory as `Moving`."""
    if isinstance(cell, AbstractNestedCell) and has_memory(cell):
        return cell.with_parts(tuple(moving(part) for part in cell.parts))
    return Moving(cell, cell.bounds) if isinstance(cell, AbstractMemoryCell) else cell


@functools.singledispatch
def motion(cell: AbstractMemoryCell, v: str, p: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """ngspice expressions of the current [A] of a device with memory, and of the rate per second of
    each state. To support a class of your own, register a function of it:

        @xbarjax.spice.motion.register(MyCell)
        def _(cell, v, p):
            return f"{v}*{p['g']}", (f"{p['k']}*{v}",)

    **Arguments:** `cell`: one device; `v`: the expression of its voltage [V]; `p`: the expressions
    of its parameters and of its states, by their names.

    **Errors:** `TypeError` for a class without a registered function.
    """
    kind = type(cell).__name__
    raise TypeError(
        f"spice does not know how the states of {kind} move: register a function of (cell, v, p)"
        f" that returns their rates, with @xbarjax.spice.motion.register({kind})."
    )


def _constants(cell: AbstractMemoryCell) -> dict[str, str]:
    return {key: constant(x) for key, x in vars(cell).items() if isinstance(x, float)}


@element.register
def _(part: AbstractMemoryCell, name: str, plus: str, minus: str) -> list[str]:
    """A device whose states stay: the current that it has when they move."""
    current, _ = motion(part, f"V({plus},{minus})", _constants(part))
    return [f"b_cell_{name} {plus} {minus} I={current}"]


@element.register
def _(part: Moving, name: str, plus: str, minus: str) -> list[str]:
    cell, v = part.cell, f"V({plus},{minus})"
    nodes = [f"{name}__{state}" for state in cell.states]
    p = _constants(cell)
    for state, node, (low, high) in zip(cell.states, nodes, part.bounds):
        p[state] = f"({constant(low)}+{constant(high - low)}*V({node}))"
    current, rates = motion(cell, v, p)
    lines = [f"b_cell_{name} {plus} {minus} I={current}"]
    for state, node, rate, (low, high) in zip(cell.states, nodes, rates, part.bounds):
        rate = f"({rate})*{constant(1 / (high - low))}"
        left = f"min(1,max(0,({rate}>0 ? 1-V({node}) : V({node}))*{1 / EDGE!r}))"
        first = (getattr(cell, state) - low) / (high - low)
        lines.append(f"b_{node} {GROUND} {node} I={rate}*{left}")
        lines += [f"c_{node} {node} {GROUND} 1", f".ic v({node})={first!r}"]
    return lines


def _beyond(x: str, end: str, x_0: str, p: dict[str, str]) -> str:
    return f"{p[f'k_{end}']}*max({x}/{x_0}-1,0)^{p[f'alpha_{end}']}"


@motion.register
def _(cell: cells.VTEAM, v: str, p: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    return f"{v}/{_resistance(p)}", (
        f"{_beyond(v, 'off', p['v_off'], p)}+{_beyond(v, 'on', p['v_on'], p)}",
    )


@motion.register
def _(cell: cells.TEAM, v: str, p: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    i = f"({v}/{_resistance(p)})"
    rate = f"({_beyond(i, 'off', p['i_off'], p)}+{_beyond(i, 'on', p['i_on'], p)})"
    return i, (rate + _window(cell.window, _share(p), v),)


def _share(p: dict[str, str]) -> str:
    return f"(({p['w']}-{p['w_on']})/({p['w_off']}-{p['w_on']}))"


def _resistance(p: dict[str, str]) -> str:
    return f"({p['r_on']}+({p['r_off']}-{p['r_on']})*{_share(p)})"


@motion.register
def _(cell: cells.LinearIonDrift, v: str, p: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    share = f"({p['w']}/{p['length']})"
    i = f"({v}/({p['r_on']}*{share}+{p['r_off']}*(1-{share})))"
    speed = f"{p['mobility']}*{p['r_on']}/{p['length']}*{i}"
    return i, (speed + _window(cell.window, share, v),)


@motion.register
def _(cell: cells.Ecram, v: str, p: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    share = "({x}-{x_min})/({x_max}-{x_min})".format(**p)
    side = ("gamma_up", "x_max") if cell.v_gate > 0 else ("gamma_down", "x_min")
    left = f"(1-{p[side[0]]}*{p['x']}/{p[side[1]]})"
    rate = f"{{step}}*{{v_gate}}/{{v_pulse}}/{{t_pulse}}*{left}-{{x}}/{{tau}}".format(**p)
    return f"({p['g_min']}+({p['g_max']}-{p['g_min']})*{share})*{v}", (rate,)


@motion.register
def _(cell: cells.ThermalSwitch, v: str, p: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    r = "({r_0}*exp({t_a}/{temperature})*(1+tanh({steepness}*({t_c}-{temperature})))/2+{r_m})"
    i = f"{v}/{r}".format(**p)
    return i, (f"({v}*{i}-{p['g_th']}*({p['temperature']}-{p['t_0']}))/{p['c_th']}",)


@motion.register
def _(cell: cells.DynamicMemristor, v: str, p: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    x, r = p["x"], p["r"]
    u = f"({p['alpha']}*abs({v})/(1+{p['alpha']}*abs({v})))"
    lost = f"min(1-{r}+{u},{cells.dynamic.LOST!r})"
    pulled = f"((1-{r})*({p['x_0']}-{x})+{u}*(({v}>0 ? 1 : 0)-{x}))"
    i = f"{x}*({v}>0 ? {p['k_p']} : {p['k_n']})*{v}*{v}*{v}"
    return i, (f"-ln(1-{lost})/({lost}*{p['t_pulse']})*{pulled}",)


@motion.register
def _(cell: cells.Diffusive, v: str, p: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    per_cube = math.pi / 4 * (1 + cell.p) / (1 - cell.p) / (cell.rho_0 * cell.l_free)  # [S/m^2]
    r_stub = constant((cell.length - cell.gap) / (per_cube * cell.d_max**3))
    oxide = constant(math.pi / 4 / (cell.rho_ox * cell.gap))
    d, wide = p["diameter"], p["d_max"]
    g_oxide = f"({oxide}*({wide}*{wide}-{d}*{d}))"
    g = f"({g_oxide}+{constant(per_cube / cell.gap)}*{d}*{d}*{d})"
    bent = f"({g_oxide}*{constant(cell.kappa / cell.gap)})"
    slope = f"(1+{r_stub}*{g})"
    u = f"(2*abs({v})/({slope}+sqrt({slope}*{slope}+4*{r_stub}*{bent}*abs({v}))))"
    u_t = thermal_voltage(cell.temperature)
    grows = f"{p['a']}*exp(({p['alpha']}*{u}-{p['e_grow']})/{constant(u_t)})"
    thin = f"max({d},{p['atom']})"
    shrinks = f"{constant(cell.b * math.exp(-cell.e_shrink / u_t))}/({thin}*{thin}*{thin})"
    return f"sgn({v})*({g}+{bent}*{u})*{u}", (f"{grows}-{shrinks}",)


@motion.register
def _(cell: cells.Yakopcic, v: str, p: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    beyond = lambda v, end: f"(exp(max({v},{p[end]}))-exp({p[end]}))"
    g = f"({p['k_p']}*{beyond(v, 'v_p')}-{p['k_n']}*{beyond(f'-{v}', 'v_n')})"
    x, x_p, x_n = p["x"], p["x_p"], p["x_n"]
    up = f"exp(-{p['alpha_p']}*({x}-{x_p}))*(1-{x})/(1-{x_p})"
    down = f"exp({p['alpha_n']}*({x}-1+{x_n}))*{x}/(1-{x_n})"
    up, down = f"({x}>={x_p} ? {up} : 1)", f"({x}<=1-{x_n} ? {down} : 1)"
    rate = f"{p['eta']}*{g}*({p['eta']}*{v}>=0 ? {up} : {down})"
    return EXPRESSIONS[cells.Yakopcic].format(v=v, **p), (rate,)


@motion.register
def _(cell: cells.StanfordPKU, v: str, p: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    i = EXPRESSIONS[cells.StanfordPKU].format(v=v, **p)
    u_t = f"({constant(thermal_voltage(1.0))}*({p['t_0']}+{v}*{i}*{p['r_th']}))"
    gap = f"({p['gap']}*1e9)"
    field = f"(({p['gamma_0']}-{p['beta']}*{gap}*{gap}*{gap})*{v}/{p['length']})"
    driven = f"(sgn({v})*{field}<{p['f_min']} ? 0 : {field})"
    rate = f"-{p['rate_0']}*exp(-{p['e_a']}/{u_t})*sinh({p['a_0']}*{driven}/{u_t})"
    return i, (rate,)


@motion.register
def _(cell: cells.Messaris, v: str, p: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    grown = lambda x: f"(exp(max({x},0))-1)"
    up = grown("{t_p}*{v}") + "*" + grown("{c_p}*({r_p0}+{r_p1}*{v}-{r})")
    down = grown("-{t_n}*{v}") + "*" + grown("{c_n}*({r}-{r_n0}-{r_n1}*{v})")
    rate = f"{{k_p}}*{up}+{{k_n}}*{down}".format(v=v, **p)
    return EXPRESSIONS[cells.Messaris].format(v=v, **p), (rate,)


WINDOWS: dict[Any, str] = {
    windows.Joglekar: "(1-((2*{s}-1)*(2*{s}-1))^{p})",
    windows.Biolek: "({v}>=0 ? 1-({s}*{s})^{p} : 1-((1-{s})*(1-{s}))^{p})",
    windows.Prodromakis: "({j}*(1-(({s}-0.5)*({s}-0.5)+0.75)^{p}))",
    windows.Kvatinsky: "exp(-exp(({v}>=0 ? {s}-{s_off} : {s_on}-{s})/{width}))",
}


def _window(window: windows.AbstractWindow | None, s: str, v: str) -> str:
    """A factor of a rate, by the share `s` of the range."""
    if window is None:
        return ""
    if type(window) not in WINDOWS:
        kind = type(window).__name__
        raise TypeError(f"spice does not know the window {kind}: use one of xb.windows.")
    own = {key: constant(x) for key, x in vars(window).items()}
    return "*" + WINDOWS[type(window)].format(s=s, v=v, **own)
