"""Loops against linear algebra: inverse, least squares, eigenvector, with what is not ideal."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import xbarjax as xb
from golden import LOOPS
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


def balanced(x: dict[str, Any]) -> xb.Circuit:
    """A balanced loop that inverts a matrix, of numbers by the names of the golden circuits."""
    x = {k: None if v is None else jnp.asarray(v, float) for k, v in x.items()}
    amplifier = partial(
        OpAmp, gain=x["gain"], gbw=1e7, v_offset=x["offset"], v_low=-x["swing"], v_high=x["swing"]
    )
    wires = xb.Wires(x["r_row"], x["r_col"])
    return loops.inverse(x["g"], x["i"], wires=wires, amplifier=amplifier, r_inverter=None)


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Conductances [S] of two arrays, currents [A] and gains."""
    rng = np.random.default_rng(seed)
    g = rng.uniform(1e-6, 2e-5, (2, n, n))
    g[0] += np.diag(rng.uniform(1e-4, 2e-4, n)) * n / 4
    return g, rng.uniform(-1e-6, 1e-6, n), rng.uniform(10, 1e4, n)


@pytest.mark.few(1)
@pytest.mark.parametrize("n", [4, 8, 16])
def test_a_balanced_loop_has_the_answer_of_finite_gain(n: int) -> None:
    """`x = -(G^T + U^-1 / A)^-1 i`, with `U` over both arrays, and `-x` in the other half."""
    g, i, gain = drawn(n)
    amplifier = partial(OpAmp, gain=jnp.asarray(gain))
    loop = loops.inverse(jnp.asarray(g), jnp.asarray(i), amplifier=amplifier, r_inverter=None)
    found = xb.solve(loop)
    at_inputs = np.diag(g.sum((0, 1)) / gain)
    want = -np.linalg.solve((g[0] - g[1]).T + at_inputs, i)
    for bus, sign in (("x", 1), ("-x", -1)):
        off = np.abs(sign * np.asarray(found.v[bus]) - want).max()
        assert off < 1e-10 * np.abs(want).max()


@pytest.mark.few(1)
@pytest.mark.parametrize("n", [4, 8, 16])
def test_a_balanced_loop_is_as_ngspice_solves_it(n: int) -> None:
    """With wires, offsets and amplifiers of which some are at an end of their swing."""
    record = LOOPS.load(f"balanced_offset_swing_{n}")
    found = xb.solve(balanced(record["inputs"])).v["x"]
    want = np.asarray(record["outputs"]["x"])
    assert np.abs(np.asarray(found) - want).max() < 1e-9 * np.abs(want).max()


@pytest.mark.few(1)
@pytest.mark.parametrize("n", [4, 8])
def test_a_balanced_loop_has_the_poles_of_both_modes(n: int) -> None:
    """`-w (1 / A + l)` with the eigenvalues of `U (g0 - g1)^T` and of `U (g0 + g1)^T`."""
    g, i, gain, gbw = *drawn(n)[:2], 1e3, 1e6
    amplifier = partial(OpAmp, gain=gain, gbw=gbw)
    loop = lambda g: loops.inverse(g, i, amplifier=amplifier, r_inverter=None)
    u = 1 / g.sum((0, 1))[:, None]
    eigenvalues = [np.linalg.eigvals(u * m.T) for m in (g[0] - g[1], g[0] + g[1])]
    want = -2 * np.pi * gbw * (1 / gain + np.concatenate(eigenvalues))
    found = np.asarray(xb.poles(loop(jnp.asarray(g))))
    np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(want), rtol=1e-9)
    # a negative array that outweighs the diagonal of the sum: its mode alone is unstable
    strong = g + 1e-4 * n * (1 - np.eye(n))
    difference, total = (strong[0] + sign * strong[1] for sign in (-1, 1))
    assert np.linalg.eigvalsh(difference + difference.T).min() > 0
    assert np.linalg.eigvals(total.T / total.sum(0)[:, None]).real.min() < -1e-3
    with pytest.raises(ValueError, match="unstable"):
        xb.solve(loop(jnp.asarray(strong)))
    # more of it on both diagonals: the same matrix, and a stable loop
    more = strong + 3e-3 * n * np.eye(n)
    assert float(xb.solve(loop(jnp.asarray(more))).growth) < 0  # type: ignore[arg-type]


