"""Small arrays and networks that tests of layers and of training share."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import xbarjax as xb
from xbarjax import nn

LOW, HIGH = 1e-6, 1e-4
KEY = jax.random.key(2)
MAPPINGS = [
    xb.DifferentialPair(LOW, HIGH),
    xb.ConstantSumPair(LOW, HIGH),
    xb.InterleavedPair(LOW, HIGH),
    xb.OffsetColumn(LOW, HIGH),
    xb.DigitalOffset(LOW, HIGH, 4e-5),
]


def ideal(g):
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(0.0, 0.0))


def wired(g):
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(3.0, 5.0), xb.Drive(20.0), xb.VirtualGround(10.0))


def weights(shape=(11, 7)):
    return jnp.asarray(np.random.default_rng(0).normal(0, 0.3, shape))


def network(key=KEY, **rest):
    net = eqx.nn.MLP(6, 3, 5, 1, key=key, dtype=float)
    make = lambda w: nn.tile(w, MAPPINGS[0], wired, max_tile=4, scale=0.7, **rest)
    return nn.convert(net, make)


def data():
    x = jax.random.normal(KEY, (64, 6))
    return x, (x @ jax.random.normal(jax.random.key(5), (6, 3))).argmax(1)


@eqx.filter_jit
def loss(net, batch, key):
    x, y = batch
    z = jax.vmap(lambda x, k: net(x, key=k))(x, jax.random.split(key, len(x)))
    return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()
