"""Figures of identified arrays: the numbers found, what no read shows, and the residuals."""

import io
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb

pytest.importorskip("matplotlib", reason="figures need the extra plot")
from matplotlib.figure import Figure

from xbarjax.plot import twin as plot

ROWS, COLS, READS = 3, 4, 10
HIDDEN, BAD, MISSING = 2, (4, 1), (6, 3)
G = np.random.default_rng(0).uniform(2e-5, 9e-5, (ROWS, COLS))


@pytest.fixture(scope="module")
def twin() -> xb.Twin:
    """Of an array with ideal wires, whose currents are a product, in two parts: without column 2,
    with a bad reading and a missing one."""
    rng = np.random.default_rng(1)
    parts = []
    for _ in range(2):
        v = rng.uniform(-0.2, 0.2, (READS, ROWS))
        i = v @ G + rng.normal(0, 1e-9, (READS, COLS))
        i[:, HIDDEN] = np.nan
        parts.append((v, i))
    parts[0][1][BAD] += 1e-6
    parts[0][1][MISSING] = np.nan
    measured = [xb.Measured(v, {"i_out": i}, 1e-9) for v, i in parts]
    crossbar = xb.Crossbar(xb.Ohmic(jnp.full((ROWS, COLS), 5e-5)))
    return xb.identify(measured, crossbar, xb.Unknown(lambda c: c.cell.g))


def save(figure: Figure) -> None:
    """Saved without a single warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), format="png")


def shown_in(figure: Figure, k: int) -> np.ma.MaskedArray:
    return np.ma.asarray(figure.axes[k].images[0].get_array())


def bars(figure: Figure) -> list[str]:
    return [child.get_ylabel() for axes in figure.axes for child in axes.child_axes]


def test_cells_and_their_relative_deviations(twin):
    figure = plot.parameter_map(twin)
    assert [axes.get_title() for axes in figure.axes] == [
        "cell.g found",
        "relative standard deviation",
    ]
    assert bars(figure) == ["conductance [µS]", "deviation of the value [%]"]
    found, relative = shown_in(figure, 0), shown_in(figure, 1)
    seen = np.arange(COLS) != HIDDEN
    np.testing.assert_allclose(found[:, seen], 1e6 * G[:, seen], rtol=1e-3)
    np.testing.assert_array_equal(relative.mask, np.broadcast_to(~seen, (ROWS, COLS)))
    # least squares of all good readings, in closed form
    (a, b), good = twin.problem.measured, np.arange(READS) != BAD[0]
    v = np.concatenate([np.asarray(a.v_row)[good], np.asarray(b.v_row)])
    std = 1e-9 * np.sqrt(np.diag(np.linalg.inv(v.T @ v)))
    np.testing.assert_allclose(relative[:, 1], 100 * std / G[:, 1], rtol=0.02)
    for axes in figure.axes:
        assert axes.get_ylabel() == "word line" and axes.get_xlabel().startswith("bit line")
    assert "no read shows it" in figure.axes[1].get_xlabel()
    save(figure)


def test_residuals_over_reads_and_lines(twin):
    figure = plot.residuals(twin)
    assert len(figure.axes) == 2
    first, second = shown_in(figure, 0), shown_in(figure, 1)
    mask = np.ma.getmaskarray(first)
    assert mask[:, HIDDEN].all() and mask[MISSING] and mask.sum() == READS + 1
    predicted = np.asarray(twin.problem.measured[1].v_row) @ np.asarray(twin.crossbar.cell.g)
    off = (predicted - np.asarray(twin.problem.measured[1].sensed["i_out"])) / 1e-9
    np.testing.assert_allclose(second[:, 0], off[:, 0], atol=1e-6)
    assert first[BAD] == pytest.approx(-1000, rel=0.02)
    for axes in figure.axes:
        low, high = axes.images[0].get_clim()
        assert low == -high  # no residual is the middle of the scale
        assert (axes.get_ylabel(), axes.get_xlabel()) == (
            "read",
            "bit line (hatched: not measured)",
        )
    assert figure.axes[0].images[0].get_clim() == (-5, 5)  # a bad reading hides no other
    (crosses,) = figure.axes[0].lines
    assert np.array_equal(np.ravel(crosses.get_xydata()), BAD[::-1])
    assert "1 beyond 5 deviations" in figure.axes[0].get_title()
    assert figure.axes[1].get_title().startswith("i_out, measured[1]: ")
    assert set(bars(figure)) == {"predicted less measured [standard deviations]"}
    save(figure)


def test_numbers_that_were_not_free_are_refused(twin):
    with pytest.raises(ValueError, match="name is 'wires.r_row'; it must be one of cell.g"):
        plot.parameter_map(twin, "wires.r_row")
