"""Figures of solved and compensated arrays.

Every function returns a new `matplotlib.figure.Figure` and touches no global state: save it with
`figure.savefig(...)`, or leave it as the last line of a notebook cell. The colour map is monotonic
in lightness and lines differ by marker, so that figures can be printed in grey.
"""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from ..kirchhoff.solution import Solution
from ..programming.compensation import Compensation

CMAP = "cividis"
PREFIXES = {1.0: "", 1e-3: "m", 1e-6: "µ", 1e-9: "n", 1e-12: "p"}
DARK, LIGHT = "0.1", "0.55"
FLOOR = 1e-17  # position of an error of exactly 0 on a log axis
SLENDER = 2.0  # aspect ratio up to which cells are drawn square
MANY = 48  # number of columns beyond which markers would touch


def voltages(solution: Solution) -> Figure:
    """Maps of the node voltages of word lines and bit lines, in V, mV or smaller.

    Floating nodes are hatched. Raises `ValueError` for a batch of solutions.
    """
    _require_single(solution)
    figure = Figure(figsize=(9, _height(4.5, solution)), layout="constrained")
    left, right = figure.subplots(1, 2)
    _map(figure, left, solution.v_row, "word-line", "voltage", solution.floating_row)
    _map(figure, right, solution.v_col, "bit-line", "voltage", solution.floating_col)
    return figure


def drops(solution: Solution) -> Figure:
    """Maps of the IR drop: the drop of word-line nodes below their sources, the rise of bit-line
    nodes above their readouts, and the remaining voltage across each cell, in V, mV or smaller.

    Floating nodes are hatched. Raises `ValueError` for a batch of solutions.
    """
    _require_single(solution)
    figure = Figure(figsize=(12, _height(4.0, solution)), layout="constrained")
    _draw_drops(figure, solution)
    return figure


def currents(solution: Solution, *, ideal: Any = None) -> Figure:
    """Output current of every bit line, and its deviation from `ideal` if that is given, in A, mA
    or smaller.

    **Arguments:**

    - `solution`: of one read.
    - `ideal`: currents [A] for comparison, `(cols,)`, for example `v_in @ g`.

    Raises `ValueError` for a batch of solutions and for an `ideal` of another shape.
    """
    _require_single(solution)
    figure = Figure(figsize=(7, 3.2 if ideal is None else 5), layout="constrained")
    _draw_currents(figure, solution, ideal)
    return figure


def overview(solution: Solution, *, ideal: Any = None) -> Figure:
    """Overview of a read: `drops` above `currents`, with the same arguments and errors."""
    _require_single(solution)
    maps, lines = _height(4.0, solution), 3.8
    figure = Figure(figsize=(12, maps + lines), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(maps, lines))
    _draw_drops(parts[0], solution)
    _draw_currents(parts[1], solution, ideal)
    return figure


def compensation(result: Compensation) -> Figure:
    """Four panels of a compensation: the relative error of the weights per column, before and
    after; the error per step; the part of the conductance range that each column uses; and the
    cells saturated at a bound."""
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    (errors, steps), (ranges, cells) = figure.subplots(2, 2)

    before, after = np.asarray(result.before.error), np.asarray(result.after.error)
    _columns(errors, _on_log(before), "o", LIGHT, "before")
    _columns(errors, _on_log(after), "s", DARK, "after")
    errors.set_yscale("log")
    floor = " (0 drawn at the bottom)" if min(before.min(), after.min()) < FLOOR else ""
    errors.set(title="error of the weights", ylabel=f"relative rms error{floor}")
    _legend(errors)

    history = np.asarray(result.history)
    steps.plot(np.arange(1, len(history) + 1), _on_log(history), "o-", color=DARK, markersize=3)
    steps.set_yscale("log")
    state = "reached" if result.reached else "not reached"
    steps.set(title=f"convergence: target {state}", xlabel="step", ylabel="relative error or loss")
    steps.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))

    used = 100 * np.asarray(result.after.used)
    full = used >= 100 * (1 - 1e-9)
    before_used = 100 * np.asarray(result.before.used)
    _columns(ranges, before_used, "o", LIGHT, "before")
    _columns(ranges, used, "s", DARK, "after")
    if full.any():
        at = np.flatnonzero(full)
        ranges.plot(at, used[full], "x", color="black", markersize=11, label="at a bound")
    ranges.axhline(100, color="black", linewidth=0.8, linestyle=":")
    top = 1.12 * max(100.0, float(used.max()), float(before_used.max()))
    ranges.set(title="conductance range used", ylabel="part of the range [%]", ylim=(0, top))
    _legend(ranges)

    saturated = np.asarray(result.after.saturated)
    arrays, rows, physical = saturated.shape
    marks = ("s", "x", "^", "+")
    for index, array in enumerate(saturated):
        where = np.argwhere(array)
        if len(where):
            label = f"array {index}: {len(where)}"
            cells.plot(
                where[:, 1],
                where[:, 0],
                marks[index % len(marks)],
                color=DARK,
                markerfacecolor="none",
                markersize=6,
                label=label,
            )
    cells.set(
        xlim=(-0.5, physical - 0.5),
        ylim=(rows - 0.5, -0.5),
        title=f"saturated cells: {int(saturated.sum())} of {arrays * rows * physical}",
        xlabel="bit line of the physical array",
        ylabel="word line",
    )
    whole_ticks(cells.xaxis, cells.yaxis)
    if saturated.any():
        cells.legend(fontsize="small")  # framed, since it may cover cells
    else:
        cells.text(0.5, 0.5, "none", transform=cells.transAxes, ha="center", va="center")
    return figure


