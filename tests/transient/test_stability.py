"""Stability as `solve` flags it, against transients of random loops and against what is proven."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax import elements as el

GBW, EDGE = 1e6, 1e-8
DECAYS = 30  # times that a transient is longer than the inverse of the growth
SETTLED, GROWN = 1e-3, 1e3  # distance from the operating point, relative to it


def loop(g: Any, r: Any, i: Any, *, inverted: bool = True) -> xb.Circuit:
    ends: dict[str, Any] = {"minus": "e"} if inverted else {"minus": "0", "plus": "e"}
    return xb.Circuit(
        array=el.Array(xb.Ohmic(g), xb.Wires(r, r), rows="x", cols="e"),
        amps=el.OpAmp(**ends, out="x", gain=1e3, gbw=GBW),
        source=el.CurrentSource(to="e", i=i),
    )


def random_loops(count: int, n: int) -> tuple[Any, Any]:
    """Conductances [S] and wires [ohm]; the stronger the diagonal, the more loops are stable."""
    rng = np.random.default_rng(n)
    g = rng.uniform(1e-6, 1e-4, (count, n, n))
    g += np.eye(n) * rng.uniform(0, 4e-5 * n, (count, 1, 1))
    return jnp.asarray(g), jnp.asarray(rng.uniform(0, 20, count))


def flagged(g: Any, r: Any, *, inverted: bool = True) -> np.ndarray:
    zero = jnp.zeros(g.shape[1])
    status = lambda g, r: xb.solve(loop(g, r, zero, inverted=inverted)).status
    return (np.asarray(jax.jit(jax.vmap(status))(g, r)) & int(xb.Status.UNSTABLE)) > 0


def followed(g: Any, r: Any, max_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Growth [1/s], whether `solve` flags the loop, and the distance from the operating point after
    a step of current and many times the time that the growth says; NaN if steps did not suffice."""

    def one(both: Any) -> Any:
        g, r = both
        i = 1e-6 * jnp.ones(g.shape[0])
        there = xb.solve(loop(g, r, i))
        end = EDGE + DECAYS / jnp.abs(there.growth)  # type: ignore[arg-type]
        wave = xb.Waveform(jnp.asarray([0.0, EDGE]), jnp.stack([0 * i, i]))
        ts = jnp.stack([jnp.zeros(()), end])
        seen = xb.simulate(loop(g, r, i), wave, ts, rtol=1e-3, max_steps=max_steps)
        off = jnp.max(jnp.abs(seen.v["x"][-1] - there.v["x"])) / jnp.max(jnp.abs(there.v["x"]))
        return there.growth, there.status, off

    chunk = min(len(g), 50)
    run = jax.jit(lambda g, r: jax.lax.map(one, (g, r), batch_size=chunk))
    growth, status, off = (np.array(x) for x in run(g, r))
    return growth, (status & int(xb.Status.UNSTABLE)) > 0, off


@pytest.mark.parametrize(
    ("n", "count"),
    [(3, 40), *(pytest.param(n, 250, marks=pytest.mark.slow) for n in (3, 4, 5, 6))],
)
def test_a_loop_is_flagged_if_and_only_if_its_transient_leaves(n: int, count: int) -> None:
    """All of them are decided: those close to the border, which need many steps, in a second run
    that allows them."""
    g, r = random_loops(count, n)
    growth, unstable, off = followed(g, r, max_steps=1000)
    assert 0.15 < unstable.mean() < 0.85
    np.testing.assert_array_equal(unstable, growth > 0)
    open_ = np.flatnonzero(np.isnan(off))
    assert len(open_) < 0.1 * count
    if len(open_):
        _, _, off[open_] = followed(g[open_], r[open_], max_steps=20_000)
    np.testing.assert_array_equal(off > GROWN, unstable)
    np.testing.assert_array_equal(off < SETTLED, ~unstable)


@pytest.mark.few(1)
@pytest.mark.parametrize("n", [3, 6])
def test_a_positive_definite_symmetric_part_is_never_flagged(n: int) -> None:
    g, r = random_loops(250, n)
    g = np.asarray(g)
    least = np.linalg.eigvalsh(g + np.swapaxes(g, 1, 2))[:, 0]
    more = np.maximum(1e-9 - least / 2, 0)[:, None, None] * np.eye(n)
    assert (least < 0).any() and np.linalg.eigvalsh(
        g + more + np.swapaxes(g + more, 1, 2)
    ).min() > 0
    assert not flagged(jnp.asarray(g + more), 0 * r).any()


@pytest.mark.few(1)
@pytest.mark.parametrize("n", [3, 6])
def test_positive_feedback_is_always_flagged(n: int) -> None:
    """The trace of `U G` is positive, and so is the real part of one of its eigenvalues."""
    assert flagged(*random_loops(250, n), inverted=False).all()
