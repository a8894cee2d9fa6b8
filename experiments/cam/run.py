"""Bits of an analog content-addressable memory against word length, wires and variation, the energy
of searches beside ternary cells, and their speed.

    python -m experiments.cam.run [--only length,wires,variation,energy,speed]

Cells are `Analog6T2M` with EKV transistors of a generic process: 250 uA/V^2 per W/L, W/L 4 and a
threshold of 0.2 V in the dividers, 1 and 0.3 V in the pull-downs, 1 and 0.2 V in the inverters; a
slope factor of 1.3. The supply is 0.5 V and the precharge 0.8 V. A match line has 1 fF per cell and
5 fF at the amplifier, and is sensed after 20 ns. `data_levels` chooses bounds and queries, with
conductances of 1 to 80 uS; `small` cells have dividers and conductances of 1/50 of these.

Rows store intervals of one to three levels at random. A quarter of the queries is made to match one
of the rows, a quarter misses it by one level in one cell, the others are random. A search is wrong
where a row that should match does not (`missed`) or the other way round (`false`).

- `length`: 32 rows without wires; margin between the lowest line that should stay and the highest
  one that should fall, over word length and levels, for `stored` and `compensated` conductances.
- `wires`: 128 rows of 16 cells of 8 levels, over the resistance of the segments of the search
  lines.
- `variation`: 128 rows of 16 small cells at 1 ohm, compensated; conductances with a lognormal
  spread and comparators with a normal offset, over 8 dies.
- `energy`: 32 rows of 16 and 64 cells, the same ternary words in every kind of cell, a fifth of
  their bits `x`; and words of 16 cells of 8 levels. Eight queries are stored words, and eight miss
  one by a bit or a level. The latency is that of the slowest line that should fall, and lines are
  sensed a quarter later; `hold_s` is when the first line falls that should not, if it does within
  20 ns. Ternary cells have the transistors of the golden circuits: W/L 4 and 0.2 V in the switches
  of 2T2R, 1 and 0.2 V in those of 4T2R, else 1 and 0.3 V; memristors of 150 and 1 uS; gates, data
  lines and supplies of 1.2, 0.5 and 0.8 V. A data line has 1 fF per cell, as a match line has.
  Sense amplifiers, inverters, drivers and the leakage of SRAM are not in it.
- `speed`: 256 rows of 64 cells, medians of 5 runs, and the first call with compilation: one exact
  search at 1 ohm everywhere, tables of 16 levels, 1,000 queries by these tables, and how far apart
  both ways are.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import xbarjax as xb

from ..parts import SAY, main
from .energy import draw_energy, energy
from .tiles import G, scale, tile

HERE = Path(__file__).parent
LENGTHS, COUNTS = (8, 16, 32, 64), (2, 4, 8, 16)
OHMS = (0.0, 0.5, 2.0, 5.0, 20.0, 100.0)
SPREADS, OFFSETS, DIES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2), (0.0, 0.02, 0.05), 8
SIZES = {"large": 1.0, "small": 0.02}
QUERIES = 400


class Word(NamedTuple):
    """What is stored and asked, in levels."""

    low: np.ndarray
    high: np.ndarray  # the first level beyond
    asked: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        """Rows that should match, `(queries, rows)`."""
        asked = self.asked[:, None]
        return np.all((asked >= self.low) & (asked < self.high), axis=-1)


def drawn(rng: np.random.Generator, shape: tuple[int, int], count: int) -> Word:
    low = rng.integers(0, count, shape)
    high = np.minimum(low + rng.integers(1, 4, shape), count)
    asked = rng.integers(0, count, (QUERIES, shape[1]))
    rows = rng.integers(0, shape[0], QUERIES)
    for k in range(QUERIES // 2):
        a, b = low[rows[k]], high[rows[k]]
        asked[k] = np.clip(asked[k], a, b - 1)
        if k % 2:
            cells = np.flatnonzero((a > 0) | (b < count))
            c = rng.choice(cells)
            asked[k, c] = a[c] - 1 if a[c] > 0 else b[c]
    return Word(low, high, asked)


def judged(of: xb.cam.Tile, queries: np.ndarray, word: Word) -> dict[str, float]:
    found = xb.cam.lookup(xb.cam.Curves.of(of, queries), word.asked)
    truth, match = word.truth, np.asarray(found.match)
    v = np.asarray(found.margin) + float(of.v_ref)
    return {
        "missed": float((truth & ~match).sum() / truth.sum()),
        "false": float((~truth & match).sum() / (~truth).sum()),
        "least_match_V": float(v[truth].min()),
        "largest_mismatch_V": float(v[~truth].max()),
    }


def ways(of: xb.cam.Tile, low: np.ndarray, high: np.ndarray, size: float) -> dict[str, Any]:
    most = 10 * G[1] * size
    return {
        "stored": xb.cam.stored(of, low, high, g_max=most, hold=True),
        "compensated": xb.cam.compensated(of, low, high, g_max=most, hold=True),
    }


def length() -> list[dict[str, Any]]:
    cases = []
    for n in LENGTHS:
        blank = tile((32, n))
        for count in COUNTS:
            edges, queries = scale(blank, count)
            word = drawn(np.random.default_rng([1, n, count]), (32, n), count)
            made = ways(blank, edges[word.low], edges[word.high], 1.0)
            for way, one in made.items():
                cases.append({"cells": n, "levels": count, "way": way} | judged(one, queries, word))
                SAY(cases[-1])
    return cases


def wires() -> list[dict[str, Any]]:
    cases, shape = [], (128, 16)
    for name, size in SIZES.items():
        edges, queries = scale(tile(shape, size), 8, size)
        word = drawn(np.random.default_rng(2), shape, 8)
        low, high = edges[word.low], edges[word.high]
        for r in OHMS:
            blank = tile(shape, size, r_high=r, r_low=r, r_match=r)
            try:
                made = ways(blank, low, high, size)
            except ValueError as error:  # no conductance gives these bounds
                cases.append({"cells": name, "r_ohm": r, "refused": str(error)})
                SAY(cases[-1])
                continue
            for way, one in made.items():
                cases.append({"cells": name, "r_ohm": r, "way": way} | judged(one, queries, word))
                SAY(cases[-1])
    return cases


def variation() -> list[dict[str, Any]]:
    cases, shape, size = [], (128, 16), SIZES["small"]
    blank = tile(shape, size, r_high=1.0, r_low=1.0, r_match=1.0, v_offset=np.zeros(shape[0]))
    edges, queries = scale(blank, 8, size)
    word = drawn(np.random.default_rng(3), shape, 8)
    made = ways(blank, edges[word.low], edges[word.high], size)["compensated"]
    cell: Any = made.cell
    for spread in SPREADS:
        for offset in OFFSETS if spread in (0.0, 0.05) else OFFSETS[:1]:
            dies = []
            for die in range(DIES):
                rng = np.random.default_rng([4, die])
                vary = lambda g, rng=rng, s=spread: g * rng.lognormal(0.0, s, g.shape)
                changed = vary(np.asarray(cell.g_low)), vary(np.asarray(cell.g_high))
                off = offset * rng.standard_normal(shape[0])
                one = eqx.tree_at(
                    lambda t: (t.cell.g_low, t.cell.g_high, t.v_offset),
                    made,
                    (jnp.asarray(changed[0]), jnp.asarray(changed[1]), jnp.asarray(off)),
                )
                dies.append(judged(one, queries, word))
            mean = {k: float(np.mean([d[k] for d in dies])) for k in dies[0]}
            std = {f"{k}_std": float(np.std([d[k] for d in dies], ddof=1)) for k in mean}
            cases.append({"spread": spread, "offset_V": offset} | mean | std)
            SAY(cases[-1])
    return cases


def speed() -> dict[str, Any]:
    shape, size = (256, 64), SIZES["small"]
    blank = tile(shape, size, r_high=1.0, r_low=1.0, r_match=1.0)
    edges, queries = scale(blank, 16, size)
    word = drawn(np.random.default_rng(5), shape, 16)
    made = ways(blank, edges[word.low], edges[word.high], size)["compensated"]
    asked = jnp.asarray(np.random.default_rng(6).integers(0, 16, (1000, shape[1])))

    def timed(do: Callable[[], Any]) -> tuple[Any, float, float]:
        value, each = None, []
        for _ in range(6):
            began = time.perf_counter()
            value = jax.block_until_ready(do())
            each.append(time.perf_counter() - began)
        return value, each[0], float(np.median(each[1:]))

    query = jnp.asarray(queries)[asked[0]]
    exact, first, seconds = timed(lambda: xb.cam.search(made, query))
    result = {"search": {"first_s": first, "s": seconds}}
    curves, first, seconds = timed(lambda: xb.cam.Curves.of(made, queries))
    result["tables"] = {"first_s": first, "s": seconds}
    found, first, seconds = timed(lambda: xb.cam.lookup(curves, asked))
    result["1000 queries"] = {"first_s": first, "s": seconds}
    ratios, volts = [], []
    for k in range(5):
        exact = xb.cam.search(made, jnp.asarray(queries)[asked[k]])
        a, b = np.asarray(exact.t_fall), np.asarray(found.t_fall[k])
        fell = np.isfinite(a)
        ratios.append(np.abs(b[fell] / a[fell] - 1).max())
        volts.append(np.abs(np.asarray(exact.v_sense - found.v_sense[k])).max())
    result["difference"] = {"t_fall": float(max(ratios)), "v_sense_V": float(max(volts))}
    SAY(result)
    return result


def figure(result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(11, 8), layout="constrained")
    (a, b), (c, d) = made.subplots(2, 2)
    marks = dict(zip(COUNTS, ("k^:", "kD-.", "ks--", "ko-")))
    for count, mark in marks.items():
        mine = [x for x in result["length"] if x["levels"] == count and x["way"] == "compensated"]
        gap = [x["least_match_V"] - x["largest_mismatch_V"] for x in mine]
        a.plot([x["cells"] for x in mine], gap, mark, mfc="none", label=f"{count} levels")
    a.axhline(0, color="0.7")
    a.set_xscale("log", base=2)
    a.set_xticks(LENGTHS, labels=map(str, LENGTHS))
    a.set(xlabel="cells of a word", ylabel="lowest match above highest mismatch [V]")
    a.set_title("margin at the sense time, no wires")
    a.legend(fontsize=8)
    styles = {("large", "stored"): "k^:", ("large", "compensated"): "k^-"}
    styles |= {("small", "stored"): "ko:", ("small", "compensated"): "ko-"}
    names = {"large": "1 to 80 µS", "small": "0.02 to 1.6 µS"}
    for (cells, way), mark in styles.items():
        mine = [x for x in result["wires"] if (x["cells"], x.get("way")) == (cells, way)]
        b.plot(
            [x["r_ohm"] for x in mine],
            [100 * x["missed"] for x in mine],
            mark,
            mfc="none",
            label=f"{names[cells]}, {way}",
        )
    b.set_xscale("symlog", linthresh=0.2)
    b.set(xlabel="resistance of a segment [ohm]", ylabel="matches missed [%]")
    b.set_title("128 rows of 16 cells, 8 levels")
    b.legend(fontsize=8)
    mine = [x for x in result["variation"] if x["offset_V"] == 0]
    x = [100 * v["spread"] for v in mine]
    for key, mark, label in (("missed", "ko-", "missed"), ("false", "k^--", "false")):
        y = [100 * v[key] for v in mine]
        c.errorbar(x, y, [100 * v[f"{key}_std"] for v in mine], fmt=mark, capsize=3, label=label)
    c.set(xlabel="spread of conductances [%]", ylabel="of the rows that match, that do not [%]")
    c.set_title("variation, 8 dies")
    c.legend(fontsize=8)
    draw_energy(d, result["energy"])
    return made


PARTS: dict[str, Callable[[], Any]] = {
    "length": length,
    "wires": wires,
    "variation": variation,
    "energy": energy,
    "speed": speed,
}


if __name__ == "__main__":
    main(HERE, PARTS, figure)
