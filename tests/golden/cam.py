"""Tiles of content-addressable memories: static nodes at rest, match lines in time.

Netlists are written element by element and share nothing with the package. A match line has
the nodes m{i}_0 to m{i}_{cols}, the last of which is the input of the sense amplifier, with a
segment of wire between each two. It starts at the precharge voltage by .ic (without uic, which
starts level 1 transistors wrongly). The search lines have the nodes h{k}_{i}_{j} and l{k}_{i}_{j},
one pair of lines for each part k of the cells between them. The high one is driven above row 0, the
low one ends in ground below the last row.

Cells of kind "latched" have two latches k, each with the nodes a{k} and b{k}, which begin at the
supply and are discharged through a memristor and through a transistor at the data line. They run
first, alone. Then the match lines fall, with the gates at what the latches have found.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from .devices import U_T
from .suite import (
    TEXT,
    Array,
    Family,
    ammeter,
    collect,
    deck,
    number,
    operating_point,
    rounded,
    run,
    solve,
    source,
)

TOLERANCES = "reltol=1e-6 abstol=1e-15 vntol=1e-9 chgtol=1e-20 gmin=1e-15 itl1=500 itl4=200"
POINTS = 40

# Eight levels of a 6T2M cell: the conductances [S] of the lower and of the upper bound of the
# interval, and the voltages [V] of the data line in its middle, with EKV transistors. Lines of
# square-law ones fall sooner.
G_LOW = rounded(np.geomspace(1e-6, 80.2e-6, 8), 6)
G_HIGH = np.array([1.75e-6, 3.28e-6, 6.14e-6, 11.5e-6, 21.5e-6, 40.1e-6, 75e-6, 139.7e-6])
QUERIES = np.array([0.1577, 0.1846, 0.2138, 0.2465, 0.2842, 0.3293, 0.3856, 0.4590])
ON, OFF = 150e-6, 1e-6  # [S], of memristors of ternary cells

# name: cell, transistors, rows, columns, seed, resistances [ohm] of match, high and low lines, end
# of time [s]
CIRCUITS: dict[str, tuple[str, str, int, int, int, tuple[float, float, float], float]] = {
    "analog_ekv_8": ("analog", "ekv", 3, 8, 1, (100, 0, 0), 20e-9),
    "analog_ekv_32": ("analog", "ekv", 3, 32, 2, (100, 0, 0), 20e-9),
    "analog_ekv_64": ("analog", "ekv", 3, 64, 3, (100, 0, 0), 20e-9),
    "analog_level1_8": ("analog", "level1", 3, 8, 4, (100, 0, 0), 20e-9),
    "analog_level1_32": ("analog", "level1", 3, 32, 5, (100, 0, 0), 20e-9),
    "analog_level1_64": ("analog", "level1", 3, 64, 6, (100, 0, 0), 20e-9),
    "analog_tile": ("analog", "ekv", 4, 3, 7, (100, 50, 30), 10e-9),
    "2t2r_ekv_8": ("2t2r", "ekv", 3, 8, 8, (100, 0, 0), 0.2e-9),
    "2t2r_ekv_32": ("2t2r", "ekv", 3, 32, 9, (100, 0, 0), 0.2e-9),
    "2t2r_level1_8": ("2t2r", "level1", 3, 8, 10, (100, 0, 0), 0.2e-9),
    "2t2r_level1_32": ("2t2r", "level1", 3, 32, 11, (100, 0, 0), 0.2e-9),
    "4t2r_ekv_8": ("4t2r", "ekv", 3, 8, 12, (100, 0, 0), 3e-9),
    "4t2r_ekv_32": ("4t2r", "ekv", 3, 32, 13, (100, 0, 0), 3e-9),
    "4t2r_level1_8": ("4t2r", "level1", 3, 8, 14, (100, 0, 0), 3e-9),
    "4t2r_level1_32": ("4t2r", "level1", 3, 32, 15, (100, 0, 0), 3e-9),
    "4t2r_tile": ("4t2r", "ekv", 4, 3, 16, (100, 50, 30), 3e-9),
    "16t_ekv_8": ("16t", "ekv", 3, 8, 17, (100, 0, 0), 1e-9),
    "latched_ekv_8": ("latched", "ekv", 3, 8, 18, (100, 0, 0), 10e-9),
    "latched_tile": ("latched", "ekv", 4, 3, 19, (100, 0, 30), 10e-9),
}

# Nine bounds of latched cells [S], and voltages [V] of the data line between them
G_LATCHED = rounded(np.geomspace(1e-6, 80e-6, 9), 6)
LATCHED_QUERIES = np.array([0.146, 0.164, 0.183, 0.203, 0.224, 0.247, 0.273, 0.302])
T_LATCH = 4e-9  # [s]


def inputs(name: str) -> dict[str, Any]:
    """`one` and `two` (rows, cols): the conductances [S] of the two memristors of each cell, or the
    stored bits of a cell of 16 transistors. `query` (cols,): voltages [V] or bits. Row k of a line
    has k cells that do not match, from the far end: analog cells one level off (the first above,
    then below), ternary ones with the other bit. `beta` and `v_t` of the transistors are by their
    names in the cell."""
    cell, transistor, rows, cols, seed, (r_match, r_high, r_low), end = CIRCUITS[name]
    rng = np.random.default_rng(seed)
    off = np.arange(cols) < np.arange(rows)[:, None]
    x: dict[str, Any] = {"cell": cell, "transistor": transistor, "end": end}
    fets: dict[str, tuple[float, float]] = {}
    if cell == "analog":
        level = rng.integers(1, 7, cols)
        stored = level + off * np.where(np.arange(cols) % 2, -1, 1)
        x |= {"query": QUERIES[level], "one": G_LOW[stored], "two": G_HIGH[stored]}
        fets = {"divider": (1e-3, 0.2), "pull_down": (250e-6, 0.3), "inverter": (250e-6, 0.2)}
        x["v_high"] = 0.5
    elif cell == "latched":
        level = rng.integers(1, 7, cols)
        stored = level + off * np.where(np.arange(cols) % 2, -1, 1)
        x |= {"query": LATCHED_QUERIES[level], "one": G_LATCHED[stored]}
        x["two"] = G_LATCHED[stored + 1]
        fets = {"branch": (1e-3, 0.2), "pull_down": (250e-6, 0.3), "latch": (250e-6, 0.2)}
        x |= {"v_high": 0.5, "v_gate": 0.5, "t_latch": T_LATCH, "c_node": 1e-15, "c_inner": 2e-16}
    else:
        bit = rng.integers(0, 2, cols)
        one = (bit == 1) ^ off
        x["query"] = bit.astype(float)
        if cell == "16t":
            x |= {"one": np.where(one, 0.0, 1.0), "two": np.where(one, 1.0, 0.0)}
            fets, x["v_high"] = {"transistor": (250e-6, 0.3)}, 0.8
        else:
            x |= {"one": np.where(one, OFF, ON), "two": np.where(one, ON, OFF)}
        if cell == "2t2r":
            fets, x["v_high"] = {"switch": (1e-3, 0.2)}, 1.2
        if cell == "4t2r":
            fets = {"switch": (250e-6, 0.2), "pull_down": (250e-6, 0.3)}
            x |= {"v_high": 0.5, "v_word": 0.25}
    x["fets"] = {k: {"beta": b, "v_t": v, "lam": 0.05, "n": 1.3} for k, (b, v) in fets.items()}
    x |= {"r_match": float(r_match), "r_high": float(r_high), "r_low": float(r_low)}
    return x | {"c_match": 1e-15, "c_sense": 5e-15, "v_pre": 0.8, "v_ref": 0.4}


def fet(x: dict[str, Any], tag: str, name: str, p: str, gate: str, q: str, up: str = "0") -> str:
    """A channel from node p to node q. It is p-channel with its bulk at node `up`, if that is not
    ground."""
    spec = x["fets"][name]
    if x["transistor"] == "level1":
        return f"m{tag} {q if up != '0' else p} {gate} {p if up != '0' else q} {up} " + (
            f"{'p' if up != '0' else 'n'}_{name} w=1u l=1u"
        )
    beta, v_t, lam, n = (f"({number(spec[k])})" for k in ("beta", "v_t", "lam", "n"))
    at = lambda node: f"(V({up})-V({node}))" if up != "0" else f"V({node})" if node != "0" else "0"
    root = lambda node: f"ln(1+exp((({at(gate)}-{v_t})/{n}-{at(node)})/(2*{U_T})))"
    factor = f"2*{n}*{beta}*{U_T}*{U_T}*(1+{lam}*abs({at(p)}-{at(q)}))"
    s, d = root(q), root(p)
    ends = f"{p} {q}" if up == "0" else f"{q} {p}"
    return f"b{tag} {ends} I={factor}*({s}*{s}-{d}*{d})"


def race(x: dict[str, Any]) -> dict[str, Array]:
    """Latches of all cells from 0 s to `t_latch`: voltages [V] "low_mem", "low_data", "high_mem"
    and "high_data" (times, rows, cols) at the times "t_race" [s], and "v_low" (rows, cols) of the
    search lines at the end."""
    rows, cols = x["one"].shape
    lines = [source("up", "up", x["v_high"]), source("ref", "ref", x["v_gate"])]
    for j in range(cols):
        lines.append(source(f"d{j}", f"d{j}", x["query"][j]))
        for i in range(rows):
            below = f"l_{i + 1}_{j}" if i < rows - 1 else f"sink_{j}"
            if x["r_low"]:
                lines.append(f"rl_{i}_{j} l_{i}_{j} {below} {number(x['r_low'])}")
            else:
                lines.append(ammeter(f"l_{i}_{j}", f"l_{i}_{j}", below))
        lines.append(ammeter(f"sink_{j}", f"sink_{j}", "0"))
    held: list[str] = []
    for k, i, j in np.ndindex(2, rows, cols):
        at = f"{k}_{i}_{j}"
        low, a, b, xa, xb, m = f"l_{i}_{j}", *(f"{n}{at}" for n in ("a", "b", "xa", "xb", "m"))
        g = float(x["two" if k else "one"][i, j])
        lines += [
            fet(x, f"pa{at}", "latch", "up", b, a, "up"),
            fet(x, f"pb{at}", "latch", "up", a, b, "up"),
            fet(x, f"na{at}", "latch", a, b, xa),
            fet(x, f"nb{at}", "latch", b, a, xb),
            fet(x, f"ra{at}", "branch", xa, "ref", m),
            f"rg{at} {m} {low} {number(1 / g)}",
            fet(x, f"db{at}", "branch", xb, f"d{j}", low),
        ]
        for node, c in ((a, "c_node"), (b, "c_node"), (xa, "c_inner"), (xb, "c_inner")):
            lines.append(f"c{node} {node} 0 {number(x[c])}")
            held.append(f".ic v({node})={number(x['v_high'])}")
    nodes = [f"{n}{k}_{i}_{j}" for k, n in ((0, "a"), (0, "b"), (1, "a"), (1, "b"))
             for i, j in np.ndindex(rows, cols)]  # fmt: skip
    nodes += [f"l_{i}_{j}" for i, j in np.ndindex(rows, cols)]
    t, v = transient(lines + held, nodes, x["t_latch"], x["t_latch"] / 16000)
    v = v.reshape(len(t), 5, rows, cols)
    if np.abs(v[0, :4] - x["v_high"]).max() > 1e-6:
        raise RuntimeError("the latches do not begin at the supply")
    at = np.searchsorted(t, np.linspace(0, x["t_latch"], 17)[1:] * (1 - 1e-12))
    at = np.unique(np.minimum(at, len(t) - 1))
    names = "low_mem", "low_data", "high_mem", "high_data"
    found = {name: np.round(v[at, k], 9) for k, name in enumerate(names)}
    return found | {"t_race": rounded(t[at], 9), "v_low": np.round(v[-1, 4], 12)}


def transient(lines: list[str], nodes: list[str], end: float, most: float) -> tuple[Array, Array]:
    """Time points [s] of ngspice up to `end`, no more than `most` apart, and voltages [V] then."""
    text = deck(
        "lines in time",
        TOLERANCES,
        lines,
        "set wr_singlescale",
        "set numdgt=15",
        f"tran {number(most)} {number(end)} 0 {number(most)}",
        f"wrdata {TEXT} {' '.join(f'v({n})' for n in nodes)}",
    )
    table = np.loadtxt(io.BytesIO(run(text, TEXT)))
    t, v = table[:, 0], table[:, 1:]
    if t[-1] < 0.999 * end or not np.isfinite(v).all():
        raise RuntimeError(f"ngspice stopped at {t[-1]} s, or what it has is not finite")
    return t, v


def elements(x: dict[str, Any]) -> list[str]:
    """All but what the match lines hold."""
    rows, cols = x["one"].shape
    lines: list[str] = []
    if x["transistor"] == "level1":
        for name, spec in x["fets"].items():
            for kind, sign in (("n", ""), ("p", "-")):
                card = f".model {kind}_{name} {kind}mos level=1 is=1e-30 gamma=0 phi=0.6 tnom=27"
                vto = f"vto={sign}{number(spec['v_t'])} lambda={number(spec['lam'])}"
                lines.append(f"{card} kp={number(spec['beta'])} {vto}")

    def wire(tag: str, a: str, b: str, r: float) -> None:
        if r:
            lines.append(f"r{tag} {a} {b} {number(r)}")
        else:
            lines.append(ammeter(tag, a, b))

    def search_lines(k: int, j: int, v: float) -> None:
        """Of part k of the cells of a column, driven at v [V]."""
        lines.append(source(f"h{k}_{j}", f"drive{k}_{j}", v))
        lines.append(ammeter(f"l{k}_{j}", f"sink{k}_{j}", "0"))
        for i in range(rows):
            above = f"h{k}_{i - 1}_{j}" if i else f"drive{k}_{j}"
            below = f"l{k}_{i + 1}_{j}" if i < rows - 1 else f"sink{k}_{j}"
            wire(f"h{k}_{i}_{j}", above, f"h{k}_{i}_{j}", x["r_high"])
            wire(f"l{k}_{i}_{j}", f"l{k}_{i}_{j}", below, x["r_low"])

    raised = lambda j: [x["v_high"] * float(x["query"][j] == bit) for bit in (1, 0)]
    lines.append(source("up", "up", x["v_high"]))
    if x["cell"] == "4t2r":
        lines.append(source("word", "word", x["v_word"]))
    for j in range(cols):
        if x["cell"] == "analog":
            lines.append(source(f"d{j}", f"d{j}", x["query"][j]))
            search_lines(0, j, x["v_high"])
        elif x["cell"] == "4t2r":
            for k, v in enumerate(raised(j)):
                search_lines(k, j, v)
        elif x["cell"] != "latched":
            lines += [source(f"s{k}_{j}", f"s{k}_{j}", v) for k, v in enumerate(raised(j))]
    for i, j in np.ndindex(rows, cols):
        m, at = f"m{i}_{j}", f"_{i}_{j}"
        parts = [float(x["one"][i, j]), float(x["two"][i, j])]
        lines.append(f"rm{at} {m} m{i}_{j + 1} {number(x['r_match'])}")
        if x["cell"] == "analog":
            for k, g in enumerate(parts):
                lines.append(f"rg{k}{at} h0{at} a{k}{at} {number(1 / g)}")
                lines.append(fet(x, f"d{k}{at}", "divider", f"a{k}{at}", f"d{j}", f"l0{at}"))
            lines.append(fet(x, f"p{at}", "inverter", "up", f"a1{at}", f"g1{at}", "up"))
            lines.append(fet(x, f"n{at}", "inverter", f"g1{at}", f"a1{at}", "0"))
            lines.append(fet(x, f"x0{at}", "pull_down", m, f"a0{at}", "0"))
            lines.append(fet(x, f"x1{at}", "pull_down", m, f"g1{at}", "0"))
        if x["cell"] == "latched":
            for k, gates in enumerate((x["low_data"], x["high_mem"])):
                lines.append(source(f"g{k}{at}", f"g{k}{at}", gates[i, j]))
                lines.append(fet(x, f"x{k}{at}", "pull_down", m, f"g{k}{at}", "0"))
        for k, part in enumerate(parts):
            if x["cell"] == "2t2r":
                lines.append(f"rg{k}{at} {m} a{k}{at} {number(1 / part)}")
                lines.append(fet(x, f"s{k}{at}", "switch", f"a{k}{at}", f"s{k}_{j}", "0"))
            elif x["cell"] == "4t2r":
                lines.append(f"rg{k}{at} h{k}{at} a{k}{at} {number(1 / part)}")
                lines.append(fet(x, f"s{k}{at}", "switch", f"a{k}{at}", "word", f"l{k}{at}"))
                lines.append(fet(x, f"x{k}{at}", "pull_down", m, f"a{k}{at}", "0"))
            elif x["cell"] == "16t":
                bit = "up" if part else "0"
                lines.append(fet(x, f"u{k}{at}", "transistor", m, f"s{k}_{j}", f"a{k}{at}"))
                lines.append(fet(x, f"b{k}{at}", "transistor", f"a{k}{at}", bit, "0"))
    return lines


def static(x: dict[str, Any]) -> dict[str, Array]:
    """Voltages [V] `(rows, cols)` of the gates of the pull-downs, `gate_0` and `gate_1`, and of the
    search lines, `high_k` and `low_k`; `power` [W] into the search lines. No gate takes current, so
    the match lines may be held."""
    rows, cols = x["one"].shape
    held = [source(f"m{i}", f"m{i}_{cols}", x["v_pre"]) for i in range(rows)]
    value = solve(operating_point(elements(x) + held))
    analog = x["cell"] == "analog"
    seen = {"gate_0": "v(a0_{}_{})", "gate_1": "v(g1_{}_{})" if analog else "v(a1_{}_{})"}
    parts = (0,) if analog else (0, 1)
    for k in parts:
        seen |= {f"high_{k}": f"v(h{k}_{{}}_{{}})", f"low_{k}": f"v(l{k}_{{}}_{{}})"}
    found = {k: rounded(collect(value, v, rows, cols), 14) for k, v in seen.items()}
    if not x["r_high"]:
        found = {k: v for k, v in found.items() if k.startswith("gate")}
    drivers = [(value[f"v(drive{k}_{j})"], f"i(vh{k}_{j})") for k in parts for j in range(cols)]
    return found | {"power": rounded(-sum(v * value[i] for v, i in drivers), 12)}


def simulate(x: dict[str, Any]) -> dict[str, Array]:
    """At times "t" [s] of ngspice: voltages [V] "v" at the sense amplifiers and charge [C] "lost"
    by the match lines, (times, rows); times [s] "t_fall" (rows,) at which they pass the reference;
    and what is static."""
    rows, cols = x["one"].shape
    c = np.array([x["c_match"]] * cols + [x["c_sense"]])
    nodes = [f"m{i}_{j}" for i in range(rows) for j in range(cols + 1)]
    lines = [f"c{n} {n} 0 {number(float(c[k % (cols + 1)]))}" for k, n in enumerate(nodes)]
    lines += [f".ic v({n})={number(x['v_pre'])}" for n in nodes]
    raced = race(x) if x["cell"] == "latched" else {}
    x = x | {name: raced[name][-1] for name in ("low_data", "high_mem") if raced}
    t, v = transient(elements(x) + lines, nodes, x["end"], x["end"] / 2000)
    v = v.reshape(-1, rows, cols + 1)
    if np.abs(v[0] - x["v_pre"]).max() > 1e-6:
        raise RuntimeError("the match lines do not begin at the precharge voltage")
    at = np.searchsorted(t, np.linspace(0, x["end"], POINTS + 1)[1:] * (1 - 1e-12))
    at = np.unique(np.minimum(at, len(t) - 1))
    sense, lost = v[..., -1], ((x["v_pre"] - v) * c).sum(-1)
    below = sense < x["v_ref"]
    passes = [np.interp(-x["v_ref"], -v_, t) for v_ in sense.T]
    t_fall = np.where(below.any(0), passes, np.inf)
    found = {k: rounded(y, 9) for k, y in {"t": t[at], "lost": lost[at], "t_fall": t_fall}.items()}
    found["v"] = np.round(sense[at], 9)
    return found | raced | (static(x) if x["cell"] in ("analog", "4t2r") else {})


CAM = Family("cam", CIRCUITS, inputs, simulate)
