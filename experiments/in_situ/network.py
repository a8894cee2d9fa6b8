"""The networks on arrays, and MNIST as they see it."""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import xbarjax as xb
from xbarjax import nn

from ..mnist_wires.data import DEVIATION, MEAN, mnist

LOW, HIGH = 1e-6, 1e-4  # [S]
SEGMENT = 1.0  # [ohm]
V_READ = 0.2  # [V] per unit of input
REACH = 2.0  # largest weight of a pair
TILE = (128, 64)
SIZES = {"64-54-10": (64, 54, 10), "196-128-10": (196, 128, 10)}
VALIDATION = 10_000  # last images of the training set, for the choice of rates alone
Data = dict[str, np.ndarray]


class Network(eqx.Module):
    """A perceptron with one hidden layer of rectifiers, without biases. Every weight is a pair of
    devices in two neighbouring rows, which are driven by `v` and `-v`."""

    first: nn.Arrays
    second: nn.Arrays

    def __call__(self, x: jax.Array, hidden: Any = 0.0, out: Any = 0.0) -> jax.Array:
        """Outputs for one image. `hidden` and `out` are added at the outputs of both layers: the
        gradients by them are the errors there."""
        y = jax.nn.relu(self.first(signed(x)) + hidden)
        return self.second(signed(y)) + out


def signed(x: jax.Array) -> jax.Array:
    """Inputs of the rows: each value, and the same with the opposite sign."""
    return jnp.stack([x, -x], axis=-1).ravel()


def new(size: str, seed: int, r: float) -> Network:
    """A network with random weights; `r`: wires [ohm per segment], 0 for ideal ones."""
    inputs, hidden, outputs = SIZES[size]
    keys = jax.random.split(jax.random.key(seed))
    layers = [
        _layer(jax.random.uniform(k, shape, minval=-1, maxval=1) / np.sqrt(shape[0]), r)
        for k, shape in zip(keys, ((inputs, hidden), (hidden, outputs)))
    ]
    return Network(*layers)


def _layer(weights: jax.Array, r: float) -> nn.Arrays:
    """Arrays with rows `2 i` and `2 i + 1` for weight `i`, around the middle of the range."""
    low, high = jnp.float32(LOW), jnp.float32(HIGH)
    mapping = xb.DigitalOffset(low, high, (low + high) / 2)
    both = jnp.stack([weights, -weights], axis=1).reshape(-1, weights.shape[1]) / 2
    k = (high - low) / REACH
    route = nn.by_matrix if r else without_wires
    return nn.tile(both, mapping, wired(r), max_tile=TILE, k=k, v_read=V_READ, route=route)


@cache
def wired(r: float) -> Callable[[jax.Array], xb.Crossbar]:
    segment = lambda g: jnp.asarray(r, g.dtype)
    return lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(segment(g), segment(g)))


def without_wires(arrays: nn.Arrays, v: jax.Array) -> jax.Array:
    """Currents of ideal wires, without a solve."""
    return jnp.einsum("dr,darc->dac", v, arrays.conductances[:, :, 0])


def loss(net: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean cross-entropy of a batch."""
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(net)(x), y).mean()


def errors(net: Network, x: jax.Array, y: jax.Array) -> Any:
    """Inputs of the rows and errors at the outputs of both layers, for every image of a batch: what
    a chip knows when it updates."""
    still = lax.stop_gradient(net)

    def of(x, y):
        one, two = (jnp.zeros(a.tiling.outputs) for a in (net.first, net.second))
        cost = lambda one, two: optax.softmax_cross_entropy_with_integer_labels(
            still(x, one, two), y
        )
        at_hidden, at_out = jax.grad(cost, (0, 1))(one, two)
        return (signed(x), at_hidden), (signed(jax.nn.relu(still.first(signed(x)))), at_out)

    return jax.vmap(of)(x, y)


@eqx.filter_jit
def _correct(net: Network, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean(jnp.argmax(jax.vmap(net)(x), axis=1) == y)


def accuracy(net: Network, x: Any, y: Any) -> float:
    return float(_correct(net, x, y))


@cache
def images(size: str) -> Data:
    """MNIST with pixels from 0 to 1, averaged over 3 x 3 pixels of the middle 24 x 24 for 64
    inputs, over 2 x 2 pixels for 196. The last images for training are `validation`."""
    found = mnist()
    side = {64: 3, 196: 2}[SIZES[size][0]]
    parts = {"train": ("train", slice(0, -VALIDATION)), "test": ("test", slice(None))}
    parts["validation"] = ("train", slice(-VALIDATION, None))
    made = {}
    for name, (part, some) in parts.items():
        x = (found[f"x_{part}"][some] * DEVIATION + MEAN).reshape(-1, 28, 28)
        x = x[:, 2:26, 2:26] if side == 3 else x
        n = x.shape[1] // side
        pooled = x.reshape(-1, n, side, n, side).mean((2, 4)).reshape(len(x), -1)
        made[f"x_{name}"] = pooled.astype(np.float32)
        made[f"y_{name}"] = found[f"y_{part}"][some].astype(np.int32)
    return made


def batches(size: str, samples: int, batch: int, seed: int) -> tuple[jax.Array, jax.Array]:
    """All batches of a training, `(updates, batch, ...)`: every epoch in a new order."""
    data, rng = images(size), np.random.default_rng(seed)
    n = len(data["x_train"])
    epochs = -(-samples // n)
    order = np.concatenate([rng.permutation(n) for _ in range(epochs)])[:samples]
    order = order[: samples // batch * batch].reshape(-1, batch)
    return jnp.asarray(data["x_train"][order]), jnp.asarray(data["y_train"][order])


def by_conductances(net: Network, x: jax.Array, y: jax.Array) -> list[jax.Array]:
    """Gradient of the loss by all conductances [1/S], per layer."""

    def cost(shares):
        here = eqx.tree_at(lambda n: (n.first.g_relative, n.second.g_relative), net, shares)
        return loss(here, x, y)

    slopes = jax.grad(cost)((net.first.g_relative, net.second.g_relative))
    return [slope / jnp.float32(HIGH - LOW) for slope in slopes]


def holding(net: Network, devices: Any) -> Network:
    """The network with the conductances of devices, one `Pulsed` per layer."""
    made = [nn.in_situ.holding(a, d) for a, d in zip((net.first, net.second), devices)]
    return dataclasses.replace(net, first=made[0], second=made[1])
