"""Compensated loops against a dense solve of every branch, and by a second route."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest

import xbarjax as xb
from reference.mna import Net
from xbarjax.elements import OpAmp
from xbarjax.systems import loops

N, GAIN, R_OUT, OHM, R_INVERTER = 6, 1e3, 50.0, 20.0, 1e4
AMPLIFIER = partial(OpAmp, gain=GAIN, gbw=1e7, r_out=R_OUT)
PAIR = xb.DifferentialPair(g_min=1e-6, g_max=1e-4)
SINGLE = xb.DigitalOffset(g_min=1e-6, g_max=1e-4, g_zero=1e-6)
RNG = np.random.default_rng(0)
INPUTS = RNG.uniform(-1e-6, 1e-6, (5, N))


def weights(mapping: xb.AbstractMapping, n: int = N) -> Any:
    """A matrix with a strong diagonal: signed for a pair, positive for single cells."""
    w = np.random.default_rng(1).uniform(-0.1, 0.1, (n, n))
    np.fill_diagonal(w, 1)
    return jnp.asarray(w if mapping is PAIR else np.abs(w))


def loop(g: Any, i: Any, r_inverter: float | None = R_INVERTER) -> xb.Circuit:
    wires = xb.Wires(OHM, OHM)
    return loops.inverse(g, i, wires=wires, amplifier=AMPLIFIER, r_inverter=r_inverter)


BUILD = xb.InverseLoop(lambda g: loop(g, jnp.zeros(g.shape[1])))
BALANCED = xb.InverseLoop(lambda g: loop(g, jnp.zeros(g.shape[1]), None))


def by_branches(g: Any, i: Any, balanced: bool = False) -> Any:
    """The answer of the loop with conductances `(arrays, n, n)`, branch by branch."""
    net, n = Net(), len(i)
    bus = lambda name: [f"{name}{k}" for k in range(n)]
    products = [("x", "e", 0), ("y", "e", 1), ("y", "d", 0), ("x", "d", 1)]
    for name, end, side in products[: 4 if balanced else len(g)]:
        wires = np.full((n, n), OHM)
        ends = {"rows": bus(name), "cols": bus(end)}
        net.array(np.asarray(g)[side], wires, wires, ends, name + end)
    for k in range(n):
        net.amplifier(f"e{k}", "0", f"x{k}", GAIN, 1e7, r=R_OUT)
        net.current(f"e{k}", f"d{k}" if balanced else "0", i[k])
        if balanced:
            net.amplifier(f"d{k}", "0", f"y{k}", GAIN, 1e7, r=R_OUT)
        elif len(g) == 2:
            net.resistor(f"x{k}", f"m{k}", R_INVERTER)
            net.resistor(f"m{k}", f"y{k}", R_INVERTER)
            net.amplifier(f"m{k}", "0", f"y{k}", GAIN, 1e7, r=R_OUT)
    v, _ = net.solve()
    return np.array([v[name] for name in bus("x")])


def error(
    mapping: xb.AbstractMapping, answer: xb.Compensation, g: Any, gain: Any, balanced: bool = False
) -> float:
    """Largest error of the answers, relative to the largest, with ideal ones of linear algebra."""
    matrix = float(mapping.zero) + float(answer.k) * np.asarray(weights(mapping))
    want = -np.linalg.solve(matrix.T, INPUTS.T).T
    found = np.stack([by_branches(g, np.asarray(gain) * i, balanced) for i in INPUTS])
    return float(np.abs(found - want).max() / np.abs(want).max())


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("mapping", "build"),
    [(PAIR, BUILD), (SINGLE, BUILD), (PAIR, BALANCED)],
    ids=["signed", "positive", "balanced"],
)
def test_a_compensated_loop_solves_the_system_that_was_meant(mapping: Any, build: Any) -> None:
    w, balanced = weights(mapping), build is BALANCED
    answer = xb.compensate(w, mapping, build, scale=0.8)
    assert answer.reached and answer.after.rms < 1e-9
    assert jnp.all((answer.g >= mapping.g_min) & (answer.g <= mapping.g_max))
    plain = error(mapping, answer, mapping.program(w, answer.k), np.ones(N), balanced)
    assert plain > 1e-3  # wires, gain and output resistance
    assert error(mapping, answer, answer.g, answer.gain, balanced) < 1e-8
    np.testing.assert_allclose(answer.gain, 1, rtol=1e-12)  # a range of 0.8 leaves room
    assert float(xb.solve(build.build(answer.g)).growth) < 0  # type: ignore[arg-type]


def test_column_gains_are_gains_of_the_inputs() -> None:
    """At full scale the strongest cells are at their bound: inputs shrink instead."""
    w = weights(PAIR)
    clipped = xb.compensate(w, PAIR, BUILD, method=xb.FixedPoint(free_gain=False))
    assert not clipped.reached and "at their bounds" in clipped.summary()
    sides, rows, cols = np.nonzero(clipped.after.saturated)
    assert list(sides) == [0] * N and list(rows) == list(cols) == list(range(N))
    free = xb.compensate(w, PAIR, BUILD)
    assert free.reached and float(jnp.max(free.gain)) < 1
    assert error(PAIR, free, free.g, free.gain) < 1e-8


@pytest.mark.slow
def test_a_search_along_the_gradient_of_answers_meets_the_fixed_point() -> None:
    """Conductances of a positive matrix are unique: least squares on what the loop answers to unit
    currents, with derivatives through `xb.solve`."""
    n, low, high = 3, SINGLE.g_min, SINGLE.g_max
    w = weights(SINGLE, n)
    answer = xb.compensate(w, SINGLE, BUILD, scale=0.8)
    matrix = SINGLE.zero + answer.k * w
    inputs = 1e-6 * jnp.eye(n)
    want = -jnp.linalg.solve(matrix.T, inputs).T

    def missed(z: Any, _: Any) -> Any:
        g = low + (high - low) * jax.nn.sigmoid(z)
        answers = jax.vmap(lambda i: xb.solve(loop(g, i)).v["x"])(inputs)
        return (answers - want) / jnp.max(jnp.abs(want))

    plain = SINGLE.program(w, answer.k)[0]
    start = jax.scipy.special.logit((plain - low) / (high - low))
    method = optx.LevenbergMarquardt(rtol=1e-10, atol=1e-10)
    found = optx.least_squares(missed, method, start)
    g = low + (high - low) * jax.nn.sigmoid(found.value)
    np.testing.assert_allclose(g, answer.g[0], rtol=1e-7)
    assert float(jnp.max(jnp.abs(plain / g - 1))) > 1e-3


@pytest.mark.slow
def test_descent_lowers_the_error_of_answers() -> None:
    n = 3
    w = weights(PAIR, n)
    inputs = jnp.asarray(INPUTS[:, :n])

    def loss(found: Any) -> Any:
        off = jnp.linalg.solve(found.T, inputs.T) - jnp.linalg.solve(w.T, inputs.T)
        return jnp.sqrt(jnp.mean(off**2)) * 1e6

    method = xb.Descent(
        loss=loss, start=xb.FixedPoint(max_steps=1), max_steps=20, optimiser=optax.adam(1e-3)
    )
    answer = xb.compensate(w, PAIR, BUILD, scale=0.8, method=method)
    assert min(answer.history) < 0.5 * answer.history[0]


def test_bad_loops_get_a_sentence() -> None:
    zero = jnp.zeros(N)
    w = weights(PAIR)
    for build, said in (
        (xb.InverseLoop(lambda g: loop(g, zero), source="amps"), "source is 'amps'; the sources"),
        (xb.InverseLoop(lambda g: loop(g, zero), bus="out"), "bus is 'out'; the buses"),
    ):
        with pytest.raises(ValueError, match=said):
            xb.compensate(w, PAIR, build)
    with pytest.raises(TypeError, match="build of the loop returns a Crossbar; return"):
        wrong: Any = lambda g: xb.Crossbar(xb.Ohmic(g[0]))
        xb.compensate(w, PAIR, xb.InverseLoop(wrong))
