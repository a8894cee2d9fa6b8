"""Circuits with several operating points: the start chooses one."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import xbarjax as xb
from xbarjax import elements as el

GAIN, SWING = 3.0, 0.5


def latch(v: Any, gain: Any = GAIN) -> xb.Circuit:
    """An amplifier whose output is its own input: `y = h tanh(gain (y - v) / h)`."""
    return xb.Circuit(
        source=el.VoltageSource(to="in", v=v),
        amps=el.OpAmp(minus="in", plus="y", out="y", gain=gain, v_low=-SWING, v_high=SWING),
        load=el.Resistor("y", "0", 1e4),
    )


def high(v: float = 0.0, gain: float = GAIN) -> float:
    """The upper operating point."""
    off = lambda y: y - SWING * np.tanh(gain * (y - v) / SWING)
    return float(cast(float, brentq(off, 0.2, 1.0, xtol=1e-15)))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_start_chooses_the_state_of_a_latch(sign: float) -> None:
    found = xb.solve(latch(0.0), start=latch(-sign))
    np.testing.assert_allclose(found.v["y"], sign * high(), rtol=1e-10)
    assert found.growth is not None and float(found.growth) < 0


def test_without_a_start_a_latch_rests_where_it_is_unstable() -> None:
    with pytest.raises(ValueError, match="unstable"):
        xb.solve(latch(0.0))


def test_the_derivative_is_that_of_the_state_and_not_of_its_start() -> None:
    y = lambda v, at: xb.solve(latch(v), start=latch(at)).v["y"][0]
    step = 1e-6
    slope = (high(step) - high(-step)) / (2 * step)
    by, by_start = jax.grad(y, (0, 1))(0.0, -1.0)
    np.testing.assert_allclose(by, slope, rtol=1e-5)
    assert float(by_start) == 0


def test_a_start_of_another_circuit_gets_a_sentence() -> None:
    other = xb.Circuit(source=el.VoltageSource(to="y", v=1.0), load=el.Resistor("y", "0", 1e4))
    with pytest.raises(ValueError, match="same elements and buses"):
        xb.solve(latch(jnp.asarray(0.0)), start=other)
