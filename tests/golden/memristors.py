"""Devices with memory in time, alone and in arrays with wires.

A state is the voltage of a capacitor of 1 F, from 0 to 1 over the range of the device, charged by a
behavioural source of its rate. Rows are driven by piecewise linear sources behind a resistance, and
swept to both signs; columns end in a resistance. No state comes to a bound. What is stored is at
time points of ngspice itself.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from .suite import TEXT, Array, Family, ammeter, deck, number, rounded, run

OPTIONS = "reltol=1e-7 abstol=1e-16 vntol=1e-11 chgtol=1e-21 trtol=1 gmin=1e-20 itl1=500 itl4=500"
POINTS = 12

# name: side, seed, model, end of time [s]
CIRCUITS: dict[str, tuple[int, int, str, float]] = {
    "vteam_1": (1, 301, "vteam", 1e-3),
    "vteam_4": (4, 302, "vteam", 1e-3),
    "yakopcic_1": (1, 303, "yakopcic", 40e-3),
    "yakopcic_4": (4, 304, "yakopcic", 40e-3),
    "joglekar_1": (1, 305, "joglekar", 0.2),
    "joglekar_4": (4, 306, "joglekar", 0.2),
}
PARAMETERS: dict[str, dict[str, float]] = {
    "vteam": {
        "r_on": 1e3,
        "r_off": 1e5,
        "w_on": 0.0,
        "w_off": 3e-9,
        "k_on": -1.2e-7,
        "k_off": 2.4e-7,
        "v_on": -0.3,
        "v_off": 0.2,
        "alpha_on": 3.0,
        "alpha_off": 2.0,
    },
    "yakopcic": {
        "a_1": 1e-4,
        "a_2": 1.3e-4,
        "b": 1.5,
        "k_p": 60.0,
        "k_n": 90.0,
        "v_p": 0.2,
        "v_n": 0.15,
        "x_p": 0.4,
        "x_n": 0.5,
        "alpha_p": 1.0,
        "alpha_n": 5.0,
    },
    "joglekar": {"r_on": 1e3, "r_off": 2e4, "length": 1e-8, "mobility": 1e-14, "p": 2.0},
}


def inputs(name: str) -> dict[str, Any]:
    """`parameters` of the `model`; `share` of the range of every state at first, `r_row`, `r_col`
    (rows, cols); `r_source` (rows,); `r_in` (cols,); corners `t` (corners,) and `v` (corners, rows)
    of the drivers; `end` [s]."""
    side, seed, model, end = CIRCUITS[name]
    rng = np.random.default_rng(seed)
    uniform = lambda low, high, *shape: rounded(rng.uniform(low, high, shape), 6)
    high = uniform(0.35, 0.55, side) * rng.choice([-1.0, 1.0], side)
    return {
        "model": model,
        "parameters": PARAMETERS[model],
        "share": uniform(0.3, 0.7, side, side),
        "r_row": uniform(5, 30, side, side),
        "r_col": uniform(5, 30, side, side),
        "r_source": uniform(50, 200, side),
        "r_in": uniform(50, 200, side),
        "t": rounded(np.array([0.02, 0.2, 0.35, 0.65, 0.8, 0.95]) * end, 9),
        "v": np.outer([0.0, 1.0, 1.0, -0.8, -0.8, 0.0], high),
        "end": end,
    }


def device(model: str, p: dict[str, float], v: str, s: str) -> tuple[str, str]:
    """Expressions of the current [A] and of the rate [1/s] of the share `s` of the range."""
    q = {key: number(x) for key, x in p.items()}
    if model == "vteam":
        span = p["w_off"] - p["w_on"]
        beyond = lambda end: f"max({v}/({q[f'v_{end}']})-1,0)^{q[f'alpha_{end}']}"
        k_on, k_off = number(p["k_on"] / span), number(p["k_off"] / span)
        rate = f"({k_off})*{beyond('off')}+({k_on})*{beyond('on')}"
        return f"{v}/({q['r_on']}+({number(p['r_off'] - p['r_on'])})*{s})", rate
    if model == "joglekar":
        i = f"{v}/({q['r_on']}*{s}+{q['r_off']}*(1-{s}))"
        speed = number(p["mobility"] * p["r_on"] / p["length"] ** 2)
        return i, f"{speed}*{i}*(1-(2*{s}-1)^{number(2 * p['p'])})"
    i = f"({v}>=0 ? {q['a_1']} : {q['a_2']})*{s}*sinh({q['b']}*{v})"
    g = f"({q['k_p']}*(exp(max({v},{q['v_p']}))-exp({q['v_p']}))"
    g += f"-{q['k_n']}*(exp(max(-{v},{q['v_n']}))-exp({q['v_n']})))"
    up = f"exp(-{q['alpha_p']}*({s}-{q['x_p']}))*(1-{s})/(1-{q['x_p']})"
    down = f"exp({q['alpha_n']}*({s}-1+{q['x_n']}))*{s}/(1-{q['x_n']})"
    up, down = f"({s}>={q['x_p']} ? {up} : 1)", f"({s}<=1-{q['x_n']} ? {down} : 1)"
    return i, f"{g}*({v}>=0 ? {up} : {down})"


def netlist(x: dict[str, Any]) -> str:
    side = len(x["share"])
    lines: list[str] = []
    for i in range(side):
        corners = " ".join(f"{number(t)} {number(v)}" for t, v in zip(x["t"], x["v"][:, i]))
        lines.append(f"vs{i} s{i} 0 pwl({corners})")
        lines.append(f"rs{i} s{i} w{i}_in {number(x['r_source'][i])}")
    for i, j in np.ndindex(side, side):
        w, b, at = f"w{i}_{j}", f"b{i}_{j}", f"x{i}_{j}"
        before = f"w{i}_{j - 1}" if j else f"w{i}_in"
        after = f"b{i + 1}_{j}" if i < side - 1 else f"n{j}"
        lines.append(f"rr{i}_{j} {before} {w} {number(x['r_row'][i, j])}")
        lines.append(f"rc{i}_{j} {b} {after} {number(x['r_col'][i, j])}")
        current, rate = device(x["model"], x["parameters"], f"V({w},{b})", f"V({at})")
        lines.append(f"bi{i}_{j} {w} {b} I={current}")
        lines.append(f"bx{i}_{j} 0 {at} I={rate}")
        lines.append(f"cx{i}_{j} {at} 0 1 ic={number(x['share'][i, j])}")
    for j in range(side):
        lines += [f"ri{j} n{j} m{j} {number(x['r_in'][j])}", ammeter(f"i{j}", f"m{j}", "0")]
    states = [f"v(x{i}_{j})" for i, j in np.ndindex(side, side)]
    most = x["end"] / 4000
    return deck(
        "memristors",
        OPTIONS,
        lines,
        "set wr_singlescale",
        "set numdgt=15",
        f"tran {number(most)} {number(x['end'])} 0 {number(most)} uic",
        f"wrdata {TEXT} {' '.join(states)} {' '.join(f'i(vi{j})' for j in range(side))}",
    )


def simulate(x: dict[str, Any]) -> dict[str, Array]:
    side = len(x["share"])
    table = np.loadtxt(io.BytesIO(run(netlist(x), TEXT)))
    t, share, i_out = table[:, 0], table[:, 1 : 1 + side**2], table[:, 1 + side**2 :]
    if t[-1] < 0.999 * x["end"] or not np.isfinite(table).all():
        raise RuntimeError(f"ngspice stopped at {t[-1]} s, or what it has is not finite")
    if share.min() < 1e-3 or share.max() > 1 - 1e-3:
        raise RuntimeError(f"a state comes to a bound: {share.min()} to {share.max()}")
    at = np.searchsorted(t, np.linspace(0, x["end"], POINTS + 1)[1:] * (1 - 1e-12))
    at = np.unique(np.minimum(at, len(t) - 1))
    found = {"t": t[at], "i_out": rounded(i_out[at], 10)}
    return found | {"share": rounded(share[-1].reshape(side, side), 10)}


MEMRISTORS = Family("memristors", CIRCUITS, inputs, simulate)
