"""The network, trained in software, and what it is put on."""

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
    """784-128-10 with ReLU."""

    first: Any
    second: Any

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        one, two = (None, None) if key is None else jax.random.split(key)
        return self.second(jax.nn.relu(self.first(x, key=one)), key=two)


def new(seed: int) -> Network:
    one, two = jax.random.split(jax.random.key(seed))
    return Network(eqx.nn.Linear(784, 128, key=one), eqx.nn.Linear(128, 10, key=two))


def loss(net: Any, batch: Any, key: Any) -> jax.Array:
    """Cross entropy, without noise."""
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(net)(x), y).mean()


def batches(data: Data, size: int, count: int, seed: int) -> Iterator[tuple[jax.Array, jax.Array]]:
    """So many batches, of images in an order of their own every epoch."""
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
    """Trained on ideal wires."""
    count = round(EPOCHS * len(data["x_train"]) / 250)
    return nn.fit(_plain(count), new(seed), batches(data, 250, count, seed)).model


@cache
def _plain(count: int) -> nn.Training:
    """One for all seeds, so that they are compiled once."""
    rate = optax.cosine_decay_schedule(RATE, count)
    return nn.Training(loss, optax.adamw(rate, weight_decay=DECAY))


@eqx.filter_jit
def _correct(net: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean(jnp.argmax(jax.vmap(net)(x), axis=1) == y)


def accuracy(net: Any, data: Data) -> float:
    """On the 10,000 test images."""
    return float(_correct(net, data["x_test"], data["y_test"].astype(np.int32)))


@cache
def wired(r: float) -> Callable[[jax.Array], xb.Crossbar]:
    """Arrays on wires of so many ohm a segment; one function each, so that it is compiled once."""
    segment = lambda g: jnp.asarray(r, g.dtype)
    return lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(segment(g), segment(g)))


def bounds() -> tuple[jax.Array, jax.Array]:
    """Of conductances [S]."""
    return jnp.float32(1 / HRS), jnp.float32(1 / LRS)


def pairs(tile: int, scale: float = 1.0) -> methods.Hardware:
    """Differential pairs."""
    mapping = xb.DifferentialPair(*bounds())
    return methods.Hardware(mapping, wired(SEGMENT), tile, scale, {"v_read": V_READ})


def spanning(weights: jax.Array, tile: int) -> nn.Arrays:
    """The published mapping: one array a tile, weights from the smallest to the largest on
    conductances from the lowest to the highest."""
    mapping, k = xb.DigitalOffset.spanning(weights, *bounds())
    return nn.tile(weights, mapping, wired(SEGMENT), max_tile=tile, k=k, v_read=V_READ)


def begun(weights: jax.Array, tile: int, zero: float) -> nn.Arrays:
    """Where training with that mapping begins: a weight of 0 at a part `zero` of the range, the
    largest as far from it as the lowest conductance is, and one gain and one offset a layer. From
    there on, weights move within the whole range, and gain and offset say what it stands for."""
    low, high = bounds()
    mapping = xb.DigitalOffset(low, high, low + zero * (high - low))
    k = zero * (high - low) / jnp.max(jnp.abs(weights))
    arrays = nn.tile(weights, mapping, wired(SEGMENT), max_tile=tile, k=k, v_read=V_READ)
    return arrays.calibrated(weights, columns=False)


def on(net: Network, make: Callable[[jax.Array], Any]) -> Network:
    return nn.convert(net, make)
