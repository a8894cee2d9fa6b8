"""Random circuits with nonlinear cells, as dictionaries of golden/devices."""

from __future__ import annotations

from typing import Any

import numpy as np

CELLS = (
    "sinh",
    "polynomial",
    "poole_frenkel",
    "rectifying",
    "schottky",
    "antiparallel",
    "back_to_back",
    "diode",
    "ekv_row",
    "ekv_col",
    "level1_row",
    "level1_col",
    "selector_ohmic",
    "selector_sinh",
    "diode_sinh",
)
SCHEMES = ("plain", "half", "third", "float", "ground", "along")
SIZES = (1, 2, 3, 5, 8, 13, 16, 24, 32, 48, 64, 96, 128)


def kind_of(seed: int) -> str:
    """The kind of cell of a random circuit."""
    return str(np.random.default_rng(seed).choice(CELLS))


def random_device_circuit(seed: int, sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    """A circuit drawn from one of many kinds: cells, select schemes, wires of `r` times the largest
    zero-bias conductance from 0 to 0.1, and voltages to 3 V.

    Shapes come from a short list, so that few of them are compiled; "name" says what it is and
    "g_max" [S] is that conductance."""
    rng = np.random.default_rng(seed)
    kind, scheme = str(rng.choice(CELLS)), str(rng.choice(SCHEMES))
    rows, cols = (int(n) for n in rng.choice(sizes, 2))
    shape = rows, cols
    v_max = float(rng.choice([0.1, 0.3, 1.0, 3.0]))
    g_max = float(10 ** rng.uniform(-6, -4))
    spread = float(rng.choice([0, 1, 2]))
    g = g_max * 10 ** -rng.uniform(0, spread or 1e-9, shape)
    off = rng.random(shape) < 0.05 * rng.integers(0, 2)
    # Between a cell of 0 S and a channel that is off to the last electron, and on a line that
    # floats behind such channels, voltages are anything.
    g = np.where(off & ("level1" not in kind), 0, g)
    scheme = "ground" if scheme == "float" and "level1" in kind else scheme

    def one(kind: str) -> dict[str, Any]:
        if kind == "ohmic":
            return {"kind": kind, "g": g}
        if kind == "sinh":
            return {"kind": kind, "g": g, "b": rng.uniform(0, 4, shape)}
        if kind == "polynomial":  # without a fall up to 3 V
            g_2, g_3 = g * rng.uniform(-0.1, 0.1), g * rng.uniform(0.01, 0.5)
            return {"kind": kind, "g": g, "g_2": g_2, "g_3": g_3}
        if kind == "poole_frenkel":
            return {"kind": kind, "g": g, "v_pf": rng.uniform(0.05, 0.5)}
        if kind == "rectifying":
            ratio = 10 ** rng.uniform(1, 5)
            return {"kind": kind, "g": g, "b": rng.uniform(0, 3, shape), "ratio": ratio, "w": 0.01}
        if kind in ("ekv", "level1"):
            on = rng.random((rows, 1)) < 0.8
            on[0] = True
            gate = np.where(on, rng.uniform(1.2, 4.0), 0.0)
            x = {"kind": kind, "beta": 50 * g_max, "v_t": 0.45, "lam": 0.05, "v_gate": gate}
            return x | ({"n": 1.3} if kind == "ekv" else {"gamma": 0.45, "phi": 0.8})
        n = 2.0
        i_s = g * n * 0.025865  # conductance g at 0 V
        if kind in ("diode", "antiparallel", "selector"):  # for junctions, g at 0.3 V or more
            v_on = rng.uniform(0.3, 0.6) if "_" not in name else 0.5
            i_s = i_s * np.exp(-v_on / (n * 0.025865))
        x = {"kind": "antiparallel" if kind == "selector" else kind, "i_s": i_s, "n": n}
        return x | ({"v_b": rng.uniform(0.05, 0.5)} if kind == "schottky" else {})

    name = kind
    parts = kind.split("_")
    if kind in ("poole_frenkel", "back_to_back") or len(parts) == 1:
        cell = one(kind)
        if kind in ("diode", "antiparallel", "schottky"):
            v_max = min(v_max, 1.0)
    else:
        a, b = {"row": (parts[0], "ohmic"), "col": ("ohmic", parts[0])}.get(parts[1], parts)
        cell = {"kind": "series", "a": one(a), "b": one(b)}

    r = float(rng.choice([0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1])) / g_max
    along = scheme == "along"

    def segments(lines: int, length: int, end: float) -> Any:
        x = r * (rng.uniform(0.5, 1.5, (lines, length + 1)) if rng.random() < 0.5 else 1)
        x = np.broadcast_to(x, (lines, length + 1)).copy()
        x[:, 0] += end * rng.integers(0, 2)
        x[:, -1] = x[:, -1] + end if rng.random() < 0.2 and r > 0 else np.inf
        return x

    r_col = segments(cols, rows, 100.0).T[::-1].copy()
    r_row = segments(cols, rows, 50.0).T.copy() if along else segments(rows, cols, 50.0)
    lines = cols if along else rows
    v_row, v_col = rng.uniform(-v_max, v_max, lines), np.zeros(cols)
    if "level1" in kind or "ekv" in kind:
        v_row = np.abs(v_row)
    i, j = int(rng.integers(rows)), int(rng.integers(cols))
    if scheme in ("half", "third", "ground", "float"):
        share = {"half": (1 / 2, 1 / 2), "third": (1 / 3, 2 / 3)}.get(scheme, (0, 0))
        v_row, v_col = np.full(rows, share[0] * v_max), np.full(cols, share[1] * v_max)
        v_row[i], v_col[j] = v_max, 0
        if scheme == "float":
            others = np.arange(rows) != i
            r_row[others, 0] = r_row[others, -1] = np.inf
            others = np.arange(cols) != j
            r_col[0, others] = r_col[-1, others] = np.inf
    return {
        "name": f"{seed}: {kind} {scheme} {rows}x{cols} {v_max} V, r g = {r * g_max:g}",
        "g_max": g_max,
        "along": along,
        "cell": cell,
        "r_row": r_row,
        "r_col": r_col,
        "v_row_near": v_row,
        "v_row_far": v_row,
        "v_col_near": v_col,
        "v_col_far": v_col,
    }
