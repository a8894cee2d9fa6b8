"""Conversion of an equinox network to crossbar arrays."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._types import everywhere
from .analog import Arrays
from .layers import MLP, Conv2d, Linear

# Layers without a matrix, or whose matrix is looked up instead of multiplied.
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
    """A model on arrays: every `equinox.nn.Linear` and `Conv2d` in `model` is put on arrays. An
    `equinox.nn.MLP` becomes an `nn.MLP`, which passes a key to its layers for noise. Other layers
    stay.

    Training the converted model trains conductances. To train weights instead, call `convert`
    inside the loss: `convert` and `tile` have gradients.

    **Arguments:**

    - `model`: any pytree of equinox layers.
    - `make`: function from weights `(inputs, outputs)` to arrays or another product (`methods`),
        for example `lambda w: tile(w, DifferentialPair(1e-6, 1e-4), build, max_tile=64)`.
    - `where`: predicate of a layer; layers for which it is false stay as they are. By default all
        layers are converted.

    **Errors:** `ValueError` for

    - a layer that cannot be put on arrays (another convolution, a recurrent cell, shared or
        normalised weights): exclude it by `where`;
    - noise in an attention layer, which gives its projections no key;
    - a model without any layer to convert.
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
            f"model has a {type(layer).__name__}, which has no counterpart on arrays; exclude it"
            " by where, or replace it."
        )

    converted = jax.tree.map(one, model, is_leaf=_is_layer)
    if count == 0:
        raise ValueError("model has no layer to convert: it needs an equinox.nn.Linear or Conv2d.")
    return converted


PROJECTIONS = ("query_proj", "key_proj", "value_proj", "output_proj")


def _is_layer(x: Any) -> bool:
    """Whether `convert` handles a module as a whole, instead of its parts."""
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
            f"noise is {float(noisy[0].noise)} A, but a MultiheadAttention gives its projections no"
            " key to draw noise from; set noise to 0, or write an attention that passes a key."
        )
    return attention


def _linear(layer: eqx.nn.Linear, make: Callable[[jax.Array], Any]) -> Linear:
    if layer.in_features == "scalar" or layer.out_features == "scalar":
        raise ValueError("model has a Linear of scalars; use vectors of length 1.")
    if layer.weight.ndim != 2:
        raise ValueError("model has an MLP with stacked layers; make the MLP with scan=False.")
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
