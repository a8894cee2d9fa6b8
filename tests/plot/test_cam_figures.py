"""Figures of searches: rows that match, units, bars at bounds, and no warnings."""

import io
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb

pytest.importorskip("matplotlib", reason="figures need the extra plot")
from matplotlib.figure import Figure

from xbarjax.plot import cam as plot
from xbarjax.systems.cam.search import Found

T_SENSE, V_PRE, V_REF = 2e-9, 0.8, 0.4
TS = np.linspace(0, 3e-9, 7)
TAU = np.array([1e-9, 50e-9, 0.8e-9])  # of rows, of which the second matches
G = np.full((3, 2), 1e-6)
CELL = xb.cam.Ternary2T2R(G, G, xb.Mosfet(1e-3, 0.2, 0.0))
TILE = xb.cam.Tile(CELL, v_pre=V_PRE, v_ref=V_REF, t_sense=T_SENSE)


def found(tau: np.ndarray = TAU) -> Found:
    """What rows show that fall as `exp(-t / tau)`."""
    v = V_PRE * np.exp(-T_SENSE / tau)
    zero = jnp.zeros(())
    return Found(
        v_sense=jnp.asarray(v),
        match=jnp.asarray(v > V_REF),
        margin=jnp.asarray(v - V_REF),
        t_fall=jnp.asarray(tau * np.log(V_PRE / V_REF)),
        v_match=jnp.asarray(V_PRE * np.exp(-TS[:, None] / tau)),
        gates=(),
        nodes=(),
        energy_match=zero,
        energy_static=zero,
        energy_latch=zero,
        energy_data=zero,
        status=jnp.zeros((), int),
    )


def batch(count: int = 4) -> Found:
    return jax.tree.map(lambda *x: jnp.stack(x), *(found(TAU * (1 + k)) for k in range(count)))


def save(figure: Figure) -> None:
    """Saved without a single warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), format="png")


def test_match_lines_fall_to_the_sense_time_and_on() -> None:
    figure = plot.match_lines(found(), TS, TILE)
    (axes,) = figure.axes
    rows = [line for line in axes.lines if np.size(line.get_xdata()) > 2]
    assert [line.get_linestyle() for line in rows] == ["--", "--", "-"]
    t = 1e-9 * np.asarray(rows[-1].get_xdata())  # shown in ns
    assert T_SENSE in t.round(15) and (np.diff(t) >= 0).all()
    np.testing.assert_allclose(
        np.asarray(rows[-1].get_ydata()), V_PRE * np.exp(-t / TAU[1]), rtol=1e-6
    )
    assert axes.get_xlabel().endswith("[ns]") and axes.get_ylabel().endswith("[V]")
    assert [x.get_text() for x in axes.texts] == ["rows 0, 2", "row 1"]
    legend: Any = axes.get_legend()
    assert [x.get_text() for x in legend.get_texts()] == ["matching rows: 1", "other rows: 2"]
    save(figure)


def test_margins_of_a_query_and_of_a_batch() -> None:
    figure = plot.margins(found())
    (axes,) = figure.axes
    heights = [bar.get_height() for bar in axes.patches]  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(heights, 1e3 * (V_PRE * np.exp(-T_SENSE / TAU) - V_REF), rtol=1e-6)
    assert axes.get_ylabel() == "above the reference [mV]"
    save(figure)
    many = batch()
    figure = plot.margins(many)
    (axes,) = figure.axes
    np.testing.assert_allclose(
        np.ma.asarray(axes.images[0].get_array()), 1e3 * many.margin.T, rtol=1e-6
    )
    dots = np.asarray(axes.lines[0].get_xydata()).astype(int)
    assert np.asarray(many.match)[tuple(dots.T)].all() and len(dots) == int(many.match.sum())
    figure = plot.searches(many, TS, TILE)
    assert [a.get_title() for a in figure.axes] == [
        "match lines of query 0 of 4",
        "margins (dots: match)",
    ]
    save(figure)


def test_intervals_have_bars_from_bound_to_bound() -> None:
    low = np.array([[0.16, 0.2], [0.25, -np.inf]])
    high = np.array([[0.25, 0.32], [np.inf, 0.25]])
    figure = plot.intervals(
        xb.cam.Bounds(jnp.asarray(low), jnp.asarray(high)),
        [0.2, 0.3],
        wanted=xb.cam.Bounds(jnp.asarray(low - 0.01), jnp.asarray(high)),
    )
    one, two = figure.axes
    bars: Any = one.patches
    assert [(b.get_x(), b.get_x() + b.get_width()) for b in bars[:1]] == [
        (pytest.approx(160), pytest.approx(250))
    ]
    # half-open intervals end at the edge of the panel
    assert bars[1].get_x() == pytest.approx(250)
    assert bars[1].get_x() + bars[1].get_width() == pytest.approx(one.get_xlim()[1])
    assert two.patches[1].get_x() == pytest.approx(two.get_xlim()[0])  # pyright: ignore[reportAttributeAccessIssue]
    assert bars[2].get_x() == pytest.approx(150) and bars[2].get_facecolor()[3] == 0
    # row 0 holds the query in both columns, row 1 in none
    assert bars[0].get_facecolor()[0] < 0.2 < bars[1].get_facecolor()[0]
    assert [line.get_xdata()[0] for line in (one.lines[0], two.lines[0])] == [  # pyright: ignore[reportIndexIssue]
        pytest.approx(200),
        pytest.approx(300),
    ]
    assert figure.get_supxlabel() == "voltage of the data line [mV]"
    save(figure)


def test_windows_over_the_data_line() -> None:
    many, v = batch(), np.linspace(0.1, 0.4, 4)
    figure = plot.windows(many, v, TILE)
    (axes,) = figure.axes
    for k in range(3):
        np.testing.assert_allclose(np.asarray(axes.lines[k].get_ydata()), many.v_sense[:, k])
        np.testing.assert_allclose(np.asarray(axes.lines[k].get_xdata()), v)
    assert len({(x.get_linestyle(), x.get_color()) for x in axes.lines[:3]}) == 3
    save(figure)


@pytest.mark.parametrize(
    "draw, said",
    [
        (lambda: plot.match_lines(batch(), TS, TILE), "pick one query"),
        (lambda: plot.match_lines(found(), TS[1:], TILE), "ts has shape (6,), but found has 7"),
        (lambda: plot.searches(found(), TS, TILE), "searches are a batch"),
        (lambda: plot.windows(batch(), TS, TILE), "v has shape (7,) and found (4, 3)"),
        (lambda: plot.intervals(xb.cam.Bounds(*jnp.zeros((2, 3)))), "must be (rows, cols)"),
        (
            lambda: plot.intervals(xb.cam.Bounds(*jnp.zeros((2, 3, 2))), [1.0]),
            "query has shape (1,); the bounds have 2 columns",
        ),
    ],
)
def test_what_does_not_fit_is_refused(draw: Any, said: str) -> None:
    with pytest.raises(ValueError) as error:
        draw()
    assert said in str(error.value)