def _draw_drops(figure: Figure | SubFigure, solution: Solution) -> None:
    row, col, across = figure.subplots(1, 3)
    floating_row = np.asarray(solution.floating_row)
    floating_col = np.asarray(solution.floating_col)
    _map(figure, row, solution.drop_row, "word-line", "drop", floating_row)
    _map(figure, col, solution.drop_col, "bit-line", "rise", floating_col)
    seen = np.asarray(solution.v_row) - np.asarray(solution.v_col)
    _map(figure, across, seen, "cell", "voltage", floating_row | floating_col)


def _draw_currents(figure: Figure | SubFigure, solution: Solution, ideal: Any) -> None:
    i_out = np.asarray(solution.i_out)
    if ideal is None:
        above = figure.subplots()
        scale, prefix = prefix_of(i_out)
        _columns(above, i_out / scale, "s", DARK, "array")
    else:
        wanted = np.asarray(ideal)
        if wanted.shape != i_out.shape:
            raise ValueError(
                f"ideal has shape {wanted.shape}, but the array has {i_out.size} bit lines; ideal"
                f" must have shape {i_out.shape}."
            )
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.6, 1))
        scale, prefix = prefix_of(np.stack([i_out, wanted]))
        _columns(above, wanted / scale, "o", LIGHT, "ideal")
        _columns(above, i_out / scale, "s", DARK, "array")
        _legend(above)
        off = i_out - wanted
        off_scale, off_prefix = prefix_of(off)
        _columns(below, off / off_scale, "s", DARK, None)
        below.axhline(0, color="black", linewidth=0.8)
        below.set_ylabel(f"array - ideal [{off_prefix}A]")
        above.set_xlabel("")
    above.set(title="output current", ylabel=f"current [{prefix}A]")


def _map(
    figure: Figure | SubFigure, axes: Axes, values: Any, of: str, quantity: str, floating: Any
) -> None:
    """A map over the array, with a colour bar in V or a smaller unit."""
    values, floating = np.asarray(values), np.asarray(floating)
    shown = np.ma.array(values, mask=floating)
    scale, prefix = prefix_of(values[~floating])
    cmap = colormaps[CMAP].with_extremes(bad=(0, 0, 0, 0))  # lets the hatching show
    rows, cols = values.shape
    aspect = "equal" if 1 / SLENDER <= rows / cols <= SLENDER else "auto"
    image = axes.imshow(shown / scale, cmap=cmap, aspect=aspect, interpolation="nearest")
    if floating.any():
        axes.patch.set(facecolor="white", edgecolor="0.5", hatch="xxx")
    note = " (hatched: floating nodes)" if floating.any() else ""
    axes.set(title=f"{of} {quantity}", xlabel=f"bit line{note}", ylabel="word line")
    whole_ticks(axes.xaxis, axes.yaxis)
    # inset axes are as tall as the map; separate axes would not be
    beside = axes.inset_axes((1.03, 0, 0.05, 1))
    figure.colorbar(image, cax=beside, label=f"{quantity} [{prefix}V]")


def _height(width: float, solution: Solution) -> float:
    """Height [inch] of a row of maps, each `width` [inch] wide, that leaves little white space."""
    rows, cols = solution.drop_row.shape
    return 0.9 + (width - 1.4) * min(max(rows / cols, 1 / SLENDER), SLENDER)


def _columns(axes: Axes, values: np.ndarray, marker: str, color: str, label: str | None) -> None:
    """A plot of one value per bit line, with markers unless there are too many bit lines."""
    few = len(values) <= MANY
    fill = "none" if marker == "o" else color
    axes.plot(
        np.arange(len(values)),
        values,
        marker=marker if few else "",
        linestyle="--" if marker == "o" else "-",
        linewidth=0.8 if few else 1.2,
        color=color,
        markerfacecolor=fill,
        markersize=7 if marker == "o" else 4,
        label=label,
    )
    axes.set_xlabel("bit line")
    axes.margins(x=0.03)
    whole_ticks(axes.xaxis)


def whole_ticks(*axes: Any) -> None:
    for axis in axes:
        axis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, ncols=3, fontsize="small")


def prefix_of(values: np.ndarray) -> tuple[float, str]:
    """The scale and SI prefix with which the largest value is 1 to 1000."""
    largest = np.max(np.abs(values), initial=0.0)
    fitting = [(scale, prefix) for scale, prefix in PREFIXES.items() if largest >= scale]
    if largest == 0:
        return 1.0, ""
    return fitting[0] if fitting else (1e-12, "p")


def _on_log(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, FLOOR)


def _require_single(solution: Solution) -> None:
    if solution.drop_row.ndim != 2:
        batch = solution.drop_row.shape[:-2]
        raise ValueError(
            f"solution is a batch of shape {batch}; pick one solution, for example by"
            " jax.tree.map(lambda x: x[0], solution)."
        )
