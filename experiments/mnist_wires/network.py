"""The MNIST network in software, and its arrays."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import xbarjax as xb
from xbarjax import nn
from xbarjax.nn import methods

LRS, HRS, SEGMENT = 1e3, 40e3, 2.0  # [ohm]
V_READ = 0.1  # [V] per unit of a normalised pixel
EPOCHS, RATE, DECAY = 7.5, 2e-3, 1e-2  # in software, batches of 250
Data = dict[str, np.ndarray]


class Network(eqx.Module):
    """A 784-128-10 network with ReLU."""

    first: Any
    second: Any

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        one, two = (None, None) if key is None else jax.random.split(key)
        return self.second(jax.nn.relu(self.first(x, key=one)), key=two)


def new(seed: int) -> Network:
    one, two = jax.random.split(jax.random.key(seed))
    return Network(eqx.nn.Linear(784, 128, key=one), eqx.nn.Linear(128, 10, key=two))


def loss(net: Any, batch: Any, key: Any) -> jax.Array:
    """Mean cross-entropy of a batch, without noise."""
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(net)(x), y).mean()


def batches(data: Data, size: int, count: int, seed: int) -> Iterator[tuple[jax.Array, jax.Array]]:
    """`count` batches of `size` images, in a new order for every epoch."""
    rng, x, y = np.random.default_rng(seed), data["x_train"], data["y_train"].astype(np.int32)
    while True:
        order = rng.permutation(len(x))
        for start in range(0, len(x) - size + 1, size):
            if count == 0:
                return
            count -= 1
            mine = order[start : start + size]
            yield jnp.asarray(x[mine]), jnp.asarray(y[mine])


def in_software(data: Data, seed: int) -> Network:
    """The network trained in software."""
    count = round(EPOCHS * len(data["x_train"]) / 250)
    return nn.fit(_plain(count), new(seed), batches(data, 250, count, seed)).model


@cache
def _plain(count: int) -> nn.Training:
    """Settings shared by all seeds, so that JAX compiles once."""
    rate = optax.cosine_decay_schedule(RATE, count)
    return nn.Training(loss, optax.adamw(rate, weight_decay=DECAY))


@eqx.filter_jit
def _correct(net: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean(jnp.argmax(jax.vmap(net)(x), axis=1) == y)


def accuracy(net: Any, data: Data) -> float:
    """Accuracy on the 10,000 test images."""
    return float(_correct(net, data["x_test"], data["y_test"].astype(np.int32)))


@cache
def wired(r: float) -> Callable[[jax.Array], xb.Crossbar]:
    """A `build` of arrays with wires of `r` [ohm per segment]. It is cached, so that JAX compiles
    once per `r`."""
    segment = lambda g: jnp.asarray(r, g.dtype)
    return lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(segment(g), segment(g)))


def bounds() -> tuple[jax.Array, jax.Array]:
    """Bounds of conductances [S]."""
    return jnp.float32(1 / HRS), jnp.float32(1 / LRS)


def pairs(tile: int, scale: float = 1.0) -> methods.Hardware:
    """Hardware with differential pairs."""
    mapping = xb.DifferentialPair(*bounds())
    return methods.Hardware(mapping, wired(SEGMENT), tile, scale, {"v_read": V_READ})


def spanning(weights: jax.Array, tile: int) -> nn.Arrays:
    """The published mapping: one array per tile, with weights from smallest to largest mapped
    linearly to conductances from lowest to highest."""
    mapping, k = xb.DigitalOffset.spanning(weights, *bounds())
    return nn.tile(weights, mapping, wired(SEGMENT), max_tile=tile, k=k, v_read=V_READ)


def begun(weights: jax.Array, tile: int, zero: float) -> nn.Arrays:
    """Starting point of training with the published mapping. A weight of 0 is at the part `zero` of
    the range, and the largest absolute weight spans the distance from there to the lowest
    conductance. One gain and one offset per layer are calibrated. Training then moves conductances
    within the whole range, and gain and offset set the weights they stand for."""
    low, high = bounds()
    mapping = xb.DigitalOffset(low, high, low + zero * (high - low))
    k = zero * (high - low) / jnp.max(jnp.abs(weights))
    arrays = nn.tile(weights, mapping, wired(SEGMENT), max_tile=tile, k=k, v_read=V_READ)
    return arrays.calibrated(weights, columns=False)


def on(net: Network, make: Callable[[jax.Array], Any]) -> Network:
    return nn.convert(net, make)
