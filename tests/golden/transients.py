"""Arrays with capacitors and their readouts, in time.

Netlists are written element by element. A driver is a piecewise linear source behind a resistance;
an amplifier is a macromodel, a transconductance `w (e - v)` into 1 F beside `A / w` with a buffer
behind it, `w = 2 pi gbw`, and never an equivalent (all of it in units of 1e-13, so that its charge
is like the others). ngspice's own charge tolerance (1e-14 C) is more than all charge of an array:
it is lowered, and the step is at most a few thousandths of the time. What is stored is at time
points of ngspice itself.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from .suite import TEXT, Array, Family, ammeter, deck, number, rounded, run

TOLERANCES = "reltol={} abstol=1e-16 vntol=1e-11 chgtol={} trtol=1 gmin=1e-20"
UNIT = 1e-13  # [F]
POINTS = 12

# name: side, seed, readout, cells, and the end of time [s]
CIRCUITS: dict[str, tuple[int, int, str, str, float]] = {
    "rc_8": (8, 201, "ground", "ohmic", 40e-12),
    "rc_16": (16, 202, "ground", "ohmic", 60e-12),
    "rc_32": (32, 203, "ground", "ohmic", 100e-12),
    "sinh_8": (8, 204, "ground", "sinh", 40e-12),
    "tia_8": (8, 205, "tia", "ohmic", 4e-9),
    "tia_16": (16, 206, "tia", "ohmic", 4e-9),
    "tia_32": (32, 207, "tia", "ohmic", 4e-9),
    "integrator_8": (8, 208, "integrator", "ohmic", 20e-9),
    "integrator_16": (16, 209, "integrator", "ohmic", 20e-9),
    "integrator_32": (32, 210, "integrator", "ohmic", 20e-9),
    "sample_8": (8, 211, "sample", "ohmic", 4e-9),
}


def inputs(name: str) -> dict[str, Any]:
    """`g`, `r_row`, `r_col`, `c_row`, `c_col`, `c_cell` (rows, cols), `b` [1/V] of sinh cells;
    `r_source` (rows,); corners `t` and `v` (4, rows) of the drivers; parameters of the readouts,
    (cols,) each; `end` [s]."""
    side, seed, readout, cells, end = CIRCUITS[name]
    rng = np.random.default_rng(seed)
    uniform = lambda low, high, *shape: rounded(rng.uniform(low, high, shape), 6)
    x: dict[str, Any] = {"g": uniform(1e-6, 1e-4, side, side), "end": end}
    x["b"] = 6.0 if cells == "sinh" else 0.0
    x |= {key: uniform(1, 5, side, side) for key in ("r_row", "r_col")}
    x |= {key: uniform(0.1e-15, 0.5e-15, side, side) for key in ("c_row", "c_col")}
    x["c_cell"] = uniform(0.05e-15, 0.2e-15, side, side)
    x["r_source"] = uniform(50, 500, side)
    # pulses of 1 to 15 times a fifteenth of 0.6 of the time: codes of four bits
    codes = rng.integers(1, 16, side)
    edge, start = 0.02 * end, 0.05 * end
    width = edge + codes * (0.6 * end / 15)
    on = np.full(side, start)
    x["t"] = rounded(np.stack([on, on + edge, on + width, on + width + edge]), 9)
    high = uniform(0.1, 0.4, side)
    x["v"] = np.stack([0 * high, high, high, 0 * high])
    x["readout"] = readout
    if readout == "ground":
        x["r_in"] = uniform(50, 500, side)
    if readout in ("tia", "integrator"):
        x["gain"], x["gbw"] = uniform(200, 5000, side), uniform(2e9, 2e10, side)
        x["c_in"], x["v_offset"] = uniform(1e-15, 20e-15, side), uniform(-2e-3, 2e-3, side)
    if readout == "tia":
        x["r_f"] = uniform(500, 3000, side)
        total = x["c_col"].sum(0) + x["c_in"]
        x["c_f"] = rounded(np.sqrt(total / (np.pi * x["r_f"] * x["gbw"])), 6)
    if readout == "integrator":
        # the offset alone would fill it: integrators are reset until time 0, here by ngspice's .ic
        x["v_offset"] = 0 * x["v_offset"]
        x["c_f"], x["r_f"] = uniform(1e-12, 4e-12, side) * side / 8, uniform(1e5, 1e6, side)
    if readout == "sample":
        x["c_sample"], x["r_switch"] = uniform(5e-15, 50e-15, side), uniform(1e3, 1e4, side)
        x["r_load"] = uniform(1e5, 1e6, side)
    return x


def netlist(x: dict[str, Any]) -> str:
    side = len(x["g"])
    # the trapezoidal rule does not get past a corner where charge is collected; with looser
    # tolerances it does, and agrees to 5e-8
    collects = x["readout"] == "integrator"
    options = TOLERANCES.format(1e-6 if side == 32 else 1e-7, 1e-18 if collects else 1e-21)
    lines: list[str] = []
    for i in range(side):
        corners = " ".join(f"{number(t)} {number(v)}" for t, v in zip(x["t"][:, i], x["v"][:, i]))
        lines.append(f"vs{i} s{i} 0 pwl({corners})")
        lines.append(f"rs{i} s{i} w{i}_in {number(x['r_source'][i])}")
    for i, j in np.ndindex(side, side):
        w, b = f"w{i}_{j}", f"b{i}_{j}"
        before = f"w{i}_{j - 1}" if j else f"w{i}_in"
        after = f"b{i + 1}_{j}" if i < side - 1 else f"n{j}"
        lines.append(f"rr{i}_{j} {before} {w} {number(x['r_row'][i, j])}")
        lines.append(f"rc{i}_{j} {b} {after} {number(x['r_col'][i, j])}")
        if x["b"]:
            size, b_ = number(x["g"][i, j] / x["b"]), number(x["b"])
            lines.append(f"bg{i}_{j} {w} {b} I={size}*sinh({b_}*V({w},{b}))")
        else:
            lines.append(f"rg{i}_{j} {w} {b} {number(1 / x['g'][i, j])}")
        lines.append(f"cw{i}_{j} {w} 0 {number(x['c_row'][i, j])}")
        lines.append(f"cb{i}_{j} {b} 0 {number(x['c_col'][i, j])}")
        lines.append(f"cx{i}_{j} {w} {b} {number(x['c_cell'][i, j])}")
    seen = []
    for j in range(side):
        p = {k: number(v[j]) for k, v in x.items() if np.shape(v) == (side,)}
        if x["readout"] == "ground":
            lines += [f"ri{j} n{j} m{j} {p['r_in']}", ammeter(f"i{j}", f"m{j}", "0")]
            seen.append(f"i(vi{j})")
        elif x["readout"] == "sample":
            lines += [f"rl{j} n{j} 0 {p['r_load']}", f"rw{j} n{j} o{j} {p['r_switch']}"]
            lines.append(f"co{j} o{j} 0 {p['c_sample']}")
            seen.append(f"v(o{j})")
        else:
            w = 2 * np.pi * x["gbw"][j]
            lines += [
                f"ve{j} e{j} 0 {p['v_offset']}",
                f"ga{j} 0 a{j} e{j} n{j} {number(w * UNIT)}",
                f"ca{j} a{j} 0 {number(UNIT)}",
                f"ra{j} a{j} 0 {number(x['gain'][j] / (w * UNIT))}",
                f"ea{j} o{j} 0 a{j} 0 1",
                f"rf{j} n{j} o{j} {p['r_f']}",
                f"cf{j} n{j} o{j} {p['c_f']}",
                f"ci{j} n{j} 0 {p['c_in']}",
            ]
            seen.append(f"v(o{j})")
    most = x["end"] / (4000 if side < 32 else 1500)
    return deck(
        "transient",
        options + (" method=gear" if collects else ""),
        lines,
        "set wr_singlescale",
        "set numdgt=15",
        f"tran {number(most)} {number(x['end'])} 0 {number(most)}",
        f"wrdata {TEXT} {' '.join(seen)}",
    )


def simulate(x: dict[str, Any]) -> dict[str, Array]:
    table = np.loadtxt(io.BytesIO(run(netlist(x), TEXT)))
    t, values = table[:, 0], table[:, 1:]
    if t[-1] < 0.999 * x["end"] or not np.isfinite(values).all():
        raise RuntimeError(f"ngspice stopped at {t[-1]} s, or what it has is not finite")
    at = np.searchsorted(t, np.linspace(0, x["end"], POINTS + 1)[1:] * (1 - 1e-12))
    at = np.unique(np.minimum(at, len(t) - 1))
    return {"t": t[at], "output": rounded(values[at], 10)}


TRANSIENTS = Family("transients", CIRCUITS, inputs, simulate)
