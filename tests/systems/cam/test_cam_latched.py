"""Latched cells against ngspice, differences and their own bounds."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from golden import CAM
from golden.cam import G_LATCHED, LATCHED_QUERIES
from xbarjax.systems import cam
from xbarjax.systems.cam.cell import Steps


def transistor(w: float, v_t: float) -> xb.Mosfet:
    return xb.Mosfet(w * 2.5e-4, v_t, 0.0, 1.3, 0.05, temperature=300.15)


def cells(g_low: Any, g_high: Any, **numbers: Any) -> cam.AnalogLatched:
    fets = transistor(4, 0.2), transistor(1, 0.3), transistor(1, 0.2)
    return cam.AnalogLatched(g_low, g_high, *fets, **{"t_latch": 4e-9} | numbers)


@pytest.mark.parametrize(
    "name", ["latched_ekv_8", pytest.param("latched_tile", marks=pytest.mark.slow)]
)
def test_races_and_searches_are_as_ngspice_has_them(name: str) -> None:
    """Nodes in time and search lines to 1e-3 of the supply, match lines to 1e-3 of the precharge,
    times of falls to 1e-3. The second has search lines with resistance."""
    record = CAM.load(name)
    x, want = record["inputs"], record["outputs"]
    numbers = {k: x[k] for k in ("v_high", "v_gate", "t_latch", "c_node", "c_inner")}
    names = "r_match", "r_low", "c_match", "c_sense", "v_pre", "v_ref"
    tile = cam.Tile(
        cells(x["one"], x["two"], **numbers), **{k: x[k] for k in names}, t_sense=x["end"]
    )
    found = cam.race(tile, x["query"], want["t_race"], rtol=1e-6)
    seen = {"low_mem": found.low.mem, "low_data": found.low.data}
    seen |= {"high_mem": found.high.mem, "high_data": found.high.data}
    for key, v in seen.items():
        assert np.abs(np.asarray(v) - want[key]).max() < 1e-3 * x["v_high"], key
    largest = np.abs(want["v_low"]).max()
    assert np.abs(found.v_low - want["v_low"]).max() < 1e-3 * max(largest, 1e-6)
    after = cam.search(tile, x["query"], want["t"])
    assert np.abs(after.v_match - want["v"]).max() < 1e-3 * x["v_pre"]
    np.testing.assert_allclose(after.t_fall, want["t_fall"], rtol=1e-3)
    assert np.isinf(after.t_fall[0]) and np.isfinite(after.t_fall[1:]).all()
    assert 0 < float(after.energy_latch) < 4 * x["one"].size * 1.5e-15 * x["v_high"] ** 2


def judged(x: tuple[cam.Tile, Any]) -> Any:
    """A sum of gates [V], with weights, before the latches have decided, and of what is lost."""
    tile, query = x
    at = tile.cell.evaluated(query, tile.search_lines, Steps(jnp.asarray(1e-7), 8192))
    weights = np.random.default_rng(1).uniform(0.5, 1.5, (2, *tile.shape))
    gates = sum(jnp.sum(w * v) for w, v in zip(weights, at.gates))
    return gates + 1e13 * at.energy + 10 * jnp.sum(at.nodes[0].v_low)


def test_gradients_are_differences() -> None:
    stored = np.array([[2, 5], [3, 4], [6, 1]])
    cell = cells(G_LATCHED[stored], G_LATCHED[stored + 1], t_latch=4e-10)
    x = cam.Tile(cell, r_low=2e3), jnp.asarray(LATCHED_QUERIES[[3, 4]])
    slopes, value = jax.jit(jax.grad(judged)), jax.jit(judged)
    by = slopes(x)
    groups: list[tuple[float, Any]] = [
        (4e-3, lambda x: [x[0].cell.g_low, x[0].cell.g_high]),
        (2e-3, lambda x: [x[1], x[0].cell.v_high, x[0].cell.branch.v_t]),
        (2e-3, lambda x: [x[0].cell.v_gate, x[0].cell.t_latch, x[0].cell.c_node, x[0].r_low]),
    ]
    rng = np.random.default_rng(2)
    for number, (step, where) in enumerate(groups):
        at = where(x)
        way = [step * rng.uniform(0.5, 1.5, y.shape) * np.asarray(y) for y in at]

        def move(k: int, where=where, at=at, way=way) -> float:
            return float(value(eqx.tree_at(where, x, [y + k * w for y, w in zip(at, way)])))

        # of fourth order
        want = (8 * (move(1) - move(-1)) - (move(2) - move(-2))) / 12
        got = sum(float(np.sum(np.asarray(s) * w)) for s, w in zip(where(by), way))
        assert got == pytest.approx(want, rel=1e-5), number


def test_the_window_follows_the_conductances() -> None:
    """Eight levels in cells of 0.5 V: every query finds its own, and tables agree with searches."""
    stored = np.arange(8)[:, None]
    tile = cam.Tile(cells(G_LATCHED[stored], G_LATCHED[stored + 1]))
    seen = cam.lookup(cam.Curves.of(tile, LATCHED_QUERIES), np.arange(8)[:, None])
    np.testing.assert_array_equal(seen.match, np.eye(8, dtype=bool))
    exact = cam.search(tile, LATCHED_QUERIES[[3]])
    np.testing.assert_array_equal(exact.match, np.arange(8) == 3)
    fell = np.isfinite(exact.t_fall)
    np.testing.assert_allclose(seen.t_fall[3][fell], exact.t_fall[fell], rtol=0.01)


@pytest.mark.slow
def test_bounds_are_ties_and_ties_are_in_between() -> None:
    """A latch at its bound has not decided; 1 mV off it has, the way the data line says."""
    low, high = np.array([[0.2], [-np.inf]]), np.array([[0.26], [0.23]])
    tile = cam.stored(cam.Tile(cells(np.zeros((2, 1)), np.zeros((2, 1)))), low, high)
    back = cam.bounds(tile)
    np.testing.assert_allclose(back.low, low, atol=1e-7)
    np.testing.assert_allclose(back.high, high, atol=1e-7)
    soon = eqx.tree_at(lambda t: t.cell.t_latch, tile, jnp.asarray(1e-9))
    lead = []
    for v in (0.199, 0.2, 0.201):
        found = cam.search(soon, [v])
        lead.append(0.5 - 2 * float(found.gates[0][0, 0]))
    assert lead[0] < -0.4 and abs(lead[1]) < 0.1 and lead[2] > 0.4


def test_errors() -> None:
    tile = cam.Tile(cells(np.full((2, 1), 1e-6), np.full((2, 1), 1e-5)))
    with pytest.raises(ValueError, match="low has shape"):
        cam.stored(tile, np.zeros((1, 1)), np.ones((1, 1)))
    with pytest.raises(TypeError, match="only xb.cam.Analog6T2M is compensated"):
        cam.compensated(tile, np.full((2, 1), 0.2), np.full((2, 1), 0.3))
    with pytest.raises(ValueError, match="times must rise"):
        cam.race(tile, [0.2], [1e-9, 1e-10])
    with pytest.raises(ValueError, match="c_node"):
        cells(np.ones((1, 1)), np.ones((1, 1)), c_node=0.0)
    dividers = cam.AnalogCam(np.array([[0.2]]), np.array([[0.3]]))
    with pytest.raises(TypeError, match="AnalogLatched"):
        cam.race(dividers, [0.2], [1e-9])
