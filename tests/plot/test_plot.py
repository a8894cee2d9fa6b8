"""Figures: labelled, in units that fit, without warnings, and savable."""

import io
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb

pytest.importorskip("matplotlib", reason="figures need the extra plot")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xbarjax.plot import arrays as plot

ROWS, COLS = 3, 4


def array(r: float = 10.0, *, island: bool = False) -> xb.Crossbar:
    rng = np.random.default_rng(0)
    g, r_row = rng.uniform(1e-6, 1e-4, (ROWS, COLS)), np.full((ROWS, COLS), r)
    if island:
        g[1, 1], r_row[1, 1:3] = 0, np.inf
    return xb.Crossbar(xb.Ohmic(jnp.asarray(g)), xb.Wires(jnp.asarray(r_row), r))


@pytest.fixture(scope="module")
def solution() -> xb.Solution:
    return xb.read(array(), jnp.array([0.1, 0.2, 0.3]))


@pytest.fixture(scope="module")
def floating() -> xb.Solution:
    with pytest.warns(UserWarning, match="no path"):
        return xb.read(array(island=True), jnp.array([0.1, 0.2, 0.3]))


@pytest.fixture(scope="module")
def result() -> xb.Compensation:
    weights = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (ROWS, COLS)))
    return xb.compensate(
        weights,
        xb.DifferentialPair(1e-6, 1e-4),
        lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(200.0, 200.0)),
        method=xb.FixedPoint(free_gain=False, max_steps=4),
    )


def save(figure: Figure, kind: str = "png") -> bytes:
    """Saved without a single warning."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(stream, format=kind)
    return stream.getvalue()


def bars(figure: Figure) -> list[str]:
    """Labels of the colour bars, which are inset in their maps."""
    return [child.get_ylabel() for axes in figure.axes for child in axes.child_axes]


def shown_in(axes: Axes) -> np.ma.MaskedArray:
    """The numbers of a map."""
    return np.ma.asarray(axes.images[0].get_array())


def heights(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata())


def test_voltages_are_maps_of_both_families(solution):
    figure = plot.voltages(solution)
    assert [a.get_title() for a in figure.axes] == ["word-line voltage", "bit-line voltage"]
    for axes in figure.axes:
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("bit line", "word line")
    assert bars(figure) == ["voltage [mV]", "voltage [µV]"]
    shown = shown_in(figure.axes[0])
    np.testing.assert_allclose(shown, 1e3 * solution.v_row, rtol=1e-12)


def test_drops_show_what_the_wires_take_and_what_is_left(solution):
    figure = plot.drops(solution)
    row, col, seen = map(shown_in, figure.axes)
    assert [label.split()[0] for label in bars(figure)] == ["drop", "rise", "voltage"]
    assert all(label.endswith("V]") for label in bars(figure))
    units = {"m": 1e3, "µ": 1e6}
    factors = [units[label[label.index("[") + 1]] for label in bars(figure)]
    np.testing.assert_allclose(row, factors[0] * solution.drop_row, rtol=1e-12)
    np.testing.assert_allclose(col, factors[1] * solution.drop_col, rtol=1e-12)
    np.testing.assert_allclose(seen, factors[2] * (solution.v_row - solution.v_col), rtol=1e-12)


def test_floating_nodes_are_masked_and_said(floating):
    figure = plot.drops(floating)
    row, col, seen = figure.axes
    np.testing.assert_array_equal(shown_in(row).mask, floating.floating_row)
    assert "floating" in row.get_xlabel() and "floating" in seen.get_xlabel()
    assert "floating" not in col.get_xlabel()
    save(figure)


def test_currents_alone_and_against_ideal(solution):
    (alone,) = plot.currents(solution).axes
    assert alone.get_ylabel() == "current [µA]" and alone.get_xlabel() == "bit line"
    ideal = solution.i_out + 2e-9
    above, below = plot.currents(solution, ideal=ideal).axes
    legend = above.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["ideal", "array"]
    np.testing.assert_allclose(heights(above.lines[1]), 1e6 * solution.i_out, rtol=1e-12)
    assert below.get_ylabel() == "array - ideal [nA]"
    np.testing.assert_allclose(heights(below.lines[0]), -2, rtol=1e-6)


def test_overview_is_both(solution):
    figure = plot.overview(solution, ideal=solution.i_out)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["word-line drop", "bit-line rise", "cell voltage", "output current"]


def test_compensation_marks_saturated_cells(result):
    figure = plot.compensation(result)
    errors, steps, ranges, cells = figure.axes
    assert errors.get_yscale() == steps.get_yscale() == "log"
    np.testing.assert_allclose(heights(errors.lines[1]), result.after.error)
    np.testing.assert_allclose(heights(steps.lines[0]), result.history)
    assert ranges.get_ylabel() == "part of the range [%]"
    count = int(np.sum(result.after.saturated))
    assert count > 0, "the example must saturate"
    assert cells.get_title() == f"saturated cells: {count} of {2 * ROWS * COLS}"
    assert sum(np.size(line.get_xdata()) for line in cells.lines) == count
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)


@pytest.mark.parametrize("kind, start", [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_figures_save_without_warnings(solution, result, kind, start):
    for figure in (
        plot.voltages(solution),
        plot.overview(solution, ideal=solution.i_out),
        plot.compensation(result),
    ):
        assert save(figure, kind).startswith(start)


def test_nothing_to_show_is_still_a_figure():
    still = xb.read(array(0.0), jnp.zeros(ROWS))
    figure = plot.overview(still, ideal=np.zeros(COLS))
    assert bars(figure) == ["drop [V]", "rise [V]", "voltage [V]"]
    save(figure)


def test_errors_of_zero_are_drawn_at_the_bottom(result):
    flat = jax.tree.map(jnp.zeros_like, result.after)
    exact = xb.Compensation(result.g, result.gain, result.k, flat, flat, (0.0,), True)
    figure = plot.compensation(exact)
    assert "0 drawn at the bottom" in figure.axes[0].get_ylabel()
    save(figure)


def test_wide_arrays_have_lines_without_markers(solution, monkeypatch):
    monkeypatch.setattr(plot, "MANY", COLS - 1)
    figure = plot.currents(solution)
    assert figure.axes[0].lines[0].get_marker() == ""
    save(figure)


def test_what_cannot_be_drawn_is_refused(solution):
    batch = jax.tree.map(lambda x: jnp.stack([x, x]), solution)
    for draw in (plot.voltages, plot.drops, plot.currents, plot.overview):
        with pytest.raises(ValueError, match="pick one"):
            draw(batch)
    with pytest.raises(ValueError, match=r"ideal has shape \(3,\).*\(4,\)"):
        plot.currents(solution, ideal=np.zeros(3))
