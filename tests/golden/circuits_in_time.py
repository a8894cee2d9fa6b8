"""Circuits of a crossbar and amplifiers of one pole in time, after a step of their sources.

Without feedback resistors the amplifiers drive the word lines, and currents come into the summing
nodes: the inverse of a matrix. With them voltages drive the word lines, and the amplifiers give
outputs of their own.

An amplifier is a macromodel: a transconductance `w (offset - v)` into 1 F beside a conductance
`w / A`, `w = 2 pi gbw`, and a buffer behind it (all of it in units of 1e-13). With a swing the
conductance carries `w / A` times the drive, `c + h artanh((v - c) / h)`; up to the last 1e-11 of
the swing, and as its tangent from there on. ngspice's charge tolerance is lowered as for arrays in
time; so are its steps. What is stored is at time points of ngspice itself.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from .suite import TEXT, Array, Family, ammeter, deck, number, rounded, run

TOLERANCES = "reltol=1e-7 abstol=1e-16 vntol=1e-11 chgtol=1e-21 trtol=1 gmin=1e-20 itl4=500"
UNIT = 1e-13  # [F]
KNEE = 1e-11
POINTS = 10
U_T = 1.380649e-23 * 300.15 / 1.602176634e-19  # [V]

# name: side, seed, and what it has
CIRCUITS: dict[str, tuple[int, int, str]] = {
    "inverse_4": (4, 301, "inverse"),
    "inverse_8": (8, 302, "inverse"),
    "swing_4": (4, 303, "inverse swing"),
    "diodes_4": (4, 304, "voltages diodes capacitor"),
    "switch_4": (4, 305, "voltages switch"),
    "pick_4": (4, 306, "voltages pick"),
}


def inputs(name: str) -> dict[str, Any]:
    """Conductances "g" [S] or saturation currents "i_s" [A] of antiparallel diodes with the
    ideality "n", "r_row" and "r_col" [ohm], `(n, n)`; "gain", "gbw" [Hz], "v_offset" [V] and
    "r_out" [ohm] per amplifier; "low", "high" [V] of the swing. Between the corners "t" [s] sources
    rise from 0 to "i" [A] or to "v" [V], behind "r_source" [ohm]; "end" [s].

    With voltages "r_f" [ohm] and "c_f" [F] are the feedback. A switch, "closed" or not, of "r_on"
    or "r_off" [ohm] leads from each output to "c_hold" [F]. With "codes" each row has
    "r_source" and "c_row" [F] and is connected to one of the sources."""
    n, seed, has = CIRCUITS[name]
    rng = np.random.default_rng(seed)
    uniform = lambda low, high, *shape: rounded(rng.uniform(low, high, shape), 6)
    x: dict[str, Any] = {"r_row": uniform(0.5, 5, n, n), "r_col": uniform(0.5, 5, n, n)}
    x |= {"gain": uniform(500, 2000, n), "gbw": uniform(5e6, 2e7, n), "end": 2e-6}
    x |= {"v_offset": uniform(-2e-3, 2e-3, n), "t": np.array([1e-7, 1.4e-7])}
    x["r_out"] = uniform(20, 100, n)
    if "diodes" in has:
        x |= {"i_s": rounded(10 ** rng.uniform(-8, -7, (n, n)), 6), "n": 1.5}
    else:
        x["g"] = rounded(rng.uniform(1e-6, 2e-5, (n, n)) + np.diag(uniform(1e-4, 2e-4, n)), 6)
    if "inverse" in has:
        x["i"] = uniform(-3e-5, 3e-5, n)
        if "swing" in has:
            x |= {"i": 3 * x["i"], "low": -0.08, "high": 0.1}
        return x
    x |= {"v": uniform(-0.3, 0.3, n), "r_source": uniform(50, 500, n)}
    x |= {"r_f": uniform(2e3, 8e3, n), "c_f": uniform(2e-12, 8e-12, n)}
    if "diodes" in has:
        x["v"] = uniform(0.1, 0.15, n) * np.array([1, -1, 1, -1])
    if "switch" in has:
        x |= {"closed": np.array([1.0, 0, 1, 0]), "r_on": 1e4, "r_off": 1e6}
        x["c_hold"] = uniform(5e-12, 2e-11, n)
    if "pick" in has:
        x |= {"v": uniform(0.1, 0.3, 2), "codes": np.array([1.0, 0, 1, 1])}
        x["c_row"] = uniform(1e-11, 5e-11, n)
    return x


def netlist(x: dict[str, Any]) -> str:
    """Summing nodes are e{j}, outputs x{j} or, with feedback, o{j}; rows are x{i}."""
    n = len(x["gain"])
    lines: list[str] = []
    for i, j in np.ndindex(n, n):
        w, b = f"w{i}_{j}", f"b{i}_{j}"
        before = f"w{i}_{j - 1}" if j else f"x{i}"
        after = f"b{i + 1}_{j}" if i + 1 < n else f"e{j}"
        lines.append(f"rr{i}_{j} {before} {w} {number(x['r_row'][i, j])}")
        lines.append(f"rc{i}_{j} {b} {after} {number(x['r_col'][i, j])}")
        if "g" in x:
            lines.append(f"rg{i}_{j} {w} {b} {number(1 / x['g'][i, j])}")
        else:
            size, v = number(2 * x["i_s"][i, j]), number(x["n"] * U_T)
            lines.append(f"bg{i}_{j} {w} {b} I={size}*sinh(V({w},{b})/{v})")
    rise = lambda v: f"pwl(0 0 {number(x['t'][0])} 0 {number(x['t'][1])} {number(v)})"
    if "i" in x:
        lines += [f"i{j} 0 e{j} {rise(i)}" for j, i in enumerate(x["i"])]
    else:
        lines += [f"vs{k} s{k} 0 {rise(v)}" for k, v in enumerate(x["v"])]
    out = "x" if "i" in x else "o"
    for j in range(n):
        p = {k: number(v[j]) for k, v in x.items() if np.shape(v) == (n,)}
        w = 2 * np.pi * x["gbw"][j]
        loss = w * UNIT / x["gain"][j]
        lines += [
            f"vo{j} p{j} 0 {p['v_offset']}",
            f"ga{j} 0 a{j} p{j} e{j} {number(w * UNIT)}",
            f"ca{j} a{j} 0 {number(UNIT)}",
            f"ea{j} q{j} 0 a{j} 0 1",
            f"ro{j} q{j} m{j} {p['r_out']}",
            ammeter(f"x{j}", f"m{j}", f"{out}{j}"),
        ]
        if "low" not in x:
            lines.append(f"ra{j} a{j} 0 {number(1 / loss)}")
        else:
            c, h = (x["high"] + x["low"]) / 2, (x["high"] - x["low"]) / 2
            u = f"((v(a{j})-({number(c)}))/{number(h)})"
            edge, slope = number(1 - KNEE), number(1 / (KNEE * (2 - KNEE)))
            past = f"sgn({u})*(atanh({edge})+(abs({u})-{edge})*{slope})"
            drive = f"{number(c)}+{number(h)}*(abs({u})<{edge} ? atanh({u}) : {past})"
            lines.append(f"ba{j} a{j} 0 I={number(loss)}*({drive})")
        if "v" in x:
            source = int(x["codes"][j]) if "codes" in x else j
            lines.append(f"rs{j} s{source} x{j} {p['r_source']}")
            lines += [f"rf{j} e{j} o{j} {p['r_f']}", f"cf{j} e{j} o{j} {p['c_f']}"]
        if "codes" in x:
            lines.append(f"cr{j} x{j} 0 {p['c_row']}")
        if "closed" in x:
            r = number(x["r_on"] if x["closed"][j] else x["r_off"])
            lines += [f"rh{j} o{j} h{j} {r}", f"ch{j} h{j} 0 {p['c_hold']}"]
    seen = [f"v({out}{j})" for j in range(n)] + [f"v(e{j})" for j in range(n)]
    seen += [f"i(vx{j})" for j in range(n)]
    seen += [f"v(h{j})" for j in range(n)] if "closed" in x else []
    most = x["end"] / 4000
    return deck(
        "circuit in time",
        # at the end of a swing the trapezoidal rule would ring
        TOLERANCES + (" method=gear" if "low" in x else ""),
        lines,
        "set wr_singlescale",
        "set numdgt=15",
        f"tran {number(most)} {number(x['end'])} 0 {number(most)}",
        f"wrdata {TEXT} {' '.join(seen)}",
    )


def simulate(x: dict[str, Any]) -> dict[str, Array]:
    """At "t" [s], `(times, n)`: voltages [V] of outputs "x", of summing nodes "e" and, behind a
    switch, "h"; currents [A] "i" that amplifiers deliver."""
    table = np.loadtxt(io.BytesIO(run(netlist(x), TEXT)))
    t, values = table[:, 0], table[:, 1:]
    if t[-1] < 0.999 * x["end"] or not np.isfinite(values).all():
        raise RuntimeError(f"ngspice stopped at {t[-1]} s, or what it has is not finite")
    wanted = x["t"][0] + np.geomspace(0.01, 1, POINTS) * (x["end"] - x["t"][0])
    at = np.unique(np.minimum(np.searchsorted(t, wanted * (1 - 1e-12)), len(t) - 1))
    parts = np.split(rounded(values[at], 10), values.shape[1] // len(x["gain"]), axis=1)
    return {"t": t[at], **dict(zip(("x", "e", "i", "h"), parts))}


LOOPS_IN_TIME = Family("circuits_in_time", CIRCUITS, inputs, simulate)
