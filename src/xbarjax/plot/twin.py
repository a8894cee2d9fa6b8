"""Figures of an identified array: the numbers found, their deviations, and what is left of the
reads. Every function returns a new figure."""

from typing import Any

import jax
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..identification.twin import Twin
from .arrays import CMAP, SLENDER, prefix_of, whole_ticks

UNITS = {"g": "S", "r": "ohm", "v": "V", "i": "A"}  # by how the names of numbers begin
WORDS = {"g": "conductance", "r": "resistance", "v": "voltage", "i": "current"}
LEAST = 3.0  # [standard deviations] that a scale of residuals spans at least, to either side
MAP = 4.6  # width [inch] of a map


def parameter_map(twin: Twin, name: str | None = None) -> Figure:
    """Maps of numbers that were found, one per cell or segment, and of their relative standard
    deviations beside.

    Numbers that the reads do not show, whose deviation is inf, are hatched in the second map.

    **Arguments:**

    - `twin`: of `xb.identify`.
    - `name`: which numbers, such as `"cell.g"` or `"wires.r_row"`; the first of those that were
        free by default.

    Raises `ValueError` for numbers that were not free, or have no entry per cell.
    """
    found = _found(twin)
    if not found:
        raise ValueError("twin has no numbers per cell; there is nothing to map.")
    name = next(iter(found)) if name is None else name
    if name not in found:
        raise ValueError(f"name is {name!r}; it must be one of {', '.join(found)}.")
    values, std = found[name]
    first = name.rpartition(".")[-1].partition("_")[0]
    scale, prefix = prefix_of(values[np.isfinite(values)])
    unit = f" [{prefix}{UNITS[first]}]" if first in UNITS else ""
    scale = scale if unit else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = 100 * std / np.abs(values)
    figure = Figure(figsize=(2 * MAP, _height(MAP, values.shape)), layout="constrained")
    left, right = figure.subplots(1, 2)
    _map(figure, left, values / scale, f"{WORDS.get(first, 'value')}{unit}")
    _map(figure, right, relative, "deviation of the value [%]", note="no read shows it")
    left.set_title(f"{name} found")
    right.set_title("relative standard deviation")
    for axes in (left, right):
        axes.set(xlabel=axes.get_xlabel() or "bit line", ylabel="word line")
    return figure


def residuals(twin: Twin) -> Figure:
    """Maps of the residuals over reads and lines, predicted less measured, in standard deviations
    of the noise: one map for every quantity of every `Measured`.

    The scale is symmetric, dark below 0 and bright above. Readings that are missing are hatched.
    Those beyond the limit `robust` of `xb.identify`, where the scale ends, have a cross. Noise
    shows no pattern.
    """
    maps = []
    for k, part in enumerate(twin.residuals):
        for name, r in part.items():
            known = np.isfinite(np.asarray(twin.problem.measured[k].sensed[name]))
            of = f", measured[{k}]" if len(twin.residuals) > 1 else ""
            maps.append((f"{name}{of}", name, np.where(known, np.asarray(r), np.nan)))
    limit = float(twin.problem.robust)
    figure = Figure(figsize=(MAP * len(maps), MAP), layout="constrained")
    for axes, (title, name, r) in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps):
        size = np.abs(r[np.isfinite(r)])
        most = max(LEAST, min(float(size.max(initial=0.0)), limit))
        label = "predicted less measured [standard deviations]"
        _map(figure, axes, r, label, most=most, note="not measured", aspect="auto")
        line = "word line" if name.startswith("i_in") else "bit line"
        note = axes.get_xlabel().removeprefix("bit line")
        rms = f"{np.sqrt(np.mean(size**2)):.3g} rms" if size.size else "not measured"
        at = np.argwhere(np.nan_to_num(np.abs(r)) > limit)
        if len(at):
            axes.plot(at[:, 1], at[:, 0], "x", color="0.5", markersize=8, markeredgewidth=2)
            rms += f"\n{len(at)} beyond {limit:g} deviations (crosses)"
        axes.set(title=f"{title}: {rms}", xlabel=line + note, ylabel="read")
    return figure


def _found(twin: Twin) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Numbers that were free, and their deviations, of those with an entry per cell."""
    leaves, stds = jax.tree.leaves(twin.crossbar), jax.tree.leaves(twin.std)
    found = {}
    for parameters in twin.problem.parameters:
        for name, place in zip(parameters.names, parameters.places):
            if np.ndim(leaves[place]) == 2:
                found[name] = np.asarray(leaves[place]), np.asarray(stds[place])
    return found


def _map(
    figure: Figure,
    axes: Axes,
    values: np.ndarray,
    label: str,
    *,
    most: float | None = None,
    note: str = "",
    aspect: Any = None,
) -> None:
    """A map with a colour bar, hatched where there is no finite number: on a symmetric scale up to
    `most`, or on that of the values."""
    hidden = ~np.isfinite(values)
    shown = np.ma.array(values, mask=hidden)
    rows, cols = values.shape
    square = 1 / SLENDER <= rows / cols <= SLENDER
    image = axes.imshow(
        shown,
        cmap=colormaps[CMAP].with_extremes(bad=(0, 0, 0, 0)),  # lets the hatching show
        vmin=None if most is None else -most,
        vmax=most,
        aspect=aspect or ("equal" if square else "auto"),
        interpolation="nearest",
    )
    if hidden.any():
        axes.patch.set(facecolor="white", edgecolor="0.5", hatch="xxx")
        axes.set_xlabel(f"bit line (hatched: {note})")
    whole_ticks(axes.xaxis, axes.yaxis)
    extend = "both" if most is not None and np.abs(shown).max() > most else "neither"
    # inset axes are as tall as the map; separate axes would not be
    beside = axes.inset_axes((1.03, 0, 0.05, 1))
    figure.colorbar(image, cax=beside, label=label, extend=extend)


def _height(width: float, shape: tuple[int, ...]) -> float:
    """Height [inch] of a row of maps, each `width` [inch] wide."""
    rows, cols = shape
    return 0.9 + (width - 1.4) * min(max(rows / cols, 1 / SLENDER), SLENDER)
