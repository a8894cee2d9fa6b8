"""How relaxation goes with time, conductance and temperature: measurements, and fits to half of the
cells, tested on the other half."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize_scalar

from xbarjax import presets
from xbarjax.variability import Relaxation

from .ageing import HOT, ONSET, baked
from .data import RANGE, Reads, baked as bakes, over_time

BINS = np.linspace(0, 1, 7)  # of the conductance after programming, in parts of the range
Grid = np.ndarray  # (times, bins)

# deviation over time, up to a factor for each bin, over the time in units of the onset
LAWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "walk": lambda x: np.sqrt(np.log1p(x)),
    "pace": np.log1p,
}


def moments(reads: Reads, top: float, part: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """Mean conductance before, mean change and its deviation [S] within bins up to `top` [S]."""
    which = np.clip(np.searchsorted(BINS * top, reads.first, side="right") - 1, 0, len(BINS) - 2)
    part = np.ones(which.shape, bool) if part is None else part
    rows = []
    for k in range(len(BINS) - 1):
        mine = part & (which == k)
        change = reads.later[mine] - reads.first[mine]
        rows.append((reads.first[mine].mean(), change.mean(), change.std()))
    return tuple(np.array(rows).T)


def fitted(law: Callable, times: np.ndarray, deviation: Grid) -> tuple[float, np.ndarray]:
    """Onset [s] and factor of each bin [S], by least squares in the logarithm of the deviation."""

    def factors(log_onset: float) -> tuple[np.ndarray, float]:
        apart = np.log(deviation) - np.log(law(times / np.exp(log_onset)))[:, None]
        return apart.mean(axis=0), float(np.mean((apart - apart.mean(axis=0)) ** 2))

    found = minimize_scalar(
        lambda x: factors(x)[1], bounds=(np.log(1e-8), np.log(1e2)), method="bounded"
    )
    return float(np.exp(found.x)), np.exp(factors(found.x)[0])


def chip(name: str) -> dict[str, Any]:
    """Deviations of a chip over time, fits of both laws to cells of even address, and their errors
    on cells of odd address."""
    reads = over_time(name)
    times = np.array(list(reads))
    parts = [[moments(r, RANGE[name], r.address % 2 == k) for r in reads.values()] for k in (0, 1)]
    even, odd = (np.array([deviation for *_, deviation in part]) for part in parts)
    laws = {}
    for law, shape in LAWS.items():
        onset, factor = fitted(shape, times, even)
        miss = np.log(odd / (factor * shape(times / onset)[:, None]))
        rms = np.sqrt(np.mean(miss**2))
        laws[law] = {"onset_s": onset, "factor_S": factor, "miss_rms": rms, "miss": miss}
    every = [moments(r, RANGE[name]) for r in reads.values()]
    return {
        "times_s": times,
        "g_S": every[0][0],
        "mean_S": np.array([mean for _, mean, _ in every]),
        "deviation_S": np.array([deviation for *_, deviation in every]),
        "laws": laws,
        "correlation": correlation(list(reads.values())),
    }


def correlation(reads: list[Reads]) -> dict[str, Any]:
    """Correlation of the change at 1 s with that at later times, over cells in the middle of the
    range, and that of a random walk, whose steps are independent."""
    top = max(r.first.max() for r in reads)
    changes = []
    for r in reads[2:]:
        mine = (r.first > 0.3 * top) & (r.first < 0.6 * top)
        changes.append(dict(zip(r.address[mine], (r.later - r.first)[mine])))
    same = sorted(set.intersection(*map(set, changes)))
    table = np.array([[change[k] for k in same] for change in changes])
    spread = table.std(axis=1)
    return {"measured": np.corrcoef(table)[0, 1:], "walk": spread[0] / spread[1:]}


def relaxation(name: str, t: float) -> Relaxation:
    """Relaxation of a chip until one of its times [s]: polynomials of third degree, fitted to the
    moments of six bins."""
    g, mean, deviation = moments(over_time(name)[t], RANGE[name])
    x, unit = g / RANGE[name], 1e-6
    fit = lambda y: unit * np.polyfit(x, y / unit, 3)[::-1]
    return Relaxation(jnp.asarray(fit(mean)), jnp.asarray(fit(deviation)), RANGE[name])


def law() -> dict[str, Any]:
    found: dict[str, Any] = {name: chip(name) for name in RANGE}
    onset = found["B"]["laws"]["walk"]["onset_s"]
    assert 0.9 < onset / ONSET < 1.1, f"chip B relaxes from {onset} s on, not from {ONSET} s"
    measured = {at: moments(reads, RANGE["B"]) for at, reads in bakes().items()}
    g = measured[100][0]
    models = {at: presets.hfox_bake(at) for at in (110, 130)} | {HOT: baked()}
    of = lambda model: np.asarray(model.apply(jnp.asarray(g), 1.0) - model.apply(jnp.asarray(g), 0))
    found["bakes"] = {
        "g_S": g,
        "measured_S": {str(at): deviation for at, (*_, deviation) in measured.items()},
        "measured_mean_S": {str(at): mean for at, (_, mean, _) in measured.items()},
        "preset_S": {f"{at:g}": of(model) for at, model in models.items()},
    }
    return found
