"""Layers of equinox whose products are array reads."""

from typing import Any

import equinox as eqx
import jax
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray


class Linear(eqx.Module):
    """Counterpart of `equinox.nn.Linear` on arrays: `y = arrays(x) + bias`. One example per call.

    **Arguments:** `arrays`: `Arrays` or another product (`methods`); `bias`: `(outputs,)`,
    digital, or `None`.
    """

    arrays: Any
    bias: Float[Array, " outputs"] | None

    def __call__(
        self, x: Float[Array, " inputs"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " outputs"]:
        y = self.arrays(x, key)
        return y if self.bias is None else y + self.bias


class Conv2d(eqx.Module):
    """Counterpart of `equinox.nn.Conv2d` on arrays. Every patch of the image is one input of the
    product (im2col); rows of the matrix run over channel, height and width, the last fastest. One
    example `(channels, height, width)` per call.

    **Arguments:** `arrays`: as in `Linear`; `bias`: `(out_channels, 1, 1)`, digital, or `None`;
    `kernel`, `stride`, `padding`, `dilation`: per axis, height and width.
    """

    arrays: Any
    bias: Float[Array, "channels 1 1"] | None
    kernel: tuple[int, ...] = eqx.field(static=True)
    stride: tuple[int, ...] = eqx.field(static=True)
    padding: Any = eqx.field(static=True)
    dilation: tuple[int, ...] = eqx.field(static=True)

    def __call__(
        self, x: Float[Array, "channels height width"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "out_channels out_height out_width"]:
        patches = lax.conv_general_dilated_patches(
            x[None],
            self.kernel,
            self.stride,
            self.padding,
            rhs_dilation=self.dilation,
            precision=lax.Precision.HIGHEST,  # patches are cut by a convolution
        )[0]
        inputs, height, width = patches.shape
        each = patches.reshape(inputs, height * width).T
        keys = None if key is None else jax.random.split(key, height * width)
        y = jax.vmap(self.arrays, (0, None if key is None else 0))(each, keys)
        y = y.T.reshape(-1, height, width)
        return y if self.bias is None else y + self.bias


class MLP(eqx.Module):
    """Counterpart of `equinox.nn.MLP` on arrays. A key given to the call is split among the layers,
    which draw noise from it; `equinox.nn.MLP` passes no key on.

    **Arguments:**

    - `layers`: from the first to the last.
    - `activation`: of the hidden layers. Its arrays, if it has any, have two leading axes: hidden
        layer and neuron.
    - `final_activation`: of the outputs.
    """

    layers: tuple[Any, ...]
    activation: Any
    final_activation: Any

    def __call__(
        self, x: Float[Array, " inputs"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " outputs"]:
        count = len(self.layers)
        keys = [None] * count if key is None else list(jax.random.split(key, count))
        for k, layer in enumerate(self.layers[:-1]):
            mine = jax.tree.map(lambda x, k=k: x[k] if eqx.is_array(x) else x, self.activation)
            x = _each(mine, layer(x, key=keys[k]))
        x = self.layers[-1](x, key=keys[-1])
        return _each(self.final_activation, x) if count > 1 else x  # as equinox does


def _each(f: Any, x: Float[Array, " n"]) -> Float[Array, " n"]:
    """`f` applied to every entry of `x`, with leading axes of `f` mapped along."""
    return eqx.filter_vmap(lambda f, x: f(x))(f, x)
