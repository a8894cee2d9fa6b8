"""The perceptron of experiments/in_situ, trained in software and put on arrays of devices."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp

import xbarjax as xb
from xbarjax import nn

from ..in_situ.learning import in_software
from ..in_situ.network import (
    REACH,
    TILE,
    Network,
    accuracy,
    images,
    wired,
    without_wires,
)
from ..in_situ.run import BATCH, RATES, SAMPLES
from .chips import V_READ, Chip, pairs

SIZE = "64-54-10"
SCALE = 0.8  # part of the range that the largest weight takes
LAYERS = ("first", "second")


@cache
def software(seed: int) -> tuple[dict[str, jax.Array], float]:
    """Weights of both layers after training in software, and their test accuracy."""
    net = in_software(SIZE, RATES[f"{SIZE}/software"], seed, SAMPLES[SIZE], BATCH[SIZE])
    weights = {n: REACH * pairs(getattr(net, n).g_relative[0, 0, 0]) for n in LAYERS}
    return weights, tested(net)


def tested(net: Network) -> float:
    data = images(SIZE)
    return accuracy(net, data["x_test"], data["y_test"])


def converted(chip: Chip, weights: jax.Array, r: float | None) -> nn.Arrays:
    """Arrays of a layer, as they should be for ideal wires."""
    low, high = chip.response.g_min, chip.response.g_max
    k = SCALE * (high - low) / jnp.max(jnp.abs(weights))
    if chip.is_pair:
        mapping = xb.DigitalOffset(low, high, low)
        both = jnp.stack([jnp.maximum(weights, 0), jnp.maximum(-weights, 0)], axis=1)
    else:
        mapping = xb.DigitalOffset(low, high, (low + high) / 2)
        both = jnp.stack([weights, -weights], axis=1) / 2
    both = both.reshape(-1, weights.shape[1])
    route = without_wires if r is None else nn.by_matrix
    return nn.tile(both, mapping, wired(r or 0.0), max_tile=TILE, k=k, v_read=V_READ, route=route)


def target(chip: Chip, weights: jax.Array) -> jax.Array:
    """Conductances [S] of the devices of a layer."""
    return converted(chip, weights, None).conductances[0, 0, 0]


def holding(chip: Chip, weights: dict[str, jax.Array], g: list[jax.Array], r: float | None):
    """The network with these conductances [S] in its devices."""
    made = {}
    for n, mine in zip(LAYERS, g):
        arrays = converted(chip, weights[n], r)
        low, high = arrays.mapping.g_min, arrays.mapping.g_max
        # 1 nS at least, since rounding could make 0 S negative
        share = ((jnp.maximum(mine, 1e-9) - low) / (high - low))[None, None, None]
        made[n] = eqx.tree_at(lambda a: a.g_relative, arrays, share)
    return Network(**made)


def exact(chip: Chip, weights: dict[str, jax.Array], r: float | None) -> float:
    """Test accuracy with devices that are exactly at their targets."""
    return tested(holding(chip, weights, [target(chip, weights[n]) for n in LAYERS], r))
