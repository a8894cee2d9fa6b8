"""Analog cells that decide by latches (`AnalogLatched`) beside cells of dividers (`Analog6T2M`).

    python -m experiments.cam_latch.run [--only length,energy,wires,variation]

Both have the supply of 0.5 V, EKV transistors of a generic process (250 uA/V^2 per W/L, slope
factor 1.3), chosen and not published, and memristors of 1 to 80 uS: W/L 4 and a threshold of 0.2 V
where the data line acts, 1 and 0.3 V in the pull-downs, 1 and 0.2 V in inverters and latches.
`small` dividers have W/L and conductances of 1/50. Nodes of latches have 1 fF. A match line has
1 fF per cell and 5 fF at the amplifier, and is precharged to 0.8 V. The decision falls 20 ns after
the data lines rise, of which latches take 5 ns. Bounds lie at the same conductances; queries are
those of `data_levels`.

Rows store intervals of one to three levels at random. A quarter of the queries is made to match one
of the rows, a quarter misses it by one level in one cell, the others are random.

- `length`: 16 rows without wires; margin between the lowest line that should stay and the highest
  one that should fall. Dividers also with `compensated` conductances.
- `energy`: parts of the energy of a search of 16 rows of 64 cells of 16 levels, and the time from
  the rise of the data lines to the fall of the last row that should fall; 4 queries.
- `wires`: 64 rows of 16 cells of 8 levels, over the resistance of the segments of search lines.
- `variation`: 16 rows of 16 cells of 8 levels, conductances with a lognormal spread, 4 dies.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import xbarjax as xb

from ..cam.run import Word, drawn
from ..parts import SAY, main

HERE = Path(__file__).parent
LENGTHS, COUNTS, MOST = (16, 32, 64, 128), (8, 16), 16
OHMS = (0.0, 1.0, 5.0, 20.0, 100.0)
SPREADS, DIES = (0.0, 0.05, 0.1, 0.2, 0.3), 4
G = 1e-6, 8e-5  # [S]
SIZES = {"dividers": 1.0, "small dividers": 0.02, "latches": 1.0}
T_LATCH, T_ALL = 5e-9, 20e-9  # [s]


def tile(kind: str, shape: tuple[int, int], **lines: Any) -> xb.cam.Tile:
    """A tile without conductances."""
    of = lambda w, v_t: xb.Mosfet(w * 2.5e-4, v_t, 0.0, lam=0.05)
    g, size = np.zeros(shape), SIZES[kind]
    if kind == "latches":
        fets = of(4, 0.2), of(1, 0.3), of(1, 0.2)
        cell: Any = xb.cam.AnalogLatched(g, g, *fets, t_latch=T_LATCH)
        return xb.cam.Tile(cell, t_sense=T_ALL - T_LATCH, **lines)
    cell = xb.cam.Analog6T2M(g, g, of(4 * size, 0.2), of(1, 0.3), of(1, 0.2))
    return xb.cam.Tile(cell, t_sense=T_ALL, **lines)


SCALES: dict[Any, Any] = {}


def scale(kind: str, cols: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges [V], and queries [V] of all levels, repeated to the most levels. Ties of latches do not
    hang on the length."""
    key = kind, 16 if kind == "latches" else cols, count
    if key not in SCALES:
        blank, size = tile(kind, (1, key[1])), SIZES[kind]
        edges, queries = xb.cam.data_levels(blank, count, g_min=G[0] * size, g_max=G[1] * size)
        SCALES[key] = np.asarray(edges), np.resize(np.asarray(queries), MOST)
    return SCALES[key]


def holding(blank: xb.cam.Tile, kind: str, word: Word, count: int) -> xb.cam.Tile:
    """The word in the conductances of which `data_levels` made the edges. Only the upper bounds of
    dividers, which an inverter moves, need others."""
    inner = np.geomspace(*G, count - 1)
    if kind == "latches":
        g = np.concatenate([[0.0], inner, [10 * G[1]]])
        pair = jnp.asarray(g[word.low]), jnp.asarray(g[word.high])
        return eqx.tree_at(lambda t: (t.cell.g_low, t.cell.g_high), blank, pair)
    edges, _ = scale(kind, blank.shape[1], count)
    most = 10 * G[1] * SIZES[kind]
    return xb.cam.stored(blank, edges[word.low], edges[word.high], g_max=most)


def judged(of: xb.cam.Tile, queries: np.ndarray, word: Word) -> dict[str, float]:
    found = xb.cam.lookup(xb.cam.Curves.of(of, queries, rtol=1e-3), word.asked)
    truth, match = word.truth, np.asarray(found.match)
    v = np.asarray(found.margin) + float(of.v_ref)
    return {
        "missed": float((truth & ~match).sum() / truth.sum()),
        "false": float((~truth & match).sum() / (~truth).sum()),
        "least_match_V": float(v[truth].min()),
        "largest_mismatch_V": float(v[~truth].max()),
    }


