"""Sneak paths: read margins and half-select power over array size, for every kind of cell.

    python -m experiments.sneak_paths.run

The read margin is `(V_on - V_off) / v`: the difference of the voltages across a load at the
selected column for both states of the cell in the far corner, `(0, N - 1)`, relative to the supply
`v`. All other cells are in the low-resistance state (LRS). The resistance of the load is that of an
LRS cell, and LRS cells of every kind carry the same current at half the supply. A single cell
therefore has `V_on = v / 2`.

Closed forms for ideal wires, with conductances `G = 1 / R` of the other cells, `G_L` of the load
and `G_s` of the selected cell:

- Floating lines: `V / v = G_f / (G_f + G_L)`, `G_f = G_s + 1 / R_sneak`,
  `R_sneak = R/(N-1) + R/(N-1)^2 + R/(N-1)`.
- Held lines: the selected cell connects the load to `v`, and the `N - 1` other cells of its column
  connect the load to `a v`; all other cells are between ideal sources:

    V / v = (G_s + a (N - 1) G) / (G_s + (N - 1) G + G_L),   a = 1/2 (V/2), 1/3 (V/3), 0 (grounded).

Writes have no load. In the V/2 scheme the selected row delivers `I(V) + (N - 1) I(V/2)`, and
`2 (N - 1)` cells have `V/2`. In the V/3 scheme the selected row delivers `I(V) + (N - 1) I(V/3)`,
and `N^2 - 1` cells have `V/3` of either sign.

With ideal wires an array also folds, for any kind of cell: all unselected rows are equal, and so
are all unselected columns. Folded 2 x 2 cells that stand for 1, `N - 1` or `(N - 1)^2` cells each
are then exact, for any `N`. Whole arrays are checked against folded ones.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

import xbarjax as xb
from xbarjax.analyses.schemes import floating, gated, grounded, half, read_margin, third, write_map

from ..common import keep

HERE = Path(__file__).parent
SIZES = (16, 32, 64, 128, 256)
FEW = (16, 64, 256)
BEYOND = 320  # one more size, if the margin is still above 10 % at 256
R_WIRES = (0.0, 1.0, 5.0)  # [ohm per segment]
PART = 0.1  # required read margin

# All parameters are illustrative, of the order of published filamentary cells. The transistor is
# the 180 nm-like set of the tests.
V_READ, V_WRITE = 1.0, 1.0  # [V] supply of a read, across cell and load; voltage of a written cell
R_LRS = 1e5  # [ohm] of an LRS cell at half the read voltage, and of the load
HRS = 0.01  # conductance of the memory element in the high-resistance state (HRS) over that in LRS
B = 10.0  # nonlinearity [1/V] of the sinh and self-rectifying cells shown: I(v)/I(v/2) = 148
RATIO = 1e4  # rectification of the cells shown
SELECTOR_V = 0.3  # [V] across the diodes of 1S1R at the LRS current, of 0.5 V in all
V_T, V_GATE = 0.45, 1.8  # [V] of the transistor in 1T1R, 1 um / 0.18 um
BETA = 200e-6 / 0.18  # [A/V^2]
BS = (0.0, 5.0, 10.0)
RATIOS = (1e1, 1e2, 1e3, 1e4, 1e5, 1e6)

SOURCES = {
    "parameters": "illustrative, not of one device; the transistor is a 180 nm-like set",
    "self_rectifying": {
        "words": "can achieve a read margin to the order of 100x100 array size or even larger",
        "in": "a review, citing Lim et al., ACS Nano 18, 6373 (2024), doi:10.1021/acsnano.3c11325",
        "note": "no margin of 10 % is attached to it",
    },
    "sinh_selector": {
        "words": "10 % near N = 200 for I(V)/I(V/2) = 1e3",
        "in": "Zhou, Kim, Lu, IEEE Trans. Electron Devices 61, 1369 (2014),"
        " doi:10.1109/TED.2014.2310200",
        "note": "second-hand, read off a figure; its load, states and scheme are not known here,"
        " and the ratio of states decides: see sinh, V/2, HRS of 100 and of 10 LRS",
    },
}

Make = Callable[[Any, Any], xb.AbstractCell]  # of the number of parallel cells; state, LRS = 1


def g_sinh(b: Any, at: float = V_READ / 2) -> Any:
    """Conductance [S] at 0 V of a sinh cell with `b` [1/V] that carries `at / R_LRS` at the voltage
    `at` [V]."""
    x = jnp.asarray(b) * at
    return jnp.where(x == 0, 1.0, x / jnp.sinh(jnp.where(x == 0, 1.0, x))) / R_LRS


def linear(many: Any, state: Any) -> xb.AbstractCell:
    return xb.Ohmic(many * state / R_LRS)


def rectifying(b: Any, ratio: Any, at: float = V_READ / 2) -> Make:
    """A self-rectifying cell; with a ratio of 1, it is `Sinh`."""
    return lambda many, state: xb.Rectifying(g_sinh(b, at) * many * state, b, ratio)


def one_selector(many: Any, state: Any) -> xb.AbstractCell:
    i_lrs = V_READ / 2 / R_LRS
    i_s = i_lrs / xb.AntiparallelDiodes(1.0).current(jnp.asarray(SELECTOR_V), jnp.asarray(0.0))
    g = i_lrs / (V_READ / 2 - SELECTOR_V)
    return xb.Series(xb.AntiparallelDiodes(i_s * many), xb.Ohmic(g * many * state))


def one_transistor(many: Any, state: Any) -> xb.AbstractCell:
    return xb.Series(xb.Mosfet(BETA * many, V_T, V_GATE), xb.Ohmic(many * state / R_LRS))


def one_row(crossbar: xb.Crossbar, row: Any, col: Any, v: Any) -> tuple[xb.Crossbar, xb.Bias]:
    """Read scheme of 1T1R: the gates of one row on, all source lines at `v`, all columns read at
    once."""
    on = jnp.where(jnp.arange(crossbar.shape[0]) == row, 1.0, 0.0)
    return crossbar, gated(crossbar, on, v, V_GATE)


PASSIVE = (floating, half, third, grounded)
NAMES = {floating: "floating", half: "V/2", third: "V/3", grounded: "grounded", one_row: "gated"}
KINDS: dict[str, tuple[Make, tuple, tuple[int, ...]]] = {
    "0T1R linear": (linear, PASSIVE, SIZES),
    "sinh": (rectifying(B, 1.0), PASSIVE, SIZES),
    "self-rectifying": (rectifying(B, RATIO), PASSIVE, SIZES),
    "1S1R": (one_selector, PASSIVE, FEW[1:]),
    "1T1R": (one_transistor, (one_row,), FEW[1:]),
}


def array(make: Make, n: int, r: Any, selected: Any, loads: Any) -> xb.Crossbar:
    """A whole array. All resistances are arrays, so that all schemes share one compilation."""
    state = jnp.ones((n, n)).at[0, n - 1].set(selected)
    open_ = jnp.full(n, jnp.inf)
    readout = xb.VirtualGround(loads, open_)
    drive = xb.Drive(jnp.zeros(n), open_)
    return xb.Crossbar(make(jnp.ones((n, n)), state), xb.Wires(r, r), drive, readout)


def margin(make: Make, n: int, r: float, scheme) -> float:
    """Read margin of a whole array. Unselected columns have no load, except in the gated scheme,
    which reads all columns."""
    loads = jnp.full(n, R_LRS) if scheme is one_row else jnp.zeros(n).at[n - 1].set(R_LRS)
    on, off = (array(make, n, r, state, loads) for state in (1.0, HRS))
    return float(read_margin(on, off, 0, n - 1, V_READ, scheme))


def folded_margin(make: Make, n: float, scheme, hrs: float = HRS) -> float:
    """Read margin of an array of any size `n` with ideal wires, by folding to 2 x 2 cells."""
    others = n - 1.0
    many = jnp.asarray([[others, 1.0], [others**2, others]])
    loads = jnp.asarray([R_LRS / others if scheme is one_row else 0.0, R_LRS])
    open_ = jnp.full(2, jnp.inf)

    def folded(state):
        cell = make(many, jnp.ones((2, 2)).at[0, 1].set(state))
        ends = xb.Drive(jnp.zeros(2), open_), xb.VirtualGround(loads, open_)
        return xb.Crossbar(cell, xb.Wires(0.0, 0.0), *ends)

    return float(read_margin(folded(1.0), folded(hrs), 0, 1, V_READ, scheme))


def closed_form(n: int, scheme) -> float:
    g, g_load = 1 / R_LRS, 1 / R_LRS
    at_rows = {half: 1 / 2, third: 1 / 3, grounded: 0.0}

    def output(g_s):
        if scheme is floating:
            r_sneak = R_LRS / (n - 1) + R_LRS / (n - 1) ** 2 + R_LRS / (n - 1)
            g_f = g_s + 1 / r_sneak
            return g_f / (g_f + g_load)
        s = (n - 1) * g
        return (g_s + at_rows[scheme] * s) / (g_s + s + g_load)

    return output(g) - output(HRS * g)


def ten_percent(
    make: Make, scheme, kept: Callable = lambda n: 1.0, hrs: float = HRS
) -> float | None:
    """The size at which the margin on ideal wires, times a factor `kept(n)`, falls to 10 %; `None`
    if not even 2 x 2 cells reach 10 %."""

    def off(log_n):
        n = float(np.exp(log_n))
        return float(np.log(folded_margin(make, n, scheme, hrs) * kept(n) / PART))

    high = np.log(2.0)
    if off(high) < 0:
        return None
    while off(high) > 0:
        high += np.log(2.0)
    return float(np.exp(brentq(off, high - np.log(2.0) + 1e-3, high, xtol=1e-8)))


def ten_percent_wired(make: Make, r: float, ideal: float) -> float | None:
    """The size at which the margin with wires falls to 10 %; `None` beyond the largest size. The
    ratio of the margin to that on ideal wires is interpolated between sizes, from 1 at one cell."""
    sizes = [n for n in SIZES if n < ideal][-2:] + [n for n in (*SIZES, BEYOND) if n >= ideal][:1]
    if sizes[-1] < ideal:
        return None
    factors = [margin(make, n, r, floating) / folded_margin(make, n, floating) for n in sizes]
    factor = PchipInterpolator(np.log([1, *sizes]), [1.0, *factors])
    found = ten_percent(make, floating, lambda n: float(factor(np.log(min(n, sizes[-1])))))
    assert found <= ideal <= sizes[-1], (sizes, ideal, found)
    return found


def margins(say) -> list[dict]:
    """Read margins of whole arrays for every kind of cell, checked on ideal wires against folded
    arrays and closed forms."""
    rows, worst, apart = [], 0.0, 0.0
    for kind, (make, schemes, sizes) in KINDS.items():
        for n in sizes:
            for scheme in schemes:
                row = {"cell": kind, "scheme": NAMES[scheme], "n": n}
                for r in R_WIRES:
                    row[f"margin_{r:g}_ohm"] = margin(make, n, r, scheme)
                folded = folded_margin(make, n, scheme)
                apart = max(apart, abs(row["margin_0_ohm"] - folded))
                assert apart < 1e-7, (row, folded)
                if make is linear:
                    exact = closed_form(n, scheme)
                    # the margin is the difference of two outputs, each exact to 1e-12 of the supply
                    assert abs(row["margin_0_ohm"] - exact) < 1e-11, (row, exact)
                    worst = max(worst, abs(row["margin_0_ohm"] / exact - 1))
                rows.append(row)
            say(f"margins of {kind}, {n} x {n}")
    say(f"closed forms of linear arrays hold to {worst:.0e} of the margin")
    say(f"whole arrays and folded ones agree to {apart:.0e} of the supply")
    n, other = 16, lambda many, state: xb.Sinh(g_sinh(B) * many * state, B)
    same = margin(other, n, 1.0, half) / margin(rectifying(B, 1.0), n, 1.0, half)
    assert abs(same - 1) < 1e-12  # Sinh is Rectifying with a ratio of 1
    check_sneak(64)
    return rows


def check_sneak(n: int) -> None:
    """Checks the sneak current of a linear floating array against `R_sneak`."""
    x = array(linear, n, 0.0, 1.0, jnp.zeros(n))
    r_sneak = R_LRS * (2 / (n - 1) + 1 / (n - 1) ** 2)
    i = float(xb.schemes.sneak_current(x, 0, n - 1, V_READ))
    assert abs(i * r_sneak / V_READ - 1) < 1e-9


def reach(say) -> dict:
    """Sizes at a margin of 10 % over rectification, nonlinearity and wires."""
    rows = []
    for b in BS:
        for ratio in RATIOS:
            make = rectifying(b, ratio)
            row = {"b": b, "ratio": ratio, "n_0_ohm": ten_percent(make, floating)}
            for r in R_WIRES[1:]:
                row[f"n_{r:g}_ohm"] = ten_percent_wired(make, r, row["n_0_ohm"])
            rows.append(row)
        say(f"sizes at 10 %, self-rectifying, b = {b:g} / V")
    kappa = np.array([1e1, 3e1, 1e2, 3e2, 1e3, 3e3, 1e4, 1e5, 1e6])  # I(v) / I(v/2) at v = V_READ
    bs = 2 / V_READ * np.arccosh(kappa / 2)
    sinh = {"half_selectivity": kappa, "b": bs}
    for scheme in (floating, half):
        found = [ten_percent(rectifying(b, 1.0), scheme) for b in bs]
        sinh[f"n_{NAMES[scheme]}"] = np.array(found)
    # the same with a tenth of the ratio of both states
    less = [ten_percent(rectifying(b, 1.0), half, hrs=10 * HRS) for b in bs]
    sinh["n_V/2_hrs_10_lrs"] = less
    say("sizes at 10 %, sinh")
    return {"self_rectifying": rows, "sinh": sinh}


def half_select(say) -> list[dict]:
    """Current of the selected row and power of all other cells while one cell is written. All kinds
    of cells carry the same current at the full write voltage."""
    rows = []
    writers = {
        "linear": rectifying(0.0, 1.0, V_WRITE),
        "sinh": rectifying(B, 1.0, V_WRITE),
        "self-rectifying": rectifying(B, RATIO, V_WRITE),
    }
    for kind, make in writers.items():
        one = make(jnp.ones(()), jnp.ones(()))
        i_of = lambda v, one=one: float(one.current(jnp.asarray(v), jnp.asarray(0.0)))
        for n in SIZES:
            for scheme, part in ((half, 1 / 2), (third, 1 / 3)):
                row = {"cell": kind, "scheme": NAMES[scheme], "n": n}
                for r in (0.0, 5.0):
                    x = array(make, n, r, 1.0, jnp.zeros(n))
                    solution = xb.read(*scheme(x, 0, n - 1, V_WRITE))
                    assert abs(solution.p_delivered / solution.p_dissipated - 1) < 1e-9
                    power = solution.p_delivered - solution.p_cell[0, n - 1]
                    row[f"i_row_{r:g}_ohm"] = float(solution.i_in[0])  # [A]
                    row[f"p_half_select_{r:g}_ohm"] = float(power)  # [W], wires included
                    row[f"v_selected_{r:g}_ohm"] = float(solution.v_cell[0, n - 1])
                v = part * V_WRITE
                i = i_of(V_WRITE) + (n - 1) * i_of(v)
                p = 2 * (n - 1) * v * i_of(v)
                if scheme is third:
                    p += (n - 1) ** 2 * v * -i_of(-v)
                assert abs(row["i_row_0_ohm"] / i - 1) < 1e-9, (row, i)
                assert abs(row["p_half_select_0_ohm"] / p - 1) < 1e-9, (row, p)
                rows.append(row)
        say(f"half-select power of {kind} cells")
    return rows


def writing(say) -> tuple[np.ndarray, dict]:
    """Write voltage at each of 64 x 64 linear cells in the V/2 scheme, with 5 ohm per segment."""
    x = xb.Crossbar(xb.Ohmic(jnp.full((64, 64), 1 / R_LRS)), xb.Wires(5.0, 5.0))
    found = write_map(x, V_WRITE, half)
    assert int(jnp.max(found.status)) == 0
    say("write map")
    v = np.asarray(found.v_selected)
    said = {"n": 64, "r_wire": 5.0, "scheme": "V/2", "v_write": V_WRITE}
    said |= {"v_selected_worst": v.min(), "v_selected_best": v.max()}
    said |= {"v_disturb_worst": float(jnp.max(found.v_disturb))}
    said |= {"i_row_worst": float(jnp.max(found.i_row))}
    assert np.unravel_index(v.argmin(), v.shape) == (0, 63)  # the far corner
    return v, said


def draw(rows: list[dict], sizes: dict, power: list[dict], written: np.ndarray, said: dict):
    figure = Figure(figsize=(10.5, 8), layout="constrained")
    (top_left, top_right), (low_left, low_right) = figure.subplots(2, 2)
    shown = (
        ("1T1R", one_row, "-", "s"),
        ("1S1R", half, "--", "D"),
        ("self-rectifying", floating, "-.", "o"),
        ("sinh", half, ":", "^"),
        ("0T1R linear", half, "-", "v"),
        ("0T1R linear", floating, "--", "x"),
    )
    line = np.geomspace(2, 320, 40)
    for kind, scheme, style, marker in shown:
        ink = {"color": "0.55" if kind == "0T1R linear" else "0", "markersize": 5, "mfc": "w"}
        label = f"{kind}, {NAMES[scheme]}"
        ideal = [folded_margin(KINDS[kind][0], n, scheme) for n in line]
        top_left.loglog(line, ideal, style, **ink)
        mine = [x for x in rows if (x["cell"], x["scheme"]) == (kind, NAMES[scheme])]
        x, y = [r["n"] for r in mine], [r["margin_5_ohm"] for r in mine]
        top_left.plot(x, y, marker, **ink)
        top_left.plot([], [], style, marker=marker, **ink, label=label)
    top_left.axhline(PART, color="0.7", lw=0.8, zorder=0)
    top_left.text(2.1, 0.083, "10 %", fontsize=7, color="0.4", va="top")
    top_left.set(ylim=(1e-5, 1), xlabel="rows = columns", ylabel="read margin / supply")
    top_left.set_title("read margin: ideal wires (lines), 5 ohm per segment (markers)", fontsize=9)
    top_left.legend(fontsize=7, loc="lower left")

    for b, style, marker in zip(BS, ("k-", "k--", "k-."), "osD"):
        mine = [x for x in sizes["self_rectifying"] if x["b"] == b]
        x = [r["ratio"] for r in mine]
        top_right.loglog(
            x,
            [r["n_0_ohm"] for r in mine],
            style,
            lw=1.2,
            label=f"self-rectifying, floating, b = {b:g} / V",
        )
        y = [np.nan if r["n_5_ohm"] is None else r["n_5_ohm"] for r in mine]
        top_right.plot(x, y, marker, color="k", markersize=4, markerfacecolor="w")
    for scheme, style in ((floating, "-"), (half, "--")):
        found = sizes["sinh"]
        top_right.plot(
            found["half_selectivity"],
            found[f"n_{NAMES[scheme]}"],
            style,
            color="0.6",
            lw=1.5,
            label=f"sinh, {NAMES[scheme]}, over I(v) / I(v/2)",
        )
    top_right.plot(1e3, 200, "k*", markersize=9, label="sinh selector, second-hand (2014)")
    quoted = 'self-rectifying, a review: "order of 100x100 ... or even larger"'
    top_right.axhline(100, color="0.5", lw=0.8, ls=":", zorder=0, label=quoted)
    top_right.set(ylim=(2, 3e6), xlabel="rectification, or I(v) / I(v/2) of a sinh")
    top_right.set_ylabel("rows = columns at a margin of 10 %")
    title = f"largest size: ideal wires (lines), 5 ohm up to N = {BEYOND} (markers)"
    top_right.set_title(title, fontsize=9)
    top_right.legend(fontsize=7, loc="upper left")

    for kind, color in (("linear", "0.55"), ("sinh", "0")):
        for scheme, style, marker in (("V/2", "-", "o"), ("V/3", "--", "s")):
            mine = [x for x in power if (x["cell"], x["scheme"]) == (kind, scheme)]
            x, y = [r["n"] for r in mine], [1e3 * r["p_half_select_0_ohm"] for r in mine]
            low_left.loglog(
                x,
                y,
                style,
                marker=marker,
                color=color,
                mfc="w",
                ms=5,
                label=f"{kind}, {scheme}",
            )
    low_left.set(xlabel="rows = columns", ylabel="half-select power [mW]")
    low_left.set_xticks(SIZES, labels=[str(n) for n in SIZES])
    low_left.minorticks_off()
    title = f"power of all other cells while one is written at {V_WRITE:g} V, ideal wires"
    low_left.set_title(title, fontsize=9)
    low_left.legend(fontsize=7, loc="upper left")

    image = low_right.imshow(written, cmap="cividis")
    beside = low_right.inset_axes((1.03, 0, 0.05, 1))
    figure.colorbar(image, cax=beside, label="voltage across the written cell [V]")
    low_right.set(xlabel="bit line", ylabel="word line")
    worst = said["v_disturb_worst"]
    low_right.set_title(
        f"V/2 writes of {V_WRITE:g} V, linear, 5 ohm: other cells at most {worst:.2f} V",
        fontsize=9,
    )
    for axis in (top_left, top_right, low_left):
        axis.grid(alpha=0.25)
    return figure


def tables(console: Console, rows: list[dict], sizes: dict, power: list[dict]) -> None:
    table = Table(title="Read margin, relative to the supply")
    for column in ("cell", "scheme", "n", *(f"{r:g} ohm" for r in R_WIRES)):
        table.add_column(column, justify="right")
    for row in rows:
        if row["n"] in FEW:
            values = [f"{row[f'margin_{r:g}_ohm']:.2e}" for r in R_WIRES]
            table.add_row(row["cell"], row["scheme"], str(row["n"]), *values)
    console.print(table)
    table = Table(title="Size at a margin of 10 %, self-rectifying, floating")
    for column in ("b [1/V]", "rectification", *(f"{r:g} ohm" for r in R_WIRES)):
        table.add_column(column, justify="right")
    for row in sizes["self_rectifying"]:
        found = [row[f"n_{r:g}_ohm"] for r in R_WIRES]
        text = [f"above {BEYOND}" if n is None else f"{n:.1f}" for n in found]
        table.add_row(f"{row['b']:g}", f"{row['ratio']:.0e}", *text)
    console.print(table)
    table = Table(title="Size at a margin of 10 %, sinh, ideal wires")
    for column in ("I(v)/I(v/2)", "b [1/V]", "floating", "V/2", "V/2, HRS 10x"):
        table.add_column(column, justify="right")
    for kappa, b, *found in zip(*sizes["sinh"].values()):
        text = ["-" if n is None else f"{n:.1f}" for n in found]
        table.add_row(f"{kappa:.0e}", f"{b:.1f}", *text)
    console.print(table)
    table = Table(title=f"One cell written at {V_WRITE:g} V, ideal wires and 5 ohm")
    columns = ("row [mA]", "rest [mW]", "5 ohm", "5 ohm", "cell [V]")
    table.add_column("cell", justify="right", min_width=10)
    for column in ("scheme", "n", *columns):
        table.add_column(column, justify="right")
    for row in power:
        if row["n"] in FEW:
            values = [
                f"{1e3 * row[f'{x}_{r}_ohm']:.3g}"
                for r in (0, 5)
                for x in ("i_row", "p_half_select")
            ]
            last = f"{row['v_selected_5_ohm']:.3f}"
            table.add_row(
                row["cell"].removeprefix("self-"), row["scheme"], str(row["n"]), *values, last
            )
    console.print(table)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    console, began = Console(), time.perf_counter()
    say = lambda what: console.print(f"{time.perf_counter() - began:5.0f} s  {what}")
    rows = margins(say)
    sizes = reach(say)
    power = half_select(say)
    written, said = writing(say)
    tables(console, rows, sizes, power)
    figure = draw(rows, sizes, power, written, said)
    given = {"v_read": V_READ, "v_write": V_WRITE, "r_lrs": R_LRS, "hrs_over_lrs": 1 / HRS}
    given |= {"b": B, "ratio": RATIO, "selector_v": SELECTOR_V, "v_gate": V_GATE, "v_t": V_T}
    result = {
        "given": given,
        "sources": SOURCES,
        "margins": rows,
        "size_at_10_percent": sizes,
        "half_select": power,
        "write_map": said,
    }
    console.print(keep(HERE, result, figure, began))


if __name__ == "__main__":
    main()
