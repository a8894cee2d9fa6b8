"""A read that begins from another solution: the same answer and gradient, in fewer iterations."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.solvers import SOLVERS, every_solver

ROWS, COLS = 40, 30
rng = np.random.default_rng(2)
G = jnp.asarray(rng.uniform(1e-6, 1e-4, (ROWS, COLS)))
NEAR = G * jnp.asarray(1 + 1e-6 * rng.uniform(-1, 1, G.shape))
V = jnp.asarray(rng.uniform(0.1, 0.3, ROWS))
NOISE = rng.normal(size=(9, 8))


def crossbar(g: Any, v_ref: Any = 0.0) -> xb.Crossbar:
    wires = xb.Wires(jnp.asarray(200.0, g.dtype), jnp.asarray(100.0, g.dtype))
    return xb.Crossbar(xb.Ohmic(g), wires, readout=xb.VirtualGround(r_in=50.0, v_ref=v_ref))


def error(got: xb.Solution, want: xb.Solution) -> float:
    names = ("i_out", "v_row", "v_col", "i_cell", "i_row", "i_col")
    pairs = [[getattr(x, name).astype(float) for x in (got, want)] for name in names]
    return max(float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b))) for a, b in pairs)


@pytest.mark.parametrize("name", ["LadderCG", "LadderCG in float64"])
def test_a_near_start_saves_iterations(name: str) -> None:
    solver = SOLVERS[name].solver
    start = xb.read(crossbar(G), V, solver=solver)
    cold = xb.read(crossbar(NEAR), V, solver=solver)
    warm = xb.read(crossbar(NEAR), V, solver=solver, start=start)
    assert error(warm, cold) < 1e-11
    assert 2 * int(warm.num_steps) < int(cold.num_steps), (warm.num_steps, cold.num_steps)
    again = xb.read(crossbar(NEAR), V, solver=solver, start=cold)
    assert int(again.num_steps) < int(warm.num_steps)


@pytest.mark.slow
def test_a_near_start_saves_iterations_in_float32() -> None:
    g, near, v = (x.astype(jnp.float32) for x in (G, NEAR, V))
    cold = xb.read(crossbar(near), v)
    warm = xb.read(crossbar(near), v, start=xb.read(crossbar(G), V))
    assert warm.i_out.dtype == jnp.float32
    assert error(warm, xb.read(crossbar(near.astype(float)), v.astype(float))) < 1e-5
    assert int(warm.num_steps) < int(cold.num_steps)
    assert xb.read(crossbar(g), v, start=warm).status == 0


@every_solver("LadderCG", "LadderCG in float64", "Dense")
def test_any_start_leads_to_the_same_answer(solver: Any) -> None:
    """Another reference, the opposite input, volts of noise."""
    xbar = crossbar(G[:9, :8])
    v, want = V[:9], xb.read(crossbar(G[:9, :8]), V[:9], solver=solver)
    noisy = eqx.tree_at(lambda s: s.drop_col, want, jnp.asarray(NOISE))
    starts = [xb.read(crossbar(G[:9, :8], 0.5), v), xb.read(xbar, -100 * v), noisy]
    for start in starts:
        assert error(xb.read(xbar, v, solver=solver, start=start), want) < 1e-10


@pytest.mark.slow
def test_a_start_in_error_by_slow_modes_alone_is_corrected() -> None:
    """Where rows and columns hang together, such an error hardly violates Kirchhoff's law."""
    shape, rng = (100, 100), np.random.default_rng(0)
    g = jnp.asarray(rng.uniform(1e-6, 1e-4, shape))
    xbar = lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(1e6, 1e6))
    v = jnp.asarray(rng.uniform(0.1, 0.3, shape[0]))
    want = xb.read(xbar(g), v)
    for size in (1e-9, 1e-8):
        start = xb.read(xbar(g * (1 + size)), v)
        got = xb.read(xbar(g), v, start=start)
        assert error(got, want) < 1e-11 < 0.1 * error(start, want)


def test_gradients_do_not_see_the_start() -> None:
    start = xb.read(crossbar(G), V)

    def total(g: Any, v: Any, start: Any) -> Any:
        return jnp.sum(xb.read(crossbar(g), v, start=start).i_out ** 2) * 1e10

    want = jax.grad(total, (0, 1))(NEAR, V, None)
    got = jax.jit(jax.grad(total, (0, 1)))(NEAR, V, start)
    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * np.abs(b).max())
    no_gradient = jax.grad(total, 2, allow_int=True)(NEAR, V, start).drop_col
    assert not jnp.any(no_gradient)
    _, slope = jax.jvp(lambda g: total(g, V, start), (NEAR,), (G,))
    np.testing.assert_allclose(slope, jnp.vdot(want[0], G), rtol=1e-9)


@pytest.mark.slow
def test_every_member_of_a_batch_has_its_own_start() -> None:
    many = jnp.stack([G, 2 * G, 3 * G])
    batch = jax.vmap(lambda g: xb.read(crossbar(g), V))(many)
    again = jax.jit(jax.vmap(lambda g, s: xb.read(crossbar(g), V, start=s)))(many, batch)
    np.testing.assert_allclose(again.i_out, batch.i_out, rtol=1e-11)
    assert (3 * again.num_steps < batch.num_steps).all()


def test_a_start_of_another_shape_or_without_numbers_is_refused() -> None:
    start = xb.read(crossbar(G[:, :-1]), V)
    with pytest.raises(ValueError, match=r"start is a solution of shape \(40, 29\)"):
        xb.read(crossbar(G), V, start=start)
    lost = eqx.tree_at(lambda s: s.drop_col, xb.read(crossbar(G), V), jnp.full(G.shape, jnp.nan))
    with pytest.raises(ValueError, match="not finite"):
        xb.read(crossbar(G), V, start=lost)
