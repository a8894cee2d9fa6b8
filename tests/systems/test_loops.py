"""Loops against linear algebra: inverse, least squares, eigenvector, with what is not ideal."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax.elements import OpAmp
from xbarjax.systems import loops

RNG = np.random.default_rng(0)
PAIR = xb.DifferentialPair(1e-6, 1e-4)


def programmed(weights: Any) -> tuple[Any, float]:
    """Conductances [S] of a pair, and siemens per weight."""
    weights = jnp.asarray(weights)
    k = PAIR.siemens_per_weight(weights)
    return PAIR.program(weights, k), float(k)


def test_the_inverse_of_a_signed_matrix() -> None:
    a = RNG.normal(size=(5, 5)) + 4 * np.eye(5)
    b = RNG.normal(size=5)
    g, k = programmed(a.T)
    volts = 0.1  # per unit of the answer
    found = xb.solve(loops.inverse(g, jnp.asarray(-k * volts * b)))
    np.testing.assert_allclose(found.v["x"] / volts, np.linalg.solve(a, b), rtol=1e-10)
    assert found.growth is not None and float(found.growth) < 0


def test_least_squares_of_a_signed_matrix() -> None:
    """With finite gain the error is of the order of one over it."""
    a, b = RNG.normal(size=(7, 3)), RNG.normal(size=7)
    g, k = programmed(a)
    want = np.linalg.lstsq(a, b, rcond=None)[0]
    for gain, rtol in ((np.inf, 1e-10), (1e6, 1e-3)):
        loop = loops.least_squares(
            g, jnp.asarray(-k * 0.1 * b), amplifier=partial(OpAmp, gain=gain)
        )
        found = xb.solve(loop)
        np.testing.assert_allclose(found.v["x"] / 0.1, want, rtol=rtol)
    assert found.growth is not None and float(found.growth) < 0


def test_the_loop_grows_into_the_first_eigenvector() -> None:
    g = RNG.uniform(1e-6, 1e-5, (4, 4)) + 2e-5 * np.eye(4)
    g = (g + g.T) / 2
    values, vectors = np.linalg.eigh(g)
    amplifier = partial(OpAmp, gain=1e5, gbw=1e7, v_low=-1.0, v_high=1.0)
    loop = loops.eigenvector(jnp.asarray(g), 0.97 * values[-1], amplifier=amplifier)
    start = xb.elements.CurrentSource(to=xb.elements.Pick("e", jnp.asarray([0])), i=0.0)
    parts: Any = loop.elements | {"start": start}
    wave = xb.Waveform(jnp.asarray([0.0, 1e-8, 2e-8]), jnp.asarray([[0.0], [1e-9], [0.0]]))
    ts = jnp.asarray([0.0, 1e-4])
    found = xb.simulate(xb.Circuit(**parts), wave, ts, rtol=1e-3, max_steps=3000)
    x = np.asarray(found.v["x"][-1])
    assert np.abs(x).max() > 0.3  # it has grown until something saturates
    cosine = abs(x @ vectors[:, -1]) / np.linalg.norm(x)
    assert cosine > 0.99


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: loops.inverse(jnp.ones((2, 3)) * 1e-5, jnp.zeros(3)), "must be square"),
        (lambda: loops.inverse(jnp.ones(3) * 1e-5, jnp.zeros(3)), "g has shape .3,.; it must be"),
        (lambda: loops.inverse(jnp.ones((3, 2, 2)) * 1e-5, jnp.zeros(2)), "signed matrix"),
    ],
)
def test_bad_input_gets_a_sentence(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
