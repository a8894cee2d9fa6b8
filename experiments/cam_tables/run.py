"""Tree ensembles as tables of intervals: what is lost when bounds and samples have few levels.

Each ensemble of scikit-learn becomes a table, which must agree with the model on every sample.
Then it is brought to levels in three ways: its bounds move to quantiles of the bounds, or to bounds
next to quantiles of the training samples, or the ensemble is trained anew on samples in levels. All
errors are those of test samples, a quarter, which no step saw; means over splits. The tables of
X-TIME are in 16 levels from the start.

    XBARJAX_DATA=... python -m experiments.cam_tables.run
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

from xbarjax.systems import cam

from ..common import keep, measured

SETS: dict[str, Callable[..., Any]] = {
    "wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits
}  # fmt: skip
MODELS: dict[str, Callable[[int], Any]] = {
    "decision tree": lambda seed: DecisionTreeClassifier(random_state=seed),
    "random forest": lambda seed: RandomForestClassifier(30, random_state=seed),
    "gradient boosting": lambda seed: GradientBoostingClassifier(
        n_estimators=20, random_state=seed
    ),
}
WAYS = "quantiles of bounds", "quantiles of samples", "trained on levels"
BITS = 2, 3, 4, 5, 6
STYLES = ("o-", "0.0"), ("s--", "0.35"), ("^:", "0.55")


def in_levels(way: str, model: Any, table: cam.Table, levels: int, x: Any, y: Any):
    """A table in levels, the cut points of its samples, its empty rows and its merged bounds."""
    if way == "trained on levels":
        cuts = sample_cuts(x, levels)
        seen = np.asarray(cam.digitise(x, cuts))
        again = type(model)(**model.get_params()).fit(seen, y)
        # levels are whole numbers, so that a bound k + 1/2 becomes k + 1
        steps = np.broadcast_to(np.arange(1, levels) - 0.5, (x.shape[1], levels - 1))
        coarse = cam.quantised(cam.from_forest(again), steps)
        assert (again.predict(seen) == cam.classify(coarse.table, seen)).all()
    else:
        cuts = cam.cut_points(table, levels, x if way == "quantiles of samples" else None)
        coarse = cam.quantised(table, cuts)
    return coarse.table, cuts, coarse.empty, coarse.merged


def sample_cuts(x: np.ndarray, levels: int) -> np.ndarray:
    """Quantiles of each feature; equal ones count once."""
    cuts = np.full((x.shape[1], levels - 1), np.inf)
    for k, feature in enumerate(x.T):
        points = np.unique(np.quantile(feature, np.linspace(0, 1, levels + 1)[1:-1]))
        cuts[k, : points.size] = points
    return cuts


def measure(data: str, name: str, seed: int) -> dict:
    """Test errors of one model on one split, in software, as a table, and in levels."""
    x, y = SETS[data](return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, random_state=seed, stratify=y)
    model = MODELS[name](seed).fit(x, y)
    table = cam.from_forest(model)
    software = model.predict(x_test)
    found: dict[str, Any] = {
        "rows": table.low.shape[0],
        "software": np.mean(software != y_test),
        "differ": int(np.sum(software != cam.classify(table, x_test))),
    }
    for bits in BITS if name == "random forest" else (4,):
        for way in WAYS:
            coarse, cuts, empty, merged = in_levels(way, model, table, 2**bits, x, y)
            answers = np.asarray(cam.classify(coarse, cam.digitise(x_test, cuts)))
            found[f"{way}, {bits} bits"] = np.mean(answers != y_test)
            if way != "trained on levels":  # which loses nothing
                found[f"empty: {way}, {bits} bits"] = empty
                found[f"merged: {way}, {bits} bits"] = merged
    return found


def xtime(name: str) -> dict:
    """Test accuracy of a table of X-TIME."""
    table, x, y = cam.from_xtime(measured("xtime") / name)
    matched = np.asarray(cam.matches(table, x))
    trees = np.asarray(table.tree)
    hits = np.stack([matched[:, trees == k].sum(1) for k in np.unique(trees)])
    return {
        "rows": len(trees),
        "trees": len(hits),
        "one row per tree": bool((hits == 1).all()),
        "samples": len(y),
        "right": int((np.asarray(cam.classify(table, x)) == y).sum()),
    }


def draw(mean: dict[str, dict[str, dict[str, float]]]) -> Figure:
    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    for axes, data in zip(figure.subplots(1, len(SETS)), SETS):
        found = mean[data]["random forest"]
        axes.axhline(100 * found["software"], color="0.7", lw=4, label="software")
        for way, (style, shade) in zip(WAYS, STYLES):
            errors = [100 * found[f"{way}, {bits} bits"] for bits in BITS]
            axes.plot(BITS, errors, style, color=shade, label=way)
        axes.set(title=data, xlabel="bits of a feature", xticks=BITS)
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    figure.axes[0].set_ylabel("test error of random forests [%]")
    figure.axes[0].legend(fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    cases = [(data, name) for data in SETS for name in MODELS]
    mean: dict[str, dict[str, Any]] = {data: {} for data in SETS}
    shown = Table(
        "set", "model", "rows", "software", "differ", *WAYS, title="test error [%], 4 bits"
    )
    for data, name in track(cases, "measuring"):
        each = [measure(data, name, seed) for seed in range(args.seeds)]
        found = mean[data][name] = {key: float(np.mean([e[key] for e in each])) for key in each[0]}
        found["differ"] = sum(e["differ"] for e in each)
        numbers = [found["software"], *(found[f"{way}, 4 bits"] for way in WAYS)]
        first, *rest = [f"{100 * error:.1f}" for error in numbers]
        shown.add_row(data, name, f"{found['rows']:.0f}", first, str(found["differ"]), *rest)
    files = {name: xtime(name) for name in ("ex01", "ex02")}
    console = Console(width=120)
    console.print(shown)
    console.print(files)
    result = {"splits": args.seeds, "errors": mean, "xtime": files}
    console.print(keep(args.out, result, draw(mean), began))


if __name__ == "__main__":
    main()
