"""Frozen arrays for inference: products by stored effective matrices, without another solve."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import Scalar
from ..readout import AbstractConverter
from .analog import Arrays, Digital, digital
from .tiling import Blocks, Matrix, Tiling


class Frozen(eqx.Module):
    """The product of `Arrays` on one die, by effective matrices computed when they were frozen:

        i = v_read x @ matrix + rest,      per tile; the digital side is that of `Arrays`.

    Only the inputs have a gradient, the stored numbers have none.

    **Attributes:**

    - `matrix`: effective matrix [S] of every tile, `(down, across, rows, cols)`.
    - `rest`: currents [A] at zero input, `(down, across, cols)`.
    - `gain`, `offset`, `k`, `v_read`, `noise`, `tiling`, `converter`: as in `Arrays`.
    """

    matrix: Blocks
    rest: Float[Array, "down across cols"]
    gain: Digital
    offset: Digital
    k: Scalar
    v_read: Scalar
    noise: Scalar
    tiling: Tiling
    converter: AbstractConverter | None

    def weights(self) -> Matrix:
        """Effective weights, digital gains and offsets included, `(inputs, outputs)`."""
        kept = lax.stop_gradient(self)
        gain, offset = kept.gain[:, :, None], kept.offset[:, :, None]
        return kept.tiling.join(gain * kept.matrix / kept.k - offset)

    def currents(self, x: Float[Array, " inputs"]) -> Float[Array, "down across cols"]:
        """Output currents [A] of every tile."""
        kept = lax.stop_gradient(self)
        v = kept.v_read * kept.tiling.inputs_of(x)
        return (
            jnp.einsum("dr,darc->dac", v, kept.matrix, precision=lax.Precision.HIGHEST) + kept.rest
        )

    def __call__(
        self, x: Float[Array, " inputs"], key: PRNGKeyArray | None = None
    ) -> Float[Array, " outputs"]:
        """The product `y`, `(outputs,)`, for one input `x`. `key`: for noise; no key, no noise."""
        return digital(lax.stop_gradient(self), x, self.currents(x), key)


def frozen(model: Any) -> Any:
    """A model for inference: every `Arrays` in `model` is replaced by a `Frozen`, and calls stay
    the same. The effective matrices are computed once, here. Converters, noise, gains and offsets
    stay.

    A frozen model keeps the present die and conductances: freeze again after training or for
    another die. Training leaves frozen parts unchanged.

    **Arguments:** `model`: any pytree that contains `Arrays`: layers, a converted model, `Chain`,
    `Sum`, `Permuted`, or `Arrays` alone.

    **Errors:** `ValueError` for nonlinear arrays, whose product is no matrix, and for a model
    without arrays; `RuntimeError` for a tile that is not solved.
    """
    is_arrays = lambda x: isinstance(x, Arrays)
    leaves, structure = jax.tree.flatten_with_path(model, is_leaf=is_arrays)
    if not any(is_arrays(x) for _, x in leaves):
        raise ValueError("model has no arrays to freeze: convert it first (nn.convert).")
    return structure.unflatten(_frozen(x, path) if is_arrays(x) else x for path, x in leaves)


def _frozen(arrays: Arrays, path: tuple[Any, ...]) -> Frozen:
    if not arrays.is_linear:
        where = jax.tree_util.keystr(path).lstrip(".") or "model"
        raise ValueError(
            f"{where} has cells or a readout that are not linear, so that its product is no matrix"
            " to keep; leave this part as it is, and freeze the layers before and behind it."
        )
    tiling, matrix = arrays.tiling, arrays.effective()
    if arrays.still == arrays.build:
        rest = jnp.zeros((tiling.down, tiling.across, matrix.shape[-1]), matrix.dtype)
    else:
        rest = arrays.read(jnp.zeros((tiling.down, tiling.rows), arrays.g_relative.dtype))
    of = arrays
    return Frozen(matrix, rest, of.gain, of.offset, of.k, of.v_read, of.noise, tiling, of.converter)
