"""The gradient that a chip can form, of inputs and errors at the ends of its lines, beside the
exact one."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._types import PerDevice, Scalar, as_physical, between, straight_through
from ..variability import Pulsed
from .analog import Arrays


def local(model: Any) -> Any:
    """The model as a chip sees it that learns by outer products. All outputs stay exact, wires
    included, and so do errors that are sent backwards: a linear array read from its columns has the
    transposed matrix. The gradient by conductances is the outer product of the voltages that drive
    the rows and the errors at the outputs, which knows neither wires nor what the die (`vary`) has
    made of a conductance.

    **Errors:** `ValueError` for arrays that are not linear, whose outputs no matrix gives.
    """

    def one(part: Any) -> Any:
        if not isinstance(part, Arrays):
            return part
        if not part.is_linear:
            raise ValueError(
                "model has arrays with cells or a readout that are not linear: local gradients are"
                " defined for linear arrays alone."
            )
        return dataclasses.replace(part, route=_OuterProduct(part.route))

    return jax.tree.map(one, model, is_leaf=lambda x: isinstance(x, Arrays))


@dataclasses.dataclass(frozen=True)
class _OuterProduct:
    """The currents of another route, whose derivative by conductances is that of ideal wires."""

    exact: Callable[[Any, Any], Array]

    def __call__(self, arrays: Any, v: Float[Array, "down rows"]) -> Array:
        low, high = arrays.mapping.g_min, arrays.mapping.g_max
        g = between(low, high, arrays.g_relative)  # as programmed, whatever the die made of it
        driven = lax.stop_gradient(v)
        i = jnp.einsum("dr,dakrp->dakp", driven, g, precision=lax.Precision.HIGHEST)
        ideal = jax.vmap(jax.vmap(arrays.mapping.combine))(i)
        return self.exact(lax.stop_gradient(arrays), v) + straight_through(ideal)


def holding(arrays: Arrays, devices: Pulsed | PerDevice) -> Arrays:
    """The arrays with the apparent conductances of devices, or with conductances [S], of the shape
    of `g_relative`. Devices may be outside the bounds of the mapping."""
    g = devices.g if isinstance(devices, Pulsed) else as_physical(devices, "devices")
    if g.shape != arrays.g_relative.shape:
        raise ValueError(
            f"devices have the shape {g.shape}; it must be that of arrays.g_relative,"
            f" {arrays.g_relative.shape}."
        )
    low, high = arrays.mapping.g_min, arrays.mapping.g_max
    share = (g - low.astype(g.dtype)) / (high - low).astype(g.dtype)
    return eqx.tree_at(lambda a: a.g_relative, arrays, share)


def cosine(one: Any, other: Any) -> Scalar:
    """Cosine of the angle between two changes, each a pytree of arrays: 1 for the same direction,
    NaN if one of them is 0 everywhere."""
    pairs = list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
    # scaled, since squares of conductances are near the smallest float32
    scale = lambda k: jnp.maximum(jnp.max(jnp.stack([jnp.max(jnp.abs(p[k])) for p in pairs])), 0)
    size = scale(0), scale(1)
    pairs = [(a / size[0], b / size[1]) for a, b in pairs]
    dot = lambda j, k: jnp.sum(jnp.stack([jnp.sum(p[j] * p[k]) for p in pairs]))
    return dot(0, 1) / jnp.sqrt(dot(0, 0) * dot(1, 1))
