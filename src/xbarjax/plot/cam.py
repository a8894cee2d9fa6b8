"""Figures of searches in content-addressable memories: match lines, margins, bounds and windows.
Every function returns a new figure."""

from typing import Any

import jax
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..systems.cam.bounds import Bounds
from ..systems.cam.search import Found
from ..systems.cam.tile import Tile
from .arrays import CMAP, DARK, LIGHT, prefix_of, whole_ticks

NAMED = 8  # number of lines up to which each has its row beside it
DOTS = 2500  # number of matches in a map up to which each has a dot
MARGIN = 0.08  # of the range of bounds, beyond which an interval is open


def match_lines(found: Found, ts: Any, tile: Tile) -> Figure:
    """Voltages of the match lines in time: solid for rows that match, dashed for the others.

    The dotted lines are the reference of the comparators and the sense time.

    **Arguments:**

    - `found`: of `xb.cam.search(tile, query, ts)`, of one query.
    - `ts`: the times [s].
    - `tile`: the memory.

    Raises `ValueError` for a batch and for other times than those of the search.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    _draw_match_lines(figure.subplots(), found, ts, tile)
    return figure


def margins(found: Found) -> Figure:
    """Margins of a search: voltages of the match lines above the references at the sense time.

    One query has a bar per row, dark where the row matches. A batch of queries, `(queries,)`, has a
    map, with a dot where a row matches.

    Raises `ValueError` for a batch of more than one axis.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    _draw_margins(figure, figure.subplots(), found)
    return figure


def searches(found: Found, ts: Any, tile: Tile) -> Figure:
    """Overview of a batch of searches: `match_lines` of the first query beside `margins` of all.

    Raises `ValueError` unless `found` is a batch of one axis, with voltages at the times `ts` [s].
    """
    if found.margin.ndim != 2:
        raise ValueError(
            f"found has margins of shape {found.margin.shape}; searches are a batch: (queries,"
            " rows)."
        )
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_match_lines(left, jax.tree.map(lambda x: x[0], found), ts, tile)
    left.set_title(f"match lines of query 0 of {len(found.margin)}")
    _draw_margins(figure, right, found)
    return figure


def intervals(bounds: Bounds, query: Any = None, *, wanted: Bounds | None = None) -> Figure:
    """Intervals of a memory: one panel per column, in which each row has a bar from its lower to
    its upper bound.

    A bound at -inf or inf goes to the edge of the panel. With a query, a line marks the voltage of
    each column; dark rows have it in all of their intervals, and light ones do not.

    **Arguments:**

    - `bounds`: [V], of `xb.cam.bounds(tile)`, or any `xb.cam.Bounds`.
    - `query`: voltages [V] of the data lines, `(cols,)`.
    - `wanted`: other bounds [V], drawn as frames around the bars.

    Raises `ValueError` for shapes that do not fit.
    """
    low, high = np.asarray(bounds.low), np.asarray(bounds.high)
    if low.ndim != 2:
        raise ValueError(f"bounds have shape {low.shape}; they must be (rows, cols).")
    rows, cols = low.shape
    if wanted is not None and np.shape(wanted.low) != low.shape:
        raise ValueError(f"wanted has shape {np.shape(wanted.low)}; the bounds have {low.shape}.")
    asked = None if query is None else np.asarray(query)
    if asked is not None and asked.shape != (cols,):
        raise ValueError(f"query has shape {asked.shape}; the bounds have {cols} columns.")
    every = [low, high, *([] if wanted is None else map(np.asarray, wanted))]
    every += [] if asked is None else [asked]
    first, last = _span(every)
    scale, prefix = prefix_of(np.array([first, last]))
    inside = np.ones(rows, bool)
    if asked is not None:
        inside = np.all((low <= asked) & (asked < high), axis=1)
    colors = [DARK if x and asked is not None else LIGHT for x in inside]
    size = (max(3.0, 1.2 + 1.5 * cols), 0.9 + min(max(0.16 * rows, 1.6), 8.0))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, cols, sharey=True, squeeze=False)[0]
    for k, axes in enumerate(panels):
        _bars(axes, low[:, k], high[:, k], (first, last), scale, color=colors, height=0.6)
        if wanted is not None:
            a, b = (np.asarray(x)[:, k] for x in wanted)
            frame = {"facecolor": "none", "edgecolor": "black", "linewidth": 0.9}
            _bars(axes, a, b, (first, last), scale, height=0.86, **frame)
        if asked is not None:
            axes.axvline(asked[k] / scale, color="black", linestyle=":", linewidth=1.3)
        axes.set(title=f"column {k}", xlim=(first / scale, last / scale))
        whole_ticks(axes.yaxis)
    panels[0].set(ylabel="row", ylim=(rows - 0.5, -0.5))
    figure.supxlabel(f"voltage of the data line [{prefix}V]", fontsize="medium")
    shown: list[Any] = [Patch(color=LIGHT, label="interval")]
    if asked is not None:
        shown = [Patch(color=DARK, label="holds the query"), Patch(color=LIGHT, label="does not")]
        shown.append(Line2D([], [], color="black", linestyle=":", label="query"))
    if wanted is not None:
        shown.append(Patch(facecolor="none", edgecolor="black", label="wanted"))
    if len(shown) > 1:
        figure.legend(handles=shown, loc="outside upper center", ncols=4, fontsize="small")
    return figure


