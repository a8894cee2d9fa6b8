"""Arrays of StanfordPKU devices that switch, in time: alone, and among wires.

A device is a behavioural source of its current; its gap [nm] is the voltage of a capacitor of
1 nF, charged by its rate, and its temperature [K] that of a behavioural source. No gap comes to an
end of its range. The step is at most a few thousandths of the time, and what is stored is at time
points of ngspice itself.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from .suite import TEXT, Array, Family, ammeter, deck, number, rounded, run

TOLERANCES = "reltol=1e-7 abstol=1e-14 vntol=1e-10 chgtol=1e-19 trtol=1 gmin=1e-20 itl4=500"
Q_PER_K = 1.602176634e-19 / 1.380649e-23
POINTS = 12
UNIT = 1e-9  # [F]

# name: side, seed
CIRCUITS: dict[str, tuple[int, int]] = {"stanford_1": (1, 401), "stanford_4": (4, 402)}


def inputs(name: str) -> dict[str, Any]:
    """`gap` [m] at first, `r_row`, `r_col` [ohm], `(side, side)`; corners `t` [s] of all drivers
    and their voltages `v` [V], `(corners, side)`; `end` [s]. Bit lines end in ground."""
    side, seed = CIRCUITS[name]
    rng = np.random.default_rng(seed)
    uniform = lambda low, high, *shape: rounded(rng.uniform(low, high, shape), 6)
    end = 2e-7
    x: dict[str, Any] = {"gap": uniform(0.7e-9, 1.3e-9, side, side), "end": end}
    x |= {key: uniform(1, 5, side, side) for key in ("r_row", "r_col")}
    up, down = uniform(1.15, 1.25, side), -uniform(1.2, 1.3, side)
    x["t"] = rounded(np.array([0.1, 0.25, 0.6, 0.7]) * end, 9)
    x["v"] = np.stack([0 * up, up, down, 0 * up])
    return x


def netlist(x: dict[str, Any]) -> str:
    side = len(x["gap"])
    lines: list[str] = []
    for i in range(side):
        corners = " ".join(f"{number(t)} {number(v)}" for t, v in zip(x["t"], x["v"][:, i]))
        lines.append(f"vs{i} s{i} 0 pwl(0 0 {corners})")
    for i, j in np.ndindex(side, side):
        w, b, k = f"w{i}_{j}", f"b{i}_{j}", f"{i}_{j}"
        before = f"w{i}_{j - 1}" if j else f"s{i}"
        after = f"b{i + 1}_{j}" if i < side - 1 else f"n{j}"
        v, gap = f"V({w},{b})", f"V(x{k})"
        current = f"1e-3*exp(-{gap}/0.25)*sinh({v}/0.25)"
        gamma = f"(16-0.8*{gap}^3)"
        kt = f"(V(t{k})/{number(Q_PER_K)})"
        rate = f"-10*exp(-0.6/{kt})*sinh({gamma}*0.25/12*{v}/{kt})*1e9"
        lines += [
            f"rr{k} {before} {w} {number(x['r_row'][i, j])}",
            f"rc{k} {b} {after} {number(x['r_col'][i, j])}",
            f"bg{k} {w} {b} I={current}",
            f"bt{k} t{k} 0 V=298+2.1e3*abs({v}*{current})",
            f"bx{k} 0 x{k} I={gamma}*abs({v})/12e-9 < 1.4e9 ? 0 : {number(UNIT)}*({rate})",
            f"cx{k} x{k} 0 {number(UNIT)} ic={number(x['gap'][i, j] * 1e9)}",
        ]
    lines += [ammeter(f"i{j}", f"n{j}", "0") for j in range(side)]
    seen = [f"i(vi{j})" for j in range(side)]
    seen += [f"v(x{i}_{j})" for i, j in np.ndindex(side, side)]
    most = number(x["end"] / 4000)
    return deck(
        "switching",
        TOLERANCES,
        lines,
        "set wr_singlescale",
        "set numdgt=15",
        f"tran {most} {number(x['end'])} 0 {most} uic",
        f"wrdata {TEXT} {' '.join(seen)}",
    )


def simulate(x: dict[str, Any]) -> dict[str, Array]:
    """`t` [s]; `i_out` (times, side), currents [A] into ground; `gap` [m] at the last time."""
    side = len(x["gap"])
    table = np.loadtxt(io.BytesIO(run(netlist(x), TEXT)))
    t, values = table[:, 0], table[:, 1:]
    if t[-1] < 0.999 * x["end"] or not np.isfinite(values).all():
        raise RuntimeError(f"ngspice stopped at {t[-1]} s, or what it has is not finite")
    at = np.searchsorted(t, np.linspace(0.1, 0.7, POINTS + 1)[1:] * x["end"] * (1 - 1e-12))
    at = np.unique(np.append(np.minimum(at, len(t) - 1), len(t) - 1))
    gap = values[-1, side:].reshape(side, side) * 1e-9
    return {"t": t[at], "i_out": rounded(values[at, :side], 10), "gap": rounded(gap, 10)}


SWITCHING = Family("switching", CIRCUITS, inputs, simulate)
