"""Responses of circuits against linear algebra and differences of solutions."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax import elements as el

N = 4
RNG = np.random.default_rng(0)
G = RNG.uniform(1e-6, 1e-5, (N, N)) + 4e-5 * np.eye(N)


def loop(g: Any = G, gain: float = 1e3, **amplifier: Any) -> xb.Circuit:
    """A loop behind drivers with an output resistance of 10 kohm."""
    return xb.Circuit(
        array=el.Array(xb.Ohmic(jnp.asarray(g)), rows="x", cols="e"),
        amps=el.OpAmp(minus="e", out="x", gain=gain, **amplifier),
        drivers=el.VoltageSource(to="e", v=jnp.full(N, 0.1), r=1e4),
    )


def test_the_response_of_a_loop_is_that_of_finite_gain() -> None:
    """Column `j` takes `sum_i g_ij (x_i - e_j) + (v_j - e_j) / r = 0` with `x = A (offset - e)`."""
    found = xb.response(loop(v_offset=1e-3), "drivers", "x")
    lossy = np.diag(G.sum(0) + 1e-4)
    at = G.T + lossy / 1e3
    np.testing.assert_allclose(found.gain, -np.linalg.inv(at) * 1e-4, rtol=1e-9)
    np.testing.assert_allclose(found.v_zero, np.linalg.solve(at, lossy @ np.full(N, 1e-3)))
    assert found.growth is not None and float(found.growth) < 0


def test_a_batch_of_responses_is_that_of_each() -> None:
    many = jnp.asarray([G, 2 * G])
    batch = jax.vmap(lambda g: xb.response(loop(g), "drivers", "x"))(many)
    for k, g in enumerate(many):
        one = xb.response(loop(g), "drivers", "x")
        np.testing.assert_allclose(batch.gain[k], one.gain, rtol=1e-12)


def test_a_nonlinear_circuit_is_linearised_at_its_operating_point() -> None:
    made = loop(v_low=-0.3, v_high=0.3)
    found = xb.response(made, "drivers", "x")
    where = lambda c: c.elements["drivers"].v
    x = lambda v: np.asarray(xb.solve(eqx.tree_at(where, made, v)).v["x"])
    at, step = jnp.full(N, 0.1), 1e-4
    np.testing.assert_allclose(found(at), x(at), rtol=1e-9)
    for k, unit in enumerate(jnp.eye(N)):
        slope = (x(at + step * unit) - x(at - step * unit)) / (2 * step)
        np.testing.assert_allclose(found.gain[:, k], slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("amps", "x"), "source is 'amps'; the sources of the circuit are 'drivers'"),
        (("drivers", "y"), "bus is 'y'; the buses of the circuit are"),
    ],
)
def test_bad_names_get_a_sentence(names: tuple[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        xb.response(loop(), *names)


def test_an_unstable_loop_raises() -> None:
    swapped = xb.Circuit(
        array=el.Array(xb.Ohmic(jnp.asarray(G)), rows="x", cols="e"),
        amps=el.OpAmp(minus="0", plus="e", out="x", gain=1e3),
        source=el.CurrentSource(to="e", i=jnp.zeros(N)),
    )
    with pytest.raises(ValueError, match="unstable"):
        xb.response(swapped, "source", "x")
