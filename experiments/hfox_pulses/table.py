"""Predictors without a model, and the spread that no predictor of these quantities explains."""

from collections.abc import Callable

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from .data import Pulses

Predictor = Callable[[Pulses], np.ndarray]  # of logarithms of resistances [ohm] after pulses
GATES = 3  # word-line voltages of one bin


def log_after(p: Pulses) -> np.ndarray:
    return np.log(p.r_after)


def stays(training: Pulses) -> Predictor:
    """The resistance stays as it was."""
    return lambda p: np.log(p.r_before)


def overall_mean(training: Pulses) -> Predictor:
    mean = log_after(training).mean()
    return lambda p: np.full(len(p.width), mean)


def bins(training: Pulses) -> Predictor:
    """Means over bins of voltage, word-line voltage, width, and resistance before (below and above
    the median). A bin without training cells has the mean over all widths and resistances."""
    middle = np.median(training.r_before)
    gates = np.unique(training.v_gate)
    coarse = lambda p: [(v, np.searchsorted(gates, g) // GATES) for v, g in zip(p.v, p.v_gate)]
    fine = lambda p: [(*key, w, r > middle) for key, w, r in zip(coarse(p), p.width, p.r_before)]

    def means(keys: list) -> dict:
        _, which = np.unique(np.array(keys, dtype=float), axis=0, return_inverse=True)
        which = which.ravel()
        mean = np.bincount(which, log_after(training)) / np.bincount(which)
        return dict(zip(keys, mean[which]))

    of_coarse, of_fine, rest = means(coarse(training)), means(fine(training)), overall_mean

    def predict(p: Pulses) -> np.ndarray:
        whole = rest(training)(p)
        keys = zip(fine(p), coarse(p), whole)
        return np.array([of_fine.get(f, of_coarse.get(c, mean)) for f, c, mean in keys])

    return predict


def trees(training: Pulses) -> Predictor:
    """Gradient-boosted trees of logarithm of width, voltages and logarithm of resistance before."""
    features = lambda p: np.stack([np.log(p.width), p.v_gate, p.v, np.log(p.r_before)], axis=1)
    forest = HistGradientBoostingRegressor(
        max_iter=100, max_leaf_nodes=15, learning_rate=0.05, min_samples_leaf=40, random_state=0
    ).fit(features(training), log_after(training))
    return lambda p: forest.predict(features(p))


EMPIRICAL = {
    "stays as it was": stays,
    "overall mean": overall_mean,
    "bins": bins,
    "boosted trees": trees,
}


def at_equal_conditions(p: Pulses) -> float:
    """Standard deviation of ln R after pulses of equal width and voltages."""
    conditions = np.stack([p.width, p.v_gate, p.v], axis=1)
    _, which, count = np.unique(conditions, axis=0, return_inverse=True, return_counts=True)
    which = which.ravel()
    mean = np.bincount(which, log_after(p)) / count
    left = np.sum((log_after(p) - mean[which]) ** 2)
    return float(np.sqrt(left / np.sum(count - 1)))


def of_two_reads(p: Pulses) -> float:
    """Rms change of ln R over pulses of the least voltage, which write next to nothing: two reads
    of one state."""
    weakest = p.part(p.v == p.v.min())
    return float(np.sqrt(np.mean(np.log(weakest.r_after / weakest.r_before) ** 2)))


def shared_by_cell(left: dict[str, np.ndarray], at: dict[str, Pulses]) -> dict[str, float]:
    """Correlations of residuals, each divided by the rms at its voltage: those of one cell in both
    sweeps, and those of neighbours, two addresses apart, in one sweep."""

    def scaled(name: str) -> np.ndarray:
        p, x = at[name], left[name]
        rms = {v: np.sqrt(np.mean(x[p.v == v] ** 2)) for v in np.unique(p.v)}
        return x / np.array([rms[v] for v in p.v])

    units = {name: scaled(name) for name in left}
    first, second = left
    both, k, j = np.intersect1d(at[first].address, at[second].address, return_indices=True)
    found = {"cells in both sweeps": len(both)}
    found["of one cell in both sweeps"] = np.corrcoef(units[first][k], units[second][j])[0, 1]
    for name, unit in units.items():
        near = np.flatnonzero(np.diff(at[name].address) == 2)
        found[f"of neighbours, {name}"] = np.corrcoef(unit[near], unit[near + 1])[0, 1]
    return found
