"""Analog networks against matrix products with ReLU, a dense solve of every branch, and
differences."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.mna import Net
from xbarjax import elements as el
from xbarjax.systems import networks

RNG = np.random.default_rng(0)
PAIR = xb.DifferentialPair(1e-6, 1e-4)
WEIGHTS = [0.4 * RNG.normal(size=shape) for shape in ((6, 5), (6, 3))]
X, BIAS, R = RNG.uniform(0.05, 0.3, 5), 0.2, 8e3
I_S, V_T = 1e-9, 1.380649e-23 * 300.15 / 1.602176634e-19


def programmed(weights: list[np.ndarray]) -> list[Any]:
    return [PAIR.program(jnp.asarray(w), 1 / R) for w in weights]


def in_software(weights: list[np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    """Outputs of every layer, with ReLU in all but the last."""
    found = []
    for k, w in enumerate(weights):
        x = np.append(x, BIAS) @ w
        x = x if k == len(weights) - 1 else np.maximum(x, 0)
        found.append(x)
    return found


def network(g: list[Any], x: Any, gain: float = 1e4, r: Any = 0.0) -> xb.Circuit:
    return networks.perceptron(
        g,
        x,
        v_bias=BIAS,
        r_feedback=R,
        wires=xb.Wires(r, r),
        amplifier=partial(el.OpAmp, gain=gain),
    )


def test_it_is_a_perceptron_up_to_the_gain_and_the_leakage_of_diodes() -> None:
    want = in_software(WEIGHTS, X)
    assert any((layer == 0).any() and (layer > 0).any() for layer in want[:-1])
    leak = 2 * R * I_S  # [V]
    errors = []
    for gain in (1e3, 1e4, 1e7):
        found = xb.solve(network(programmed(WEIGHTS), jnp.asarray(X), gain))
        assert found.growth is not None and float(found.growth) < 0
        outputs = [found.v["x1"][:-1], found.v["y"]]
        apart = [np.abs(np.asarray(a) - b).max() for a, b in zip(outputs, want, strict=True)]
        errors.append(max(apart))
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.2)
    assert errors[2] < 3 * leak


def test_every_branch_is_as_in_a_dense_solve() -> None:
    """Diodes as tangents at the voltages found: a step of Newton's method, which stays there."""
    gain, r = 1e3, 5.0
    g = programmed(WEIGHTS)
    found = xb.solve(network(g, jnp.asarray(X), gain, r))
    net = Net()

    def diode(a: str, b: str, u: Any) -> None:
        slope = I_S * np.exp(u / V_T) / V_T
        i = I_S * np.expm1(u / V_T) - slope * u
        net.resistor(a, b, 1 / slope)
        net.current(b, a, i)

    v = {bus: np.asarray(x) for bus, x in found.v.items()}
    for k, pair in enumerate(map(np.asarray, g)):
        _, rows, cols = pair.shape
        for side, one in zip(("plus", "minus"), pair, strict=True):
            bus = f"x0 {side}" if k == 0 else f"x{k}"
            ends = {"rows": [f"{bus}_{i}" for i in range(rows)]}
            ends |= {"cols": [f"{side}{k}_{j}" for j in range(cols)]}
            net.array(one, np.full(one.shape, r), np.full(one.shape, r), ends, f"{side}{k}")
            for i, x in enumerate(np.append(X, BIAS) if k == 0 else []):
                net.voltage(f"{bus}_{i}", "0", x)
        last = k == len(g) - 1
        for j in range(cols):
            plus, minus, turned = f"plus{k}_{j}", f"minus{k}_{j}", f"turned{k}_{j}"
            driven, end = f"driven{k}_{j}", f"y_{j}" if last else f"x{k + 1}_{j}"
            net.amplifier(plus, "0", turned, gain, 1.0)
            net.amplifier(minus, "0", end if last else driven, gain, 1.0)
            for a, b in ((plus, turned), (turned, minus), (minus, end)):
                net.resistor(a, b, R)
            if not last:
                diode(driven, end, v[f"driven{k}"][j] - v[f"x{k + 1}"][j])
                diode(minus, driven, v[f"minus{k}"][j] - v[f"driven{k}"][j])
        if not last:
            net.voltage(f"x{k + 1}_{cols}", "0", BIAS)
    want = net.solve()[0]
    largest = max(map(abs, want.values()))
    for bus, got in v.items():
        for k, x in enumerate(got):
            assert abs(x - want[f"{bus}_{k}"]) < 1e-9 * largest, (bus, k)


def test_gradients_of_the_whole_chain_are_those_of_differences() -> None:
    """From pixels to the cross-entropy of the output voltages."""

    @jax.jit
    @jax.value_and_grad
    def value(p: dict[str, Any]) -> Any:
        y = xb.solve(network(p["g"], p["x"], 1e3, p["r"])).v["y"]
        return -jax.nn.log_softmax(y / 0.05)[1]

    p = {"g": programmed(WEIGHTS), "x": jnp.asarray(X), "r": jnp.full((), 5.0)}
    slope = value(p)[1]
    leaves, tree = jax.tree.flatten(p)
    slopes = jax.tree.leaves(slope)
    for k, (x, s) in enumerate(zip(leaves, slopes, strict=True)):
        change = 1e-4 * x * jnp.sign(s) * jnp.asarray(RNG.uniform(size=x.shape))
        at = lambda sign, k=k, change=change: value(
            jax.tree.unflatten(tree, [*leaves[:k], leaves[k] + sign * change, *leaves[k + 1 :]])
        )[0]
        want = float(at(1) - at(-1)) / 2
        assert abs(float(jnp.vdot(s, change)) / want - 1) < 1e-6, k


def test_a_batch_in_float32_is_a_perceptron() -> None:
    g = [x.astype(jnp.float32) for x in programmed(WEIGHTS)]
    x = np.stack([X, X[::-1]])
    answer = lambda x: xb.solve(network(g, x)).v["y"]
    got = jax.vmap(answer)(jnp.asarray(x, jnp.float32))
    want = np.stack([in_software(WEIGHTS, each)[-1] for each in x])
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, atol=2e-3 * np.abs(want).max())


@pytest.mark.parametrize(
    ("g", "x", "said"),
    [
        ([np.ones((3, 3)) * 1e-5], np.ones(2), r"g\[0\] has shape \(3, 3\); .* a pair of arrays"),
        (
            [np.ones((2, 4, 2)) * 1e-5],
            np.ones(2),
            r"g\[0\] has 4 rows; v_in gives 2 inputs and one",
        ),
        (
            [np.ones((2, 3, 2)) * 1e-5, np.ones((2, 2, 4)) * 1e-5],
            np.ones(2),
            r"g\[1\] has 2 rows; g\[0\] gives 2 inputs and one row for the bias",
        ),
        ([], np.ones(2), "g is empty"),
        ([np.ones((2, 3, 2)) * 1e-5], np.ones((5, 2)), r"v_in has shape \(5, 2\)"),
    ],
)
def test_bad_input_gets_a_sentence(g: Any, x: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        networks.perceptron(g, x, v_bias=BIAS)
