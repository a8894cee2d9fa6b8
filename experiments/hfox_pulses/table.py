"""Predictors without a model, and the spread that no predictor of these quantities explains."""

from collections.abc import Callable

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from .data import Pulses

NEAR = 0.1  # of ln R
Predictor = Callable[[Pulses], np.ndarray]  # of logarithms of resistances [ohm] after pulses
GATES, WIDTHS, RESISTANCES = 5, 3, 10  # word-line voltages and widths of a bin; number of bins


def log_after(p: Pulses) -> np.ndarray:
    return np.log(p.r_after)


def stays(training: Pulses) -> Predictor:
    """The resistance stays as it was."""
    return lambda p: np.log(p.r_before)


def overall_mean(training: Pulses) -> Predictor:
    mean = log_after(training).mean()
    return lambda p: np.full(len(p.width), mean)


def bins(training: Pulses) -> Predictor:
    """Means over bins of voltage, word-line voltage, width, and resistance before. A bin without
    training cells has the mean over all widths and resistances."""
    ends = np.quantile(training.r_before, np.linspace(0, 1, RESISTANCES + 1)[1:-1])
    voltages, gates, widths = map(np.unique, (training.v, training.v_gate, training.width))

    def keys(p: Pulses) -> np.ndarray:
        near = lambda x, values, together: np.searchsorted(values * (1 - 1e-9), x) // together
        columns = near(p.v, voltages, 1), near(p.v_gate, gates, GATES)
        columns += near(p.width, widths, WIDTHS), np.searchsorted(ends, p.r_before)
        return np.stack(columns, axis=1)

    def means(keys: np.ndarray) -> dict:
        found, which = np.unique(keys, axis=0, return_inverse=True)
        which = which.ravel()
        mean = np.bincount(which, log_after(training)) / np.bincount(which)
        return {tuple(key): x for key, x in zip(found, mean)}

    fine, coarse = means(keys(training)), means(keys(training)[:, :2])
    return lambda p: np.array([fine.get(tuple(k), coarse[tuple(k[:2])]) for k in keys(p)])


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


def _conditions(p: Pulses) -> np.ndarray:
    """Number of each pulse's width and voltages."""
    conditions = np.stack([p.width, p.v_gate, p.v], axis=1)
    return np.unique(conditions, axis=0, return_inverse=True)[1].ravel()


def at_equal_conditions(p: Pulses) -> float:
    """Standard deviation of ln R after pulses of equal width and voltages."""
    which = _conditions(p)
    count = np.bincount(which)
    left = log_after(p) - (np.bincount(which, log_after(p)) / count)[which]
    return float(np.sqrt(np.sum(left**2) / np.sum(count - 1)))


def of_equal_cells(p: Pulses) -> float:
    """Standard deviation of ln R after pulses of equal width and voltages from resistances that
    differ by less than `NEAR`: from differences of pairs, each voltage with its share of pulses.
    This is what no function of these quantities explains."""
    order = np.lexsort((p.r_before, _conditions(p)))
    p, which = p.part(order), _conditions(p)[order]
    near = (np.diff(which) == 0) & (np.diff(np.log(p.r_before)) < NEAR)
    square = np.diff(log_after(p)) ** 2 / 2
    mean = [square[near & (p.v[1:] == v)].mean() * np.mean(p.v == v) for v in np.unique(p.v)]
    return float(np.sqrt(sum(mean)))


def of_two_reads(p: Pulses) -> float:
    """Rms change of ln R over pulses of the least voltage, which write next to nothing: two reads
    of one state."""
    weakest = p.part(p.v == p.v.min())
    return float(np.sqrt(np.mean(np.log(weakest.r_after / weakest.r_before) ** 2)))


def shared_by_cell(left: dict[str, np.ndarray], at: dict[str, Pulses]) -> dict[str, float]:
    """Correlations of residuals, each divided by the rms at its voltage: those of one cell in both
    sweeps, and those of cells next to each other in order of address, in one sweep."""

    def scaled(name: str) -> np.ndarray:
        p, x = at[name], left[name]
        rms = {v: np.sqrt(np.mean(x[p.v == v] ** 2)) for v in np.unique(p.v)}
        return x / np.array([rms[v] for v in p.v])

    units = {name: scaled(name) for name in left}
    first, second = left
    _, k, j = np.intersect1d(at[first].address, at[second].address, return_indices=True)
    both = np.corrcoef(units[first][k], units[second][j])[0, 1]
    next_to = {f"{s}, of neighbours": np.corrcoef(u[1:], u[:-1])[0, 1] for s, u in units.items()}
    return {"of a cell in both sweeps": both, "cells in both sweeps": len(k)} | next_to
