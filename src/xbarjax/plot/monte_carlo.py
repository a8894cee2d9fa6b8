"""Figures of many dies: distributions, yield and maps. Every function returns a new figure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..sweeps.statistics import limits_of, yields
from .arrays import CMAP

if TYPE_CHECKING:
    import xarray

MOST = 6  # lines that a reader can tell apart
STYLES = [(color, dash) for dash in ("-", "--", ":") for color in ("0.0", "0.55")]
MARKERS = "osv^Dx"


def distributions(results: xarray.Dataset) -> Figure:
    """Cumulative distributions of every metric over dies, for up to six evenly picked settings.
    Vertical lines are limits. The legend counts dies without a number, which are left out."""
    limits = limits_of(results)
    names = _metrics(results)
    figure = Figure(figsize=(5.2 * len(names), 3.8), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        _draw_distribution(axes, results[name], limits.get(name, ()))
    return figure


def yield_curves(results: xarray.Dataset, confidence: float = 0.95) -> Figure:
    """Yield over the longest axis, one line for each of up to six settings of the other axes, with
    confidence intervals. Raises `ValueError` for a sweep without limits or without axes."""
    stated = yields(results, confidence=confidence)
    if not stated.dims:
        raise ValueError("results has no axes; a yield curve needs a sweep with at least one axis.")
    along = max(stated.sizes, key=lambda name: stated.sizes[name])
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for k, (label, one) in enumerate(_settings(stated, [d for d in stated.dims if d != along])):
        x, y = one[along].values, 100 * one["good"].values
        low, high = (np.abs(100 * one[name].values - y) for name in ("low", "high"))
        color, dash = STYLES[k]
        axes.errorbar(
            x, y, yerr=[low, high], color=color, ls=dash, marker=MARKERS[k], capsize=2, label=label
        )
    axes.set(xlabel=_named(results, str(along)), ylabel="yield [%]", ylim=(-3, 103))
    if len(stated.dims) > 1:
        axes.legend(fontsize=8)
    return figure


def dies(results: xarray.Dataset) -> Figure:
    """The default figure of a sweep: `yield_curves` if it has limits and axes, else
    `distributions`."""
    limits = limits_of(results)
    return yield_curves(results) if limits and len(results.dims) > 1 else distributions(results)


def die_map(g: Any, g_design: Any) -> Figure:
    """Map of a die: the ratio of conductances, `g / g_design`, both `(rows, cols)` [S]."""
    ratio = np.asarray(g) / np.asarray(g_design)
    figure = Figure(figsize=(4.6, 3.8), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(ratio, cmap=CMAP, interpolation="nearest")
    figure.colorbar(image, ax=axes, label="conductance, die over design")
    axes.set(xlabel="column", ylabel="row")
    return figure


def _draw_distribution(axes: Axes, values: Any, limit: tuple[float, ...]) -> None:
    for k, (label, one) in enumerate(_settings(values, [d for d in values.dims if d != "die"])):
        x = np.sort(one.values[np.isfinite(one.values)])
        missing = one.size - x.size
        label = f"{label} ({missing} without)" if missing else label
        color, dash = STYLES[k]
        axes.step(x, 100 * np.arange(1, x.size + 1) / x.size, color=color, ls=dash, label=label)
    for end in limit:
        if np.isfinite(end):
            axes.axvline(end, color="0.75", lw=1, zorder=0)
    axes.set(xlabel=_named(values, str(values.name)), ylabel="dies up to there [%]", ylim=(0, 100))
    if len(values.dims) > 1:
        axes.legend(fontsize=8)


def _settings(of: Any, over: list[Any]) -> Iterator[tuple[str, Any]]:
    """Up to `MOST` evenly picked settings: a label and the data of each."""
    if not over:
        yield "", of
        return
    shape = [of.sizes[name] for name in over]
    count = int(np.prod(shape))
    for k in np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int)):
        at = dict(zip(over, map(int, np.unravel_index(k, shape)), strict=True))
        one = of.isel(at)
        yield ", ".join(f"{name} = {float(one[name]):g}" for name in over), one


def _metrics(results: xarray.Dataset) -> list[str]:
    floats = (n for n, x in results.data_vars.items() if np.issubdtype(x.dtype, np.floating))
    return sorted(map(str, floats))


def _named(of: Any, name: str) -> str:
    unit = (of[name] if name in of.coords else of).attrs.get("units")
    return name if unit is None else f"{name} [{unit}]"