def windows(found: Found, v: Any, tile: Tile) -> Figure:
    """Windows of cells: voltages of the match lines at the sense time over the voltage of the data
    lines. A row matches where its voltage is above the reference, the dotted line.

    **Arguments:**

    - `found`: of a batch of searches, one per voltage, of a tile with one column or with the same
        voltage on all.
    - `v`: the voltages [V], `(queries,)`.
    - `tile`: the memory.

    Raises `ValueError` for another number of voltages.
    """
    asked, seen = np.asarray(v), np.asarray(found.v_sense)
    if seen.ndim != 2 or asked.shape != seen.shape[:1]:
        raise ValueError(
            f"v has shape {asked.shape} and found {seen.shape}; they must be (queries,) and"
            " (queries, rows)."
        )
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    rows = seen.shape[1]
    for k in range(rows):
        style = ("-", "--", "-.", ":")[k % 4]
        label = f"row {k}" if rows <= NAMED else None
        axes.plot(asked, seen[:, k], style, color=str(0.6 * k / max(rows - 1, 1)), label=label)
    axes.axhline(float(tile.v_ref), color="0.4", linestyle=":", linewidth=1)
    axes.set(xlabel="voltage of the data line [V]", ylabel="match line at the sense time [V]")
    axes.set_ylim(bottom=min(0.0, float(np.nanmin(seen))))
    if rows <= NAMED:
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def _draw_match_lines(axes: Axes, found: Found, ts: Any, tile: Tile) -> None:
    v, t = np.asarray(found.v_match), np.asarray(ts)
    if v.ndim != 2:
        raise ValueError(
            f"found has voltages of shape {v.shape}; pick one query, for example by"
            " jax.tree.map(lambda x: x[0], found)."
        )
    if t.shape != v.shape[:1] or not t.size:
        raise ValueError(
            f"ts has shape {t.shape}, but found has {len(v)} times: pass those of"
            " xb.cam.search(tile, query, ts)."
        )
    t, v = _with_sense(t, v, found, tile)
    scale, prefix = prefix_of(t)
    match = np.asarray(found.match)
    for k in np.argsort(match, kind="stable"):  # rows that match above the others
        color, line = (DARK, "-") if match[k] else (LIGHT, "--")
        axes.plot(t / scale, v[:, k], line, color=color, linewidth=1.1)
    if len(match) <= NAMED:
        for rows, x in _groups(v[-1], 0.06 * float(tile.v_pre)):
            name = f"row{'s' * (len(rows) > 1)} {', '.join(map(str, rows))}"
            at = ("axes fraction", "data")
            axes.annotate(name, (1.01, x), xycoords=at, va="center", fontsize="small")
    axes.axhline(float(tile.v_ref), color="0.4", linestyle=":", linewidth=1)
    axes.axvline(float(tile.t_sense) / scale, color="0.4", linestyle=":", linewidth=1)
    axes.set(
        title="match lines",
        xlabel=f"time since the precharge [{prefix}s]",
        ylabel="voltage at the amplifier [V]",
        xlim=(0, t[-1] / scale),
        ylim=(0, 1.05 * float(tile.v_pre)),
    )
    count = int(match.sum())
    lines = [Line2D([], [], color=DARK, label=f"matching rows: {count}")]
    lines.append(
        Line2D([], [], color=LIGHT, linestyle="--", label=f"other rows: {match.size - count}")
    )
    axes.legend(handles=lines, fontsize="small", loc="best")