def length() -> list[dict[str, Any]]:
    cases = []
    for n in LENGTHS:
        for count in COUNTS:
            word = drawn(np.random.default_rng([1, n, count]), (16, n), count)
            for kind in ("dividers", "latches"):
                blank = tile(kind, (16, n))
                edges, queries = scale(kind, n, count)
                made = {"stored": holding(blank, kind, word, count)}
                if kind == "dividers":
                    low, high = edges[word.low], edges[word.high]
                    made["compensated"] = xb.cam.compensated(
                        blank, low, high, g_max=10 * G[1], hold=True
                    )
                for way, one in made.items():
                    case = {"kind": kind, "cells": n, "levels": count, "way": way}
                    cases.append(case | judged(one, queries, word))
                    SAY(cases[-1])
    return cases


def energy() -> list[dict[str, Any]]:
    cases, shape, count = [], (16, 64), 16
    word = drawn(np.random.default_rng(2), shape, count)
    for kind in SIZES:
        _, queries = scale(kind, shape[1], count)
        made = holding(tile(kind, shape), kind, word, count)
        each = []
        for k in range(4):
            found = xb.cam.search(made, queries[word.asked[k]], rtol=1e-3)
            names = "energy_match", "energy_static", "energy_latch", "energy_data"
            falls = np.asarray(found.t_fall)[~word.truth[k]]
            begins = T_LATCH if kind == "latches" else 0.0
            one = {f"{n}_J": float(getattr(found, n)) for n in names}
            each.append(one | {"last_fall_s": begins + float(falls.max())})
        mean = {k: float(np.mean([x[k] for x in each])) for k in each[0]}
        whole = sum(v for k, v in mean.items() if k.startswith("energy"))
        cases.append({"kind": kind} | mean | {"per_cell_J": whole / np.prod(shape)})
        SAY(cases[-1])
    return cases


def wires() -> list[dict[str, Any]]:
    cases, shape, count = [], (64, 16), 8
    word = drawn(np.random.default_rng(3), shape, count)
    for kind in SIZES:
        _, queries = scale(kind, shape[1], count)
        for r in OHMS:
            made = holding(tile(kind, shape, r_high=r, r_low=r), kind, word, count)
            cases.append({"kind": kind, "r_ohm": r} | judged(made, queries, word))
            SAY(cases[-1])
    return cases


def variation() -> list[dict[str, Any]]:
    cases, shape, count = [], (16, 16), 8
    word = drawn(np.random.default_rng(4), shape, count)
    for kind in ("dividers", "latches"):
        _, queries = scale(kind, shape[1], count)
        made = holding(tile(kind, shape), kind, word, count)
        cell: Any = made.cell
        for spread in SPREADS:
            dies = []
            for die in range(DIES if spread else 1):
                rng = np.random.default_rng([5, die])
                vary = lambda g, rng=rng, s=spread: jnp.asarray(g * rng.lognormal(0, s, g.shape))
                both = vary(cell.g_low), vary(cell.g_high)
                one = eqx.tree_at(lambda t: (t.cell.g_low, t.cell.g_high), made, both)
                dies.append(judged(one, queries, word))
            mean = {k: float(np.mean([d[k] for d in dies])) for k in dies[0]}
            cases.append({"kind": kind, "spread": spread} | mean)
            SAY(cases[-1])
    return cases


def figure(result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(13, 4), layout="constrained")
    a, b, c = made.subplots(1, 3)
    marks = {"latches": "ko", "dividers": "k^", "small dividers": "ks"}
    for kind, way in (("latches", "stored"), ("dividers", "compensated")):
        for count, line in zip(COUNTS, ("-", ":")):
            mine = [
                x for x in result["length"]
                if (x["kind"], x["levels"], x["way"]) == (kind, count, way)
            ]  # fmt: skip
            gap = [x["least_match_V"] - x["largest_mismatch_V"] for x in mine]
            x = [x["cells"] for x in mine]
            a.plot(x, gap, marks[kind] + line, mfc="none", label=f"{kind}, {count} levels")
    a.axhline(0, color="0.7")
    a.set_xscale("log", base=2)
    a.set_xticks(LENGTHS, labels=map(str, LENGTHS))
    a.set(xlabel="cells of a word", ylabel="lowest match above highest mismatch [V]")
    a.set_title("margin after 20 ns, no wires")
    a.legend(fontsize=8)
    for kind, mark in marks.items():
        mine = [x for x in result["wires"] if x["kind"] == kind]
        y = [100 * x["missed"] for x in mine]
        b.plot([x["r_ohm"] for x in mine], y, mark + "-", mfc="none", label=kind)
    b.set_xscale("symlog", linthresh=1)
    b.set(xlabel="resistance of a segment [ohm]", ylabel="matches missed [%]")
    b.set_title("64 rows of 16 cells, 8 levels")
    b.legend(fontsize=8)
    for kind in ("latches", "dividers"):
        mine = [x for x in result["variation"] if x["kind"] == kind]
        x = [100 * v["spread"] for v in mine]
        for key, line in (("missed", "-"), ("false", ":")):
            label = f"{kind}, {key}"
            c.plot(x, [100 * v[key] for v in mine], marks[kind] + line, mfc="none", label=label)
    c.set(xlabel="spread of conductances [%]", ylabel="of the rows that match, that do not [%]")
    c.set_title("16 rows of 16 cells, 8 levels")
    c.legend(fontsize=8)
    return made


PARTS: dict[str, Callable[[], Any]] = {
    "length": length,
    "energy": energy,
    "wires": wires,
    "variation": variation,
}


if __name__ == "__main__":
    main(HERE, PARTS, figure)
