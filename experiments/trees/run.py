"""Tree ensembles on analog content-addressable memories: accuracy with wires and variation, with
bounds stored as meant, compensated, and trained through the circuit.

    XBARJAX_DATA=... python -m experiments.trees.run [--only xtime,wires]

Forests of scikit-learn become tables of 16 levels (`experiments.cam_tables`), which 6T2M cells hold
in tiles of 128 x 16; a row matches if it does in all its tiles. Forests: 16 trees of up to 8 leaves
(breast cancer, wine) or 24 (digits); 12 trees of up to 32 leaves for `make_friedman1` of
scikit-learn, a generated regression of 1,200 samples, 10 features (5 of them noise) and a noise of
1. A quarter of the samples is the test set, which no step saw. Tables of X-TIME have their own.

Numbers of the cell are chosen here: EKV transistors with a slope factor of 1.3, 1 to 80 uS for the
bounds between levels, 0.5 mS without an upper bound, 1.8 V, 100 ns. Match lines have no wires. All
figures with +- are means and standard errors over splits, each with its own dies.

- worst rows: match-line voltages of the hardest rows of a tile without wires, by supply, levels and
  columns; rows of cells that are all one level wide, and single mismatches by one level.
- ways: `stored`, bounds as if wires were ideal; `compensated`, wires and leakage included, which
  knows the wires but not the variation; `trained`, bounds moved by gradient through the circuit
  with wires and fresh variation in each step, on training samples, starting from `compensated`.
- variation: lognormal spread of all conductances, normal offsets of comparators. Offsets can be
  measured once and compensated per die (`known offsets`). Known errors of conductances need writing
  again, which is a smaller spread here.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table as Shown

from xbarjax.systems import cam

from ..common import measured
from ..parts import SAY, main
from .circuit import (
    LEVELS,
    SUPPLY_0V5,
    SUPPLY_1V8,
    Die,
    Technology,
    Wanted,
    answers,
    blank,
    programmed,
    scale,
    single,
    wanted,
    worst,
)  # fmt: skip
from .data import SETS, Case, case
from .training import train

OHMS = 0.0, 0.5, 2.0, 6.0, 20.0
OHM, SIGMA, OFFSET, DIES = 2.0, 0.2, 0.02, 3
SIGMAS, OFFSETS = (0.05, 0.1, 0.2, 0.4), (0.05, 0.1, 0.2)
WAYS = "stored", "compensated"
CANCER = "breast cancer"
GAINS: dict[str, Technology] = {
    "0.5 V": SUPPLY_0V5,
    "1.2 V": SUPPLY_1V8._replace(v_high=1.2),
    "1.8 V": SUPPLY_1V8,
    "1.8 V, W/L 1": SUPPLY_1V8._replace(divider=1.0),
    "1.8 V, W/L 16": SUPPLY_1V8._replace(divider=16.0),
}
NO_GAP = 0.01  # of scores, below which no share of it is told


def dies(split: int, sigma: float = SIGMA, offset: float = OFFSET) -> list[Die]:
    return [Die(sigma, offset, DIES * split + k) for k in range(DIES)]


def spread(each: Iterable[float]) -> dict[str, float]:
    """Mean and standard error."""
    x = np.asarray(list(each))
    return {"mean": float(x.mean()), "error": float(x.std(ddof=1) / np.sqrt(x.size))}


def collected(each: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: spread(one[name] for one in each) for name in each[0]}


class Bench:
    """The circuit of a case, with tiles programmed once per way and resistance."""

    def __init__(self, one: Case, tech: Technology = SUPPLY_1V8):
        self.case, self.tech = one, tech
        levels = scale(tech)
        self.queries = levels.queries
        self.goal = wanted(one.table, levels)

    def made(self, ohm: float, way: str, offsets: Any = None) -> dict:
        tile = blank(self.tech, r=ohm)
        return programmed(self.goal, tile, self.tech.g_open, way == "compensated", offsets)

    def score(self, made: dict, some: list[Die], goal: Wanted | None = None) -> float:
        found = [answers(goal or self.goal, made, d, self.queries, self.case.x_test) for d in some]
        return float(np.mean([self.case.score(a.outputs) for a in found]))


def xtime(name: str) -> dict[str, Any]:
    """Agreement of the circuit with the table on all samples of a file of X-TIME."""
    table, x, y = cam.from_xtime(measured("xtime") / name)
    digital = np.asarray(cam.classify(table, x))
    found: dict[str, Any] = {"samples": len(y), "right digitally": int((digital == y).sum())}

    def judge(what: str, way: str, tech: Technology, ohm: float, some: list[Die]) -> None:
        levels = scale(tech)
        goal = wanted(table, levels)
        made = programmed(goal, blank(tech, r=ohm), tech.g_open, way == "compensated")
        seen = [answers(goal, made, die, levels.queries, x) for die in some]
        mean = lambda of: float(np.mean([of(one) for one in seen]))
        found[what] = {
            "agree": mean(lambda one: (one.classes == digital).sum()),
            "right": mean(lambda one: (one.classes == y).sum()),
            "one row per tree": mean(lambda one: single(table, one.matched)),
            "least match": min(float(one.margins[one.matched].min()) for one in seen),
            "most mismatch": max(float(one.margins[~one.matched].max()) for one in seen),
        }

    for ohm in OHMS[:-1]:
        for way in WAYS if ohm else WAYS[:1]:
            judge(f"{way}, {ohm:g} ohm", way, SUPPLY_1V8, ohm, [Die()])
    for sigma in SIGMAS:
        judge(f"ideal wires, sigma {sigma:g}", "stored", SUPPLY_1V8, 0.0, dies(0, sigma))
    for gain, tech in GAINS.items():
        if tech is not SUPPLY_1V8:
            judge(f"ideal wires, {gain}", "stored", tech, 0.0, [Die()])
    return found


def in_set(name: str, split: int) -> tuple[dict[str, float], list[float]]:
    """Scores of one split of a set, from software to dies with wires and variation, which training
    did not see; and the losses of training."""
    one = case(name, split)
    bench, some = Bench(one), dies(split)
    bare = bench.made(0.0, "stored")
    found = {"software": one.software, "digital": one.digital}
    found |= {"ideal": bench.score(bare, [Die()]), "variation": bench.score(bare, some)}
    tile, g_open = blank(SUPPLY_1V8, r=OHM), SUPPLY_1V8.g_open
    die = Die(SIGMA, OFFSET, split)
    goal, losses = train(bench.goal, tile, g_open, bench.queries, one.x, one.y, die)
    ways = {way: (bench.made(OHM, way), bench.goal) for way in WAYS}
    ways["trained"] = programmed(goal, tile, g_open, False), goal
    for way, (made, of) in ways.items():
        found[f"{way}, wires"] = bench.score(made, [Die()], of)
        found[f"{way}, both"] = bench.score(made, some, of)
    return found, losses


def over_wires(split: int) -> dict[str, float]:
    bench, found = Bench(case(CANCER, split)), {}
    for ohm in OHMS:
        for way in WAYS:
            made = bench.made(ohm, way)
            found[f"{way}, {ohm:g} ohm"] = bench.score(made, [Die()])
            found[f"{way}, {ohm:g} ohm, variation"] = bench.score(made, dies(split))
    return found


def over_variation(split: int) -> dict[str, float]:
    """Without wires."""
    bench = Bench(case(CANCER, split))
    made = {way: bench.made(0.0, way) for way in WAYS}
    found = {}
    for sigma in SIGMAS:
        for way in WAYS:
            found[f"{way}, sigma {sigma:g}"] = bench.score(made[way], dies(split, sigma, 0.0))
    for offset in OFFSETS:
        die = dies(split, 0.0, offset)[0]
        known = bench.made(0.0, "compensated", die.offsets(bench.goal))
        found[f"compensated, offset {offset:g} V"] = bench.score(made["compensated"], [die])
        found[f"known offsets, offset {offset:g} V"] = bench.score(known, [die])
    return found


def over_gain(split: int) -> dict[str, float]:
    one, found = case(CANCER, split), {}
    for name, tech in GAINS.items():
        bench = Bench(one, tech)
        made = bench.made(0.0, "stored")
        found[f"ideal, {name}"] = bench.score(made, [Die()])
        found[f"variation, {name}"] = bench.score(made, dies(split))
        found[f"stored, wires, {name}"] = bench.score(bench.made(OHM, "stored"), [Die()])
    return found


def closed(found: dict[str, dict[str, float]], way: str, what: str) -> float | None:
    """Share of the gap between the digital table and `stored` bounds that a way closes."""
    low, high = found[f"stored, {what}"]["mean"], found["digital"]["mean"]
    return (found[f"{way}, {what}"]["mean"] - low) / (high - low) if high - low > NO_GAP else None


def draw(result: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    wires, varied, sets = figure.subplots(1, 3)
    styles = {"stored": ("o", "0.0"), "compensated": ("s", "0.45")}
    for way, (mark, shade) in styles.items():
        for end, line in (("", "-"), (", variation", ":")):
            seen = [result["wires"][f"{way}, {ohm:g} ohm{end}"] for ohm in OHMS]
            y, e = ([100 * s[k] for s in seen] for k in ("mean", "error"))
            wires.errorbar(
                range(len(OHMS)), y, e, fmt=mark + line, color=shade, capsize=2, label=way + end
            )
    wires.set_xticks(range(len(OHMS)), [f"{ohm:g}" for ohm in OHMS])
    wires.set(xlabel="search-line segment [ohm]", ylabel="accuracy [%]", title=CANCER)
    wires.legend(fontsize=7)
    for way, (mark, shade) in styles.items():
        seen = [result["variation"][f"{way}, sigma {s:g}"] for s in SIGMAS]
        y, e = ([100 * s[k] for s in seen] for k in ("mean", "error"))
        varied.errorbar(SIGMAS, y, e, fmt=mark + "-", color=shade, capsize=2, label=way)
    varied.set(
        xlabel="deviation of ln g", ylabel="accuracy [%]", title=f"{CANCER}, ideal wires",
        xscale="log",
    )  # fmt: skip
    varied.set_xticks(SIGMAS, [f"{s:g}" for s in SIGMAS])
    varied.minorticks_off()
    varied.legend(fontsize=7)
    names = list(result["sets"])
    marks = {"digital": "_", "stored": "o", "compensated": "s", "trained": "^"}
    shades = {"digital": "0.0", "stored": "0.0", "compensated": "0.45", "trained": "0.7"}
    for k, (way, mark) in enumerate(marks.items()):
        seen = [result["sets"][n][way if way == "digital" else f"{way}, both"] for n in names]
        y, e = (np.array([100 * s[key] for s in seen]) for key in ("mean", "error"))
        at = np.arange(len(names)) + 0.15 * (k - 1.5)
        sets.errorbar(
            at, np.maximum(y, -30), e, fmt=mark, color=shades[way], capsize=2, label=way,
            markersize=12 if mark == "_" else 6,
        )  # fmt: skip
    sets.set_xticks(range(len(names)), [n.replace(" ", "\n") for n in names])
    sets.set(
        ylabel="accuracy, or R² (friedman1) [%]", title=f"{OHM:g} ohm, variation", ylim=(-30, 105)
    )
    sets.legend(fontsize=7, loc="lower left")
    return figure


def xtimes() -> dict[str, Any]:
    return {name: xtime(name) for name in ("ex01", "ex02")}


def worst_rows() -> dict[str, Any]:
    return {
        f"{name}, {levels} levels, {cols} columns": worst(tech, levels, cols)
        for name, tech in GAINS.items()
        for levels, cols in ((LEVELS, 16), (LEVELS, 32), (8, 32))
    }


def swept(over: Any, splits: int) -> dict[str, dict[str, float]]:
    return collected([over(split) for split in range(splits)])


def all_sets() -> dict[str, Any]:
    result = {}
    for name, one in SETS.items():
        each = [in_set(name, split) for split in range(one.splits)]
        found = collected([scores for scores, _ in each])
        share = {
            f"{way}, {what}": closed(found, way, what)
            for way in ("compensated", "trained")
            for what in ("wires", "both")
        }
        losses = [losses for _, losses in each]
        result[name] = found | {"splits": len(each), "losses": losses, "closed": share}
        SAY(f"{name}: {share}")
    return result


def finish(result: dict[str, Any]) -> None:
    """Adds what all parts share, and shows the scores."""
    result |= {"ohm": OHM, "sigma": SIGMA, "offset [V]": OFFSET, "dies": DIES}
    shown = Shown("", "mean [%]", "+-")
    groups = {name: result[name] for name in ("wires", "variation", "gain")} | result["sets"]
    for name, found in groups.items():
        for what, one in found.items():
            if isinstance(one, dict) and "mean" in one:
                shown.add_row(
                    f"{name}: {what}", f"{100 * one['mean']:.1f}", f"{100 * one['error']:.1f}"
                )
    SAY(shown)


PARTS: dict[str, Callable[[], Any]] = {
    "xtime": xtimes,
    "worst rows [V]": worst_rows,
    "wires": lambda: swept(over_wires, 5),
    "variation": lambda: swept(over_variation, 3),
    "gain": lambda: swept(over_gain, 3),
    "sets": all_sets,
}


if __name__ == "__main__":
    main(Path(__file__).parent, PARTS, draw, finish=finish)
