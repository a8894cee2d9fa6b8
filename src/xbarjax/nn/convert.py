"""A network of equinox onto arrays."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._types import everywhere
from .analog import Arrays
from .layers import MLP, Conv2d, Linear

# What holds no matrix, or one that is used as numbers and not as a product.
KEPT = (
    eqx.nn.Lambda,
    eqx.nn.Dropout,
    eqx.nn.Identity,
    eqx.nn.LayerNorm,
    eqx.nn.RMSNorm,
    eqx.nn.GroupNorm,
    eqx.nn.BatchNorm,
    eqx.nn.PReLU,
    eqx.nn.Embedding,
    eqx.nn.Pool,
)


def convert(
    model: Any,
    make: Callable[[jax.Array], Any],
    *,
    where: Callable[[Any], bool] = lambda layer: True,
) -> Any:
    """The same model with its `equinox.nn.Linear` and `Conv2d` on arrays, and all else as it is; an
    `equinox.nn.MLP` becomes one that hands on its key, for noise.

    Weights are trained as conductances where the converted model is trained, and as weights where
    it is converted in the loss: `convert` and `tile` are functions with gradients.

    **Arguments:**

    - `model`: any pytree of equinox layers.
    - `make`: arrays, or another product (`methods`), for a matrix of weights `(inputs, outputs)`,
        for example `lambda w: tile(w, DifferentialPair(1e-6, 1e-4), build, max_tile=64)`.
    - `where`: which layers are converted, all by default; the others stay as they are.

    **Errors:** `ValueError` for a layer whose matrix has no arrays that compute with it (another
    convolution, a recurrent cell, weights that are shared or normalised): leave it out by `where`;
    for noise in an attention, which gives its projections no key; and for a model without any layer
    that could be converted.
    """
    count = 0

    def one(layer: Any) -> Any:
        nonlocal count
        if isinstance(layer, eqx.nn.MLP):
            return _mlp(layer, tuple(map(one, layer.layers)))
        if isinstance(layer, eqx.nn.MultiheadAttention):
            inner = [getattr(layer, name) for name in PROJECTIONS]
            made = list(map(one, inner))
            of = lambda attention: [getattr(attention, name) for name in PROJECTIONS]
            return _without_noise(eqx.tree_at(of, layer, made))
        if not _is_layer(layer) or isinstance(layer, KEPT) or not where(layer):
            return layer
        count += 1
        if isinstance(layer, eqx.nn.Linear):
            return _linear(layer, make)
        if isinstance(layer, eqx.nn.Conv2d):
            return _conv2d(layer, make)
        raise ValueError(
            f"model has a {type(layer).__name__}, which has no counterpart on arrays; leave it out"
            " by where, or replace it."
        )

    converted = jax.tree.map(one, model, is_leaf=_is_layer)
    if count == 0:
        raise ValueError("model has no layer to convert: it needs an equinox.nn.Linear or Conv2d.")
    return converted


PROJECTIONS = ("query_proj", "key_proj", "value_proj", "output_proj")


def _is_layer(x: Any) -> bool:
    """Whether a module is converted, kept or refused as a whole."""
    kinds = (
        eqx.nn.Linear,
        eqx.nn.MLP,
        eqx.nn.MultiheadAttention,
        eqx.nn.Conv,
        eqx.nn.ConvTranspose,
        eqx.nn.GRUCell,
        eqx.nn.LSTMCell,
        eqx.nn.WeightNorm,
        eqx.nn.SpectralNorm,
        eqx.nn.Shared,
        *KEPT,
    )
    return isinstance(x, kinds)


def _mlp(layer: eqx.nn.MLP, inner: tuple[Any, ...]) -> Any:
    if all(new is old for new, old in zip(inner, layer.layers, strict=True)):
        return layer
    return MLP(inner, layer.activation, layer.final_activation)


def _without_noise(attention: eqx.nn.MultiheadAttention) -> eqx.nn.MultiheadAttention:
    arrays = jax.tree.leaves(attention, is_leaf=lambda x: isinstance(x, Arrays))
    noisy = [
        a for a in arrays if isinstance(a, Arrays) and not everywhere(lambda x: x == 0, a.noise)
    ]
    if noisy:
        raise ValueError(
            f"noise is {float(noisy[0].noise)} A, and a MultiheadAttention gives its projections no"
            " key to draw it from: leave noise at 0, or write the attention as a module that does."
        )
    return attention


def _linear(layer: eqx.nn.Linear, make: Callable[[jax.Array], Any]) -> Linear:
    if layer.in_features == "scalar" or layer.out_features == "scalar":
        raise ValueError("model has a Linear of scalars; give it vectors of length 1.")
    if layer.weight.ndim != 2:
        raise ValueError("model has an MLP whose layers are stacked; make it with scan=False.")
    return Linear(make(layer.weight.T), layer.bias)


def _conv2d(layer: eqx.nn.Conv2d, make: Callable[[jax.Array], Any]) -> Conv2d:
    if layer.groups != 1:
        raise ValueError(f"model has a Conv2d of {layer.groups} groups; only one group is mapped.")
    if layer.padding_mode != "ZEROS":
        raise ValueError(
            f"model has a Conv2d with padding_mode {layer.padding_mode}; only ZEROS is mapped."
        )
    matrix = jnp.reshape(layer.weight, (layer.out_channels, -1)).T
    return Conv2d(
        make(matrix), layer.bias, layer.kernel_size, layer.stride, layer.padding, layer.dilation
    )
