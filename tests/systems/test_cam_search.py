"""Searches of content-addressable memories against ngspice, charges and differences."""

from __future__ import annotations

from typing import Any

import chex
import equinox as eqx
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from golden import CAM
from golden.cam import G_HIGH, G_LOW, QUERIES
from xbarjax.systems.cam.cell import Nodes

QUICK = "2t2r_level1_8", "4t2r_tile", "analog_tile"
GOLDEN = [
    pytest.param(x, marks=() if x in QUICK else pytest.mark.slow)
    for x in CAM.stored()
    if not x.startswith("latched")
]  # cam/test_cam_latched.py has these
CLOSE = 1e-9  # local error of steps, of searches that are compared with each other


def transistor(spec: dict[str, float], kind: str = "ekv") -> xb.Mosfet | xb.Level1Mosfet:
    if kind == "level1":
        return xb.Level1Mosfet(spec["beta"], spec["v_t"], 0.0, spec["lam"])
    return xb.Mosfet(spec["beta"], spec["v_t"], 0.0, spec["n"], spec["lam"], temperature=300.15)


def tile_of(x: dict[str, Any]) -> xb.cam.Tile:
    """The tile of a golden circuit."""
    fets: Any = {name: transistor(spec, x["transistor"]) for name, spec in x["fets"].items()}
    kinds = {
        "analog": lambda: xb.cam.Analog6T2M(x["one"], x["two"], **fets, v_high=x["v_high"]),
        "2t2r": lambda: xb.cam.Ternary2T2R(x["one"], x["two"], **fets, v_gate=x["v_high"]),
        "4t2r": lambda: xb.cam.Ternary4T2R(
            x["one"], x["two"], **fets, v_word=x["v_word"], v_data_high=x["v_high"]
        ),
        "16t": lambda: xb.cam.Ternary16T(x["one"], x["two"], **fets, v_supply=x["v_high"]),
    }
    names = "r_match", "r_high", "r_low", "c_match", "c_sense", "v_pre", "v_ref"
    return xb.cam.Tile(kinds[x["cell"]](), **{k: x[k] for k in names}, t_sense=x["end"])


@pytest.mark.parametrize("name", GOLDEN)
def test_a_search_is_as_ngspice_has_it(name: str) -> None:
    """Lines in time and charges to 1e-3 of the precharge, times of falls to 1e-3, nodes at rest to
    1e-9 of the supply."""
    record = CAM.load(name)
    x, want = record["inputs"], record["outputs"]
    tile, t, v_pre = tile_of(x), want["t"], x["v_pre"]
    half = len(t) // 2
    tile = eqx.tree_at(lambda x: x.t_sense, tile, jnp.asarray(t[half]))
    found = xb.cam.search(tile, x["query"], t)
    assert np.abs(found.v_match - want["v"]).max() < 1e-3 * v_pre
    np.testing.assert_allclose(found.v_sense, found.v_match[half], rtol=1e-12)
    np.testing.assert_array_equal(found.match, want["v"][half] > x["v_ref"])
    np.testing.assert_allclose(found.t_fall, want["t_fall"], rtol=1e-3)
    held = len(found.match) * v_pre * (x["c_match"] * len(x["query"]) + x["c_sense"])
    assert abs(float(found.energy_match) / v_pre - want["lost"][half].sum()) < 1e-3 * held
    if "gate_0" not in want:
        assert not found.nodes and float(found.energy_static) == 0
        return
    near = lambda a, b: np.abs(np.asarray(a) - b).max() < 1e-9 * x["v_high"]
    assert all(near(gate, want[f"gate_{k}"]) for k, gate in enumerate(found.gates))
    for k, at in enumerate(found.nodes if x["r_high"] else ()):
        assert near(at.v_high, want[f"high_{k}"]) and near(at.v_low, want[f"low_{k}"])
    np.testing.assert_allclose(found.energy_static / t[half], want["power"], rtol=1e-9)


NORMAL = {"lam": 0.05, "n": 1.3}
FETS: dict[str, Any] = {
    "divider": transistor({"beta": 1e-3, "v_t": 0.2} | NORMAL),
    "pull_down": transistor({"beta": 250e-6, "v_t": 0.3} | NORMAL),
    "inverter": transistor({"beta": 250e-6, "v_t": 0.2} | NORMAL),
}
COLS = 3
QUERY = jnp.asarray(QUERIES[[2, 5, 4]])
OF_LEVELS = np.repeat(np.arange(8)[:, None], COLS, axis=1)