def _with_sense(t: Any, v: Any, found: Found, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """Times and voltages with those of the precharge and of the sense time, in order."""
    t = np.concatenate([[0.0], t, [float(tile.t_sense)]])
    v_pre = np.full((1, v.shape[1]), float(tile.v_pre))
    v = np.concatenate([v_pre, v, np.asarray(found.v_sense)[None]])
    order = np.argsort(t, kind="stable")
    return t[order], v[order]


def _groups(v: np.ndarray, apart: float) -> list[tuple[list[int], float]]:
    """Lines that end within `apart` [V] of the lowest of a group, and where it is."""
    groups: list[tuple[list[int], float]] = []
    for k in np.argsort(v, kind="stable"):
        if groups and v[k] - groups[-1][1] < apart:
            groups[-1][0].append(int(k))
        else:
            groups.append(([int(k)], float(v[k])))
    return [(sorted(rows), x) for rows, x in groups]


def _draw_margins(figure: Figure, axes: Axes, found: Found) -> None:
    margin, match = np.asarray(found.margin), np.asarray(found.match)
    if margin.ndim > 2:
        raise ValueError(f"found has margins of shape {margin.shape}; give (queries, rows).")
    if margin.ndim == 1:
        scale, prefix = prefix_of(margin)
        colors = [DARK if x else "0.75" for x in match]
        axes.bar(np.arange(len(margin)), margin / scale, color=colors, edgecolor=DARK, width=0.7)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(title="margins at the sense time (dark: match)", xlabel="row")
        axes.set_ylabel(f"above the reference [{prefix}V]")
        whole_ticks(axes.xaxis)
        return
    scale, prefix = prefix_of(margin)
    image = axes.imshow(
        margin.T / scale, cmap=colormaps[CMAP], aspect="auto", interpolation="nearest"
    )
    dotted = match.any() and match.sum() <= DOTS
    if dotted:
        asked, row = np.nonzero(match)
        most = max(margin.shape)
        axes.plot(asked, row, "o", color="black", mfc="white", markersize=max(1.5, 6 - most / 30))
    axes.set(title=f"margins{' (dots: match)' if dotted else ''}", xlabel="query", ylabel="row")
    whole_ticks(axes.xaxis, axes.yaxis)
    beside = axes.inset_axes((1.03, 0, 0.05, 1))
    figure.colorbar(image, cax=beside, label=f"above the reference [{prefix}V]")


def _span(every: list[np.ndarray]) -> tuple[float, float]:
    """The range [V] of finite numbers, and some beyond."""
    finite = np.concatenate([x[np.isfinite(x)].ravel() for x in every])
    if not finite.size:
        return 0.0, 1.0
    first, last = float(finite.min()), float(finite.max())
    room = MARGIN * ((last - first) or abs(last) or 1.0)
    return first - room, last + room


def _bars(
    axes: Axes,
    low: np.ndarray,
    high: np.ndarray,
    span: tuple[float, float],
    scale: float,
    **style: Any,
) -> None:
    a, b = np.clip(low, *span) / scale, np.clip(high, *span) / scale
    axes.barh(np.arange(len(a)), np.maximum(b - a, 0), left=a, **style)