def test_offsets_of_both_halves_leave_their_difference() -> None:
    g, i, _ = drawn(5)
    at = lambda v: (
        xb.solve(
            loops.inverse(
                jnp.asarray(g),
                jnp.asarray(i),
                amplifier=partial(OpAmp, gain=1e4, v_offset=v),
                r_inverter=None,
            )
        ).v
    )
    with_, without = at(5e-3), at(0.0)
    assert np.abs(np.asarray(with_["x"] - without["x"])).max() > 1e-3
    half = lambda v: np.asarray(v["x"] - v["-x"]) / 2
    np.testing.assert_allclose(half(with_), half(without), rtol=1e-9)


def test_gradients_of_a_balanced_loop_are_those_of_differences() -> None:
    """By every number in it. Some amplifiers are at an end of their swing."""
    record = LOOPS.load("balanced_offset_swing_4")["inputs"]
    numbers = {k: jnp.asarray(v, float) for k, v in record.items() if v is not None}
    sizes, back = ravel_pytree(numbers)
    total = lambda s: jnp.sum(jnp.sin(60 * xb.solve(balanced(back(s * sizes))).v["x"]))
    value = jax.jit(jax.value_and_grad(total))
    slope = np.asarray(value(jnp.ones_like(sizes))[1])
    h = 1e-4
    by = lambda k, d: float(value(jnp.ones_like(sizes).at[k].add(d))[0])
    pairs = [[by(k, d * h) - by(k, -d * h) for d in (1, 2)] for k in range(len(sizes))]
    want = np.array([(8 * one - two) / (12 * h) for one, two in pairs])
    assert np.abs(slope - want).max() < 1e-6 * np.abs(want).max()
    assert all(np.any(np.asarray(part) != 0) for part in jax.tree.leaves(back(jnp.asarray(slope))))


def test_balanced_least_squares_are_stable_with_amplifiers_of_one_kind() -> None:
    """Where the poles of inverters make the loop unstable."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(7, 3)), rng.normal(size=7)
    g, k = programmed(a)
    amplifier = partial(OpAmp, gain=1e6, gbw=1e7)
    loop = lambda r: loops.least_squares(
        g, jnp.asarray(-k * 0.1 * b), amplifier=amplifier, r_inverter=r
    )
    with pytest.raises(ValueError, match="unstable"):
        xb.solve(loop(1e4))
    found = xb.solve(loop(None))
    want = np.linalg.lstsq(a, b, rcond=None)[0]
    np.testing.assert_allclose(found.v["x"] / 0.1, want, rtol=1e-3)
    np.testing.assert_allclose(found.v["-x"], -found.v["x"], rtol=1e-9)


@pytest.mark.few(1)
@pytest.mark.parametrize("signed", [True, False])
def test_a_balanced_loop_rests_along_the_first_eigenvector(signed: bool) -> None:
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    a = basis @ np.diag([5.0, 3.0, 2.0, 1.0, 0.5]) @ basis.T
    a = a if signed else np.abs(a)
    values, vectors = np.linalg.eigh(a)
    g, k = programmed(a) if signed else (jnp.asarray(1e-5 * a), 1e-5)
    amplifier = partial(OpAmp, gain=1e5, gbw=1e7, v_low=-1.0, v_high=1.0)
    g_eigenvalue = 0.998 * k * values[-1]
    loop = loops.eigenvector(g, g_eigenvalue, amplifier=amplifier, r_inverter=None)
    found = loops.resting(loop, 1e-6 * jnp.arange(1.0, 6.0))
    assert found.growth is not None and float(found.growth) < 0
    x = np.asarray(found.v["x"])
    assert np.abs(x).max() > 0.05
    assert abs(x @ vectors[:, -1]) / np.linalg.norm(x) > np.cos(np.radians(1))
    np.testing.assert_allclose(found.v["-x"], -x, atol=1e-6)


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