def tile(stored: Any = OF_LEVELS, **numbers: Any) -> xb.cam.Tile:
    """A tile of analog cells with stored levels, `(8, COLS)`."""
    cell = xb.cam.Analog6T2M(G_LOW[stored], G_HIGH[stored], **FETS)
    return xb.cam.Tile(cell, **{"r_match": 100.0, "r_high": 50.0, "r_low": 30.0} | numbers)


def of_neighbours() -> np.ndarray:
    """Levels of rows that match QUERY or are one level off in a column."""
    stored = np.repeat(np.array([[2, 5, 4]]), 8, axis=0)
    for row, (col, step) in enumerate([(0, 1), (0, -1), (1, 1), (1, -1), (2, 1), (2, -1)]):
        stored[row + 1, col] += step
    return stored


def test_a_larger_conductance_is_a_higher_bound() -> None:
    """The data line at which a pull-down has 0.1 uA, of cells from 0.3 to 300 uS."""
    g = np.geomspace(0.3e-6, 300e-6, 13)[:, None]
    cell = xb.cam.Analog6T2M(g, g, **FETS)
    query = np.linspace(0, 0.9, 361)
    on, ground = jnp.full(g.shape, 0.5), jnp.zeros(g.shape)

    def currents(query):
        from_high, from_inverter = cell.gates(query, (Nodes(on, ground),))
        pulled = lambda gate: FETS["pull_down"].gated(gate).current(jnp.full(g.shape, 0.8), ground)
        return pulled(from_high)[:, 0], pulled(from_inverter)[:, 0]

    low, high = (np.asarray(i) for i in jax.vmap(currents)(jnp.asarray(query)[:, None]))
    assert (np.diff(low, axis=0) <= 0).all() and (np.diff(high, axis=0) >= 0).all()
    lower = np.array([np.interp(-1e-7, -i, query) for i in low.T])
    upper = np.array([np.interp(1e-7, i, query) for i in high.T])
    assert (np.diff(lower) > 0).all() and (np.diff(upper) > 0).all()


def test_eight_levels_and_a_batch_that_is_its_members() -> None:
    """Of eight levels in cells of 0.5 V every query finds its own, and nothing retraces."""
    memory = tile(t_sense=5e-9)
    queries = jnp.asarray(np.repeat(QUERIES[:, None], COLS, axis=1))
    traced = chex.assert_max_traces(lambda tile, q: xb.cam.search(tile, q), n=1)
    many = jax.jit(jax.vmap(traced, (None, 0)))
    found = many(memory, queries)
    assert not np.any(found.status)
    np.testing.assert_array_equal(found.match, np.eye(8, dtype=bool))
    np.testing.assert_array_equal(np.argmax(found.t_fall, 1), np.arange(8))
    np.testing.assert_allclose(
        found.energy_data, 8 * COLS * 1e-16 * np.asarray(QUERIES) ** 2, rtol=1e-12
    )
    for k in (0, 5):
        alone = jax.tree.leaves(xb.cam.search(memory, queries[k]))
        for one, every in zip(alone, jax.tree.leaves(found), strict=True):
            np.testing.assert_allclose(every[k], one, rtol=1e-9, atol=1e-15)
    later = many(tile(t_sense=5.5e-9, r_match=10.0), queries)
    assert np.all(np.diagonal(later.v_sense) < np.diagonal(found.v_sense))


# Where a number is in the memory, and its step of a central difference, relative
NUMBERS = {
    "g_low": (lambda x: x[0].cell.g_low, 1e-4),
    "g_high": (lambda x: x[0].cell.g_high, 1e-4),
    "query": (lambda x: x[1], 1e-5),
    "r_match": (lambda x: x[0].r_match, 1e-2),
    "r_high": (lambda x: x[0].r_high, 1e-3),
    "r_low": (lambda x: x[0].r_low, 1e-3),
    "t_sense": (lambda x: x[0].t_sense, 1e-4),
    "v_pre": (lambda x: x[0].v_pre, 1e-4),
    "v_ref": (lambda x: x[0].v_ref, 1e-4),
    "c_match": (lambda x: x[0].c_match, 1e-4),
    "c_sense": (lambda x: x[0].c_sense, 1e-4),
}


@jax.jit
def judged(x: tuple[xb.cam.Tile, Any]) -> Any:
    """Sums of margins [V] and times [ns], with weights, of lines that fall in time."""
    found = xb.cam.search(*x, jnp.asarray([15e-9]), rtol=CLOSE, max_steps=8192)
    weights = jnp.asarray(np.random.default_rng(1).uniform(0.5, 1.5, 6))
    return jnp.stack([weights @ found.margin[1:7], weights @ found.t_fall[1:7] * 1e9])


