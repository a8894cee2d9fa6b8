"""Learning from few images by hashes in a crossbar and their search in a ternary memory; and
regular expressions in such a memory.

    python -m experiments.few_shot.run [--only digits,mnist,exact,best_match,automata]

Images: five of the ten classes train (an embedding, the mean, a threshold), the other five make
the episodes, over five divisions of the classes. An episode stores 1 or 5 images of each of its
classes, and asks for 10 other images of each: the class is that of the row that matches best.
`digits` has the 64 pixels of scikit-learn's digits; `mnist`, if XBARJAX_DATA is set, the 64 hidden
units of a network that tells the classes for training apart. Features are centred on the mean of
the classes for training. Numbers are means over 500 episodes with their standard error;
episodes of a division share their images.

- `cosine`, `l2`: nearest neighbour in software.
- `planes`: bits are signs of products with a normal matrix, in software; Hamming distance.
- `crossbar`: bits are signs of differences of currents, of arrays of 64 x 128 cells of 10 uS with a
  lognormal spread of 0.5, at up to 0.2 V, with wires of 1 ohm per segment. Every read sees its own
  fluctuation of conductances, 2 %. `crossbar, 3 values` has 0.5 where a difference is small: below
  a quantile of the sizes on images of classes for training, whose episodes choose it (`quantile`).
- `circuit`, `circuit, 3 values`: the same words in tiles of 2T2R cells of 10 nS and 2 uS, with at
  most 64 columns, searched by tables; the last line to fall is the best match. The falls of several
  tiles are counted as numbers of bits that differ, and these added up. Sweeps have 128 bits, 5 ways
  and 1 shot.

Conductances, wires and transistors are chosen for this experiment and stand for no chip.

`exact`: the search of one episode with match lines of 1 ohm per cell, against the tables.

`best_match`: 32 rows of 8 features in 8 levels, as analog cells (those of experiments/cam) and as
ternary cells with 7 bits per feature; 1,000 queries, random or within a level of a row everywhere.

`automata`: ten patterns like those of intrusion detection, made here, as tables, on 200 strings
each (noise that holds a text that matches, or one with a few changes), against Python's `re`. Each
pattern has a tile of 64 x 13 cells of 0.1 and 50 uS, in which unused rows never match.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from xbarjax.systems import cam

from ..cam.run import scale as level_scale, tile as sized
from ..parts import SAY, main
from . import circuit, patterns
from .data import SPLITS, Episode, Split, episodes, sets, split

HERE = Path(__file__).parent
LENGTHS, SHOTS, EPISODES = (32, 64, 128, 256), (1, 5), 100
QUANTILES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
R_WIRE, NOISE = 1.0, 0.02
OHMS, NOISES = (0.0, 1.0, 5.0, 20.0), (0.0, 0.02, 0.05, 0.1, 0.2)
SPREADS, OFFSETS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5), (0.0, 0.01, 0.02, 0.05, 0.1)
CLOCKS, COLS = (0.0, 3e-12, 1e-11, 3e-11, 1e-10, 3e-10, 1e-9), (16, 32, 64)
SWEPT = 128  # bits of the words of these


class Score:
    """Accuracies of episodes of all splits."""

    def __init__(self) -> None:
        self.each: dict[Any, list[float]] = {}

    def add(self, key: Any, right: np.ndarray) -> None:
        self.each.setdefault(key, []).extend(right.mean(axis=1).tolist())

    def rows(self, *names: str) -> list[dict[str, Any]]:
        of = lambda x: {"accuracy": np.mean(x), "error": np.std(x, ddof=1) / np.sqrt(len(x))}
        return [
            dict(zip(names, key if isinstance(key, tuple) else (key,))) | of(x)
            for key, x in self.each.items()
        ]


def right(y: np.ndarray, at: Episode, row: np.ndarray) -> np.ndarray:
    """Whether the row found is of the class of the query, `(episodes, queries)`."""
    return np.take_along_axis(y[at.stored], row, axis=1) == y[at.asked]


def software(x: np.ndarray, at: Episode, cosine: bool) -> np.ndarray:
    a, b = x[at.stored], x[at.asked]
    if cosine:
        a, b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    return np.argmin(((b[:, :, None] - a[:, None]) ** 2).sum(-1), -1)


def ternary(difference: np.ndarray, limit: float) -> np.ndarray:
    return np.asarray(cam.hashed(difference, limit))


def chosen(part: Split, seed: int) -> tuple[float, float]:
    """Quantile of differences below which bits are open, and the threshold [A], of the best
    episodes of classes for training."""
    seen = circuit.hashed(part.known_x, r=R_WIRE, noise=NOISE, seed=seed, bits=SWEPT)
    at = episodes(part.known_y, 1, 2 * EPISODES, seed + 100)
    limits = np.quantile(np.abs(seen), QUANTILES)
    best = []
    for limit in limits:
        bits = ternary(seen, limit)
        found = circuit.counted(bits[at.stored], bits[at.asked])
        best.append(right(part.known_y, at, found).mean())
    k = int(np.argmax(best))
    return QUANTILES[k], float(limits[k])


def learning(name: str) -> dict[str, Any]:
    base, lengths, sweeps = Score(), Score(), {k: Score() for k in SWEEPS}
    quantiles = []
    for seed in range(SPLITS):
        part = split(name, seed)
        quantile, limit = chosen(part, seed)
        quantiles.append(quantile)
        x, y = part.x, part.y
        seen = circuit.hashed(x, r=R_WIRE, noise=NOISE, seed=seed)
        words = {
            "planes": ternary(circuit.random_planes(x, seed), 0.0),
            "crossbar": ternary(seen, 0.0),
            "crossbar, 3 values": ternary(seen, limit),
        }
        for shots in SHOTS:
            at = episodes(y, shots, EPISODES, seed)
            for way in ("cosine", "l2"):
                base.add((way, shots), right(y, at, software(x, at, way == "cosine")))
            for n in LENGTHS:
                for way, bits in words.items():
                    a, b = bits[at.stored][..., :n], bits[at.asked][..., :n]
                    lengths.add((way, shots, n), right(y, at, circuit.counted(a, b)))
                    if way != "planes":
                        found = circuit.searched(a, b, seed=seed)
                        way = way.replace("crossbar", "circuit")
                        lengths.add((way, shots, n), right(y, at, found))
        at = episodes(y, 1, EPISODES, seed)
        for r in OHMS:
            bits = ternary(circuit.hashed(x, r=r, noise=NOISE, seed=seed, bits=SWEPT), 0.0)
            sweeps["r_ohm"].add(r, right(y, at, circuit.counted(bits[at.stored], bits[at.asked])))
        for noise in NOISES:
            now = circuit.hashed(x, r=R_WIRE, noise=noise, seed=seed, bits=SWEPT)
            for way, least in (("crossbar", 0.0), ("crossbar, 3 values", limit)):
                bits = ternary(now, least)
                found = circuit.counted(bits[at.stored], bits[at.asked])
                sweeps["noise"].add((way, noise), right(y, at, found))
        for way in ("crossbar", "crossbar, 3 values"):
            bits = words[way][:, :SWEPT]
            a, b = bits[at.stored], bits[at.asked]
            way = way.replace("crossbar", "circuit")
            for which, values in SWEPT_IN_CIRCUIT.items():
                for value in values:
                    found = circuit.searched(a, b, seed=seed, **{which: value})
                    sweeps[which].add((way, value), right(y, at, found))
        SAY(f"{name}, split {seed}: quantile {quantile}")
    result: dict[str, Any] = {"software": base.rows("way", "shots")}
    result["lengths"] = lengths.rows("way", "shots", "bits")
    for which, names in SWEEPS.items():
        result[which] = sweeps[which].rows(*names)
    return result | {"quantile": quantiles}


SWEPT_IN_CIRCUIT: dict[str, tuple[Any, ...]] = {
    "spread": SPREADS, "offset": OFFSETS, "clock": CLOCKS, "cols": COLS
}  # fmt: skip
SWEEPS: dict[str, tuple[str, ...]] = {"r_ohm": ("r_ohm",), "noise": ("way", "noise")}
SWEEPS |= {k: ("way", k) for k in SWEPT_IN_CIRCUIT}


def automata() -> dict[str, Any]:
    each = []
    for k in range(len(patterns.PATTERNS)):
        each.append(patterns.measured(k))
        SAY({x: v for x, v in each[-1].items() if x not in ("spread", "offset")})
    mean = lambda which: np.mean([x[which] for x in each], axis=0)  # (values, dies)
    summed = {}
    for which, values in (("spread", patterns.SPREADS), ("offset", patterns.OFFSETS)):
        dies = mean(which)
        summed[which] = [
            {which: v, "agreement": d.mean(), "std": d.std(ddof=1), "least_pattern": least}
            for v, d, least in zip(
                values, dies, np.min([np.mean(x[which], axis=1) for x in each], axis=0)
            )
        ]
    return {"patterns": each} | summed


def exact() -> dict[str, Any]:
    """One episode, 5-way 5-shot, of the words of 64 bits of digits."""
    part = split("digits", 0)
    seen = circuit.hashed(part.x, r=R_WIRE, noise=NOISE, seed=0, bits=64)
    bits = ternary(seen, chosen(part, 0)[1])
    at = episodes(part.y, 5, 1, 0)
    result = circuit.exact(bits[at.stored[0]], bits[at.asked[0]], 1.0)
    SAY(result)
    return result


def best_match() -> list[dict[str, Any]]:
    """Share of queries whose last line is a row at the least distance."""
    cases, count, rows, features = [], 8, 32, 8
    blank = sized((rows, features))
    edges, volts = level_scale(blank, count)
    rng = np.random.default_rng(7)
    stored = rng.integers(0, count, (rows, features))
    analog = cam.stored(blank, edges[stored], edges[stored + 1], g_max=1e-3)
    bits = np.asarray(cam.thermometer(stored, count))
    ternary = cam.TernaryCam(bits, g_low=circuit.STATES[0], g_high=circuit.STATES[1])
    near = stored[rng.integers(0, rows, 1000)]
    near = np.clip(near + rng.choice([-1, 0, 0, 1], near.shape), 0, count - 1)
    for queries, asked in (("random", rng.integers(0, count, near.shape)), ("near", near)):
        as_bits = np.asarray(cam.thermometer(asked, count)).astype(int)
        found = {
            "analog": cam.lookup(cam.Curves.of(analog, volts[:count]), asked),
            "ternary": cam.lookup(cam.Curves.of(ternary, (0.0, 1.0)), as_bits),
        }
        apart = np.abs(asked[:, None] - stored)
        for cells, one in found.items():
            row = np.asarray(cam.nearest(one).row)
            least = lambda x, row=row: np.mean(np.take_along_axis(x, row, 1)[:, 0] == x.min(1))
            of = {"l1": least(apart.sum(-1)), "hamming": least((apart > 0).sum(-1))}
            cases.append({"cells": cells, "queries": queries} | of)
            SAY(cases[-1])
    return cases


def figure(result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(13, 7.5), layout="constrained")
    a, b, c, d, e, f = made.subplots(2, 3).ravel()
    marks = {
        "planes": "k^:", "crossbar": "s--", "crossbar, 3 values": "s-",
        "circuit": "ko--", "circuit, 3 values": "ko-",
    }  # fmt: skip
    open_marks = ("crossbar", "crossbar, 3 values")
    names = [n for n in ("digits", "mnist") if n in result]

    def lines(axes, rows, x, ways, scale=1.0):
        for way in ways:
            mine = [r for r in rows if r["way"] == way]
            axes.errorbar(
                [r[x] * scale for r in mine],
                [100 * r["accuracy"] for r in mine],
                [100 * r["error"] for r in mine],
                fmt=marks[way], capsize=2, label=way, ms=8 if way in open_marks else 4,
                mfc="none" if way in open_marks else None,
                color="0.45" if way in open_marks else "k",
            )  # fmt: skip
        axes.set_ylabel("accuracy, 5-way 1-shot [%]")

    titles = {"digits": "digits, pixels", "mnist": "MNIST, learned features"}
    for axes, name in zip((a, b), names):
        one = result[name]
        rows = [r for r in one["lengths"] if r["shots"] == 1]
        lines(axes, rows, "bits", marks)
        level = next(r for r in one["software"] if (r["way"], r["shots"]) == ("cosine", 1))
        axes.axhline(100 * level["accuracy"], color="0.6", label="cosine, software")
        axes.set_xscale("log", base=2)
        axes.set_xticks(LENGTHS, labels=map(str, LENGTHS))
        axes.set(xlabel="bits of a word", title=titles[name])
        axes.legend(fontsize=7, handlelength=4)
    one = result["digits"]
    ways = ("circuit", "circuit, 3 values")
    for axes, x, label, scale in (
        (c, "offset", "deviation of offsets of comparators [mV]", 1000),
        (d, "clock", "period of the clock of the comparators [ps]", 1e12),
    ):
        lines(axes, one[x], x, ways, scale)
        axes.set(xlabel=label, title=f"{titles['digits']}, {SWEPT} bits")
        axes.legend(fontsize=7, handlelength=4)
    d.set_xscale("symlog", linthresh=3)
    lines(e, one["noise"], "noise", ("crossbar", "crossbar, 3 values"), 100)
    e.set(xlabel="fluctuation of a read of the hashing array [%]")
    e.set_title(f"{titles['digits']}, {SWEPT} bits")
    e.legend(fontsize=7, handlelength=4)
    rows = result["automata"]["spread"]
    x = [100 * r["spread"] for r in rows]
    f.errorbar(
        x, [100 * r["agreement"] for r in rows], [100 * r["std"] for r in rows],
        fmt="ko-", capsize=2, label="mean of ten patterns, 5 dies",
    )  # fmt: skip
    f.plot(x, [100 * r["least_pattern"] for r in rows], "k^:", label="the worst pattern")
    f.set(xlabel="spread of ln g in the memory [%]", ylabel="strings as Python's re has them [%]")
    f.set_title("regular expressions")
    f.legend(fontsize=7, handlelength=4)
    return made


PARTS: dict[str, Callable[[], Any]] = {name: lambda name=name: learning(name) for name in sets()}
PARTS |= {"exact": exact, "best_match": best_match, "automata": automata}


if __name__ == "__main__":
    main(HERE, PARTS, figure)
