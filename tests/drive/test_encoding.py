"""Encodings: one product in the ideal limit, each by its own reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax import encoding

ROWS, COLS, V_MAX = 24, 5, 0.2
RNG = np.random.default_rng(0)
G = jnp.asarray(RNG.uniform(1e-6, 1e-4, (ROWS, COLS)))
X = jnp.asarray(np.concatenate([[-1.0, 0.0, 1.0, 0.5], RNG.uniform(-1, 1, ROWS - 4)]))

Encode = Callable[[jax.Array], encoding.Phases]
# of 4 bits each: the encoding, and how many reads it takes
ENCODINGS: dict[str, tuple[Encode, int]] = {
    "amplitude": (partial(encoding.amplitude, dac=encoding.Dac(4, V_MAX)), 1),
    "bits": (partial(encoding.sliced, v_max=V_MAX, bits=4, slices=(1,) * 4), 4),
    "slices": (partial(encoding.sliced, v_max=V_MAX, bits=4, slices=(1, 3)), 2),
    "pulse_width": (partial(encoding.pulse_width, v_max=V_MAX, bits=4), 15),
    "pulse_number": (partial(encoding.pulse_number, v_max=V_MAX, bits=4), 15),
}
every_encoding = pytest.mark.parametrize("name", ENCODINGS)


def product(crossbar: xb.Crossbar, phases: encoding.Phases) -> jax.Array:
    outputs = jax.vmap(lambda v: xb.read(crossbar, v).i_out)(phases.v)
    return encoding.add_up(phases, outputs)


def rounded(x: np.ndarray, bits: int) -> np.ndarray:
    return np.sign(x) * np.round(np.abs(x) * (2**bits - 1)) / (2**bits - 1)


@pytest.mark.few(6)
@every_encoding
@pytest.mark.parametrize("way", ["by polarity", "in two phases", "few rows"])
def test_all_give_the_same_product_in_the_ideal_limit(name: str, way: str) -> None:
    encode, count = ENCODINGS[name]
    phases = encoding.in_two_phases(encode, X) if way == "in two phases" else encode(X)
    if way == "few rows":
        phases = encoding.few_rows(phases, 10)
    factor = {"by polarity": 1, "in two phases": 2, "few rows": 3}[way]
    assert phases.v.shape == (factor * count, ROWS) and phases.weight.shape == (factor * count,)
    if way == "in two phases":
        assert float(phases.v.min()) == 0
    if way == "few rows":
        assert int(jnp.sum(phases.v != 0, axis=1).max()) <= 10
    want = V_MAX * rounded(np.asarray(X), 4) @ np.asarray(G)
    got = product(xb.Crossbar(xb.Ohmic(G)), phases)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13 * np.abs(want).max())


@every_encoding
def test_gradients_go_straight_through(name: str) -> None:
    encode, _ = ENCODINGS[name]
    total = lambda x: encoding.add_up(encode(x), encode(x).v)
    np.testing.assert_allclose(jax.jacobian(total)(X), V_MAX * np.eye(ROWS), atol=1e-14)
    two = lambda x: encoding.add_up(p := encoding.in_two_phases(encode, x), p.v)
    inside = jnp.where(X == 0, 0.3, X)
    np.testing.assert_allclose(jax.jacobian(two)(inside), V_MAX * np.eye(ROWS), atol=1e-14)


def test_pulses_are_on_or_off_and_spread_as_they_say() -> None:
    x = jnp.asarray([0.0, 1 / 7, 3 / 7, 1.0])
    wide, many = encoding.pulse_width(x, 1.0, 3).v, encoding.pulse_number(x, 1.0, 3).v
    for v in (wide, many):
        np.testing.assert_array_equal(v.sum(0), [0, 1, 3, 7])
        assert set(np.unique(v)) == {0.0, 1.0}
    np.testing.assert_array_equal(wide[:, 2], [1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(many[:, 2], [0, 0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_largest_number_is_exactly_the_largest_voltage(dtype: type) -> None:
    one = jnp.ones(1, dtype)
    for v_max in np.random.default_rng(1).uniform(0.1, 2, 8).astype(dtype):
        v_max = jnp.asarray(v_max)
        ways = encoding.Dac(7, v_max), lambda x, v=v_max: encoding.sliced(x, v, 7, (7,)).v
        for way in ways:
            assert way(one).dtype == dtype
            assert jnp.max(way(one)) == v_max == jnp.max(jax.jit(lambda x, f=way: f(x))(one))


def test_slices_are_the_bits_of_the_number() -> None:
    x = jnp.asarray([0b10110101 / 255])
    phases = encoding.sliced(x, 1.0, 8, (2, 3, 3))
    np.testing.assert_allclose(phases.v[:, 0], [0b10 / 3, 0b110 / 7, 0b101 / 7], rtol=1e-15)
    np.testing.assert_allclose(phases.weight, [64 * 3 / 255, 8 * 7 / 255, 7 / 255], rtol=1e-15)


def test_nonlinearity_of_a_converter_shows_and_has_a_gradient() -> None:
    inl = jnp.asarray([0.0, 0.3, -0.2, 0.0])
    x = jnp.asarray([0.0, 0.3, -0.7, 1.0])  # codes 0, 1, -2, 3
    v = lambda inl, v_max: encoding.amplitude(x, encoding.Dac(2, v_max, inl)).v[0]
    np.testing.assert_allclose(v(inl, 0.9), [0, 0.3 * 1.3, -0.3 * 1.8, 0.9], atol=1e-16)
    by_inl, by_max = jax.jacobian(v, argnums=(0, 1))(inl, jnp.asarray(0.9))
    want = np.zeros((4, 4))
    want[0, 0], want[1, 1], want[2, 2], want[3, 3] = 0.3, 0.3, -0.3, 0.3
    np.testing.assert_allclose(by_inl, want, atol=1e-16)
    np.testing.assert_allclose(by_max, v(inl, 1.0), atol=1e-16)


@pytest.mark.slow
def test_wires_do_not_tell_encodings_apart_but_cells_do() -> None:
    """A linear array has superposition, whatever its wires; one that is not has none."""
    crossbar = xb.Crossbar(xb.Ohmic(G), xb.Wires(50.0, 50.0))
    x = jnp.abs(X)
    results = [product(crossbar, encode(x)) for encode, _ in ENCODINGS.values()]
    np.testing.assert_allclose(results, np.broadcast_to(results[0], (5, COLS)), rtol=1e-10)
    g, b = G * 1e-1, 4.0
    nonlinear = xb.Crossbar(xb.Sinh(g, b), xb.Wires(50.0, 50.0))
    results = [product(nonlinear, ENCODINGS[name][0](x)) for name in ("amplitude", "bits")]
    assert np.max(np.abs(results[0] / results[1] - 1)) > 1e-3


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: encoding.sliced(X, 1.0, 8, (2, 3, 2)), r"\(2, 3, 2\), 7 bits.*bits = 8"),
        (lambda: encoding.sliced(X, 1.0, 8, (8, 0)), "a slice is 0"),
        (lambda: encoding.pulse_width(X, 1.0, 0), "bits is 0"),
        (lambda: encoding.pulse_width(X, -1.0, 4), "v_max is -1.0 V"),
        (lambda: encoding.pulse_number(2 * X, 1.0, 4), r"x\[0\] is -2.0; .*scale"),
        (lambda: encoding.Dac(3, 1.0, jnp.zeros(7)), r"inl has shape \(7,\).*8 codes"),
        (lambda: encoding.few_rows(encoding.Phases(X[None], jnp.ones(1)), 0), "most is 0"),
    ],
)
def test_bad_input_is_named(call: Callable, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