@jax.jit
def slope_of(x: Any, weights: Any) -> Any:
    return jax.grad(lambda x: weights @ judged(x))(x)


def slopes_of(x: Any) -> Any:
    """Gradients of both, along a first axis."""
    both = [slope_of(x, jnp.asarray(w)) for w in ((1.0, 0.0), (0.0, 1.0))]
    return jax.tree.map(lambda *y: np.stack(y), *both)


def moved(x: Any, name: str, by: float) -> np.ndarray:
    """What is judged after a change of a number."""
    where = NUMBERS[name][0]
    return np.asarray(judged(eqx.tree_at(where, x, where(x) + by)))


def slope(slopes: Any, name: str, along: Any = 1.0) -> np.ndarray:
    """Of both that are judged, by a number that moves along a direction."""
    return (np.asarray(NUMBERS[name][0](slopes)) * along).reshape(2, -1).sum(1)


def test_gradients_are_differences() -> None:
    x = (tile(of_neighbours(), t_sense=0.8e-9, r_match=1e4), QUERY)
    slopes = slopes_of(x)
    for name, (where, step) in NUMBERS.items():
        way = np.random.default_rng(2).uniform(0.5, 1.5, where(x).shape) * np.asarray(where(x))
        want = (moved(x, name, step * way) - moved(x, name, -step * way)) / (2 * step)
        # the time of a fall does not hang on the time at which the comparators look
        least = 1e-5 if name == "t_sense" else 0.0
        np.testing.assert_allclose(slope(slopes, name, way), want, 1e-5, least, err_msg=name)


def test_wires_without_resistance_are_the_limit() -> None:
    x = (tile(of_neighbours(), t_sense=0.8e-9, r_match=0.0, r_high=0.0, r_low=0.0), QUERY)
    slopes, here = slopes_of(x), np.asarray(judged(x))
    assert all(
        np.isfinite(y).all() for y in jax.tree.leaves(slopes) if y.dtype != jax.dtypes.float0
    )
    for name, ohm in (("r_match", 300.0), ("r_high", 0.1), ("r_low", 0.1)):
        one, two = (moved(x, name, ohm * k) - here for k in (1, 2))
        np.testing.assert_allclose(
            (2 * one - two / 2) / ohm, slope(slopes, name), rtol=1e-4, err_msg=name
        )


def test_single_precision_and_accelerators() -> None:
    exact = tile(t_sense=5e-9), QUERY, jnp.asarray([1e-9])
    single = jax.tree.map(lambda x: x.astype(jnp.float32), exact)
    want, got = xb.cam.search(*exact), xb.cam.search(*single)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(got) if eqx.is_inexact_array(x))
    for name, scale in (("v_sense", 0.8), ("v_match", 0.8), ("gates", 0.5), ("nodes", 0.5)):
        parts = zip(*(jax.tree.leaves(getattr(x, name)) for x in (got, want)), strict=True)
        for a, b in parts:
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * scale)
    for name in ("t_fall", "energy_match", "energy_static", "energy_data"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-4)
    v_sense = jax.jit(lambda *x: xb.cam.search(*x).v_sense)
    lowered = jax.export.export(v_sense, platforms=("cpu", "cuda", "tpu"))(*exact)
    assert lowered.platforms == ("cpu", "cuda", "tpu")


def test_a_search_that_fails_says_so() -> None:
    """Of too few steps, and of queries that are not finite, or no bits, under a transformation."""
    low, high, query = jnp.full((2, 2), 1e-6), jnp.full((2, 2), 1e-4), jnp.asarray([1.0, 0.0])
    memory = xb.cam.Tile(xb.cam.Ternary2T2R(low, high, FETS["pull_down"]))
    with pytest.raises(ValueError, match="max_steps is too small to reach the last time"):
        xb.cam.search(memory, query, max_steps=4)
    few = jax.jit(lambda: xb.cam.search(memory, query, max_steps=4))()
    at = jax.jit(lambda query: xb.cam.search(memory, query))
    none, part = (at(query.at[0].set(x)) for x in (jnp.nan, 0.9))
    not_finite = xb.Status.NOT_FINITE
    failed = (few, xb.Status.OUT_OF_STEPS), (none, not_finite), (part, not_finite)
    for found, status in failed:
        assert int(found.status) & status
        assert all(np.isnan(x).all() for x in (*found.gates, found.energy_data, found.energy_match))
        assert np.isnan(found.v_sense).all() and np.isnan(found.t_fall).all()
        assert np.isnan(found.energy) and not np.any(found.match)
