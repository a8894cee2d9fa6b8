"""Checkpoints: the state of a training in a file."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any, BinaryIO

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._files import write_whole
from .analog import Arrays


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file: one line of JSON with the identity of the model, then the numbers
    (`equinox.tree_serialise_leaves`: arrays, no pickles)."""

    path: Path
    form: str

    @classmethod
    def of(cls, path: Path, state: Any, model: Any, fixed: Any) -> "Checkpoint":
        """The checkpoint at `path` for states of this structure. `fixed`: the part of the model
        that is not trained."""
        return cls(path, _form(state, model, fixed))

    def save(self, state: Any) -> None:
        """Writes a state, completely or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)

        def write(stream: BinaryIO) -> None:
            stream.write((json.dumps({"model": self.form}) + "\n").encode())
            eqx.tree_serialise_leaves(stream, _plain(state))

        write_whole({self.path: write})

    def load(self, like: Any) -> Any:
        """The stored state, with the structure of `like`. Raises `ValueError` for a checkpoint of
        another model and for a file that is no checkpoint."""
        with self.path.open("rb") as file:
            try:
                said = json.loads(file.readline())["model"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.path} is no checkpoint of a training; name another file."
                ) from error
            if said != self.form:
                raise ValueError(
                    f"{self.path} is of another model, hardware, die or optimiser; name another"
                    " file, or remove this one to begin anew."
                )
            numbers = eqx.tree_deserialise_leaves(file, _plain(like))
            return jax.tree.map(_as, like, numbers, is_leaf=lambda x: x is None)


def _plain(state: Any) -> Any:
    """The arrays of a state, with JAX keys as plain integers."""
    arrays = eqx.filter(state, eqx.is_array)
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, arrays)


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _as(like: Any, number: Any) -> Any:
    """The stored leaf in place of `like`; a leaf that is no array stays."""
    if not eqx.is_array(like):
        return like
    if _is_key(like):
        return jax.random.wrap_key_data(number, impl=jax.random.key_impl(like))
    return number


def _form(state: Any, model: Any, fixed: Any) -> str:
    """Identity of a model, a SHA-256 of

    - its structure: names, shapes and dtypes;
    - all numbers that are not trained, hardware and dies among them;
    - the array that each `build` makes of cells in the middle of the conductance range.
    """
    form = [re.sub(r"weak_| at 0x[0-9a-f]+", "", eqx.tree_pformat(state))]
    is_arrays = lambda x: isinstance(x, Arrays)
    for arrays in filter(is_arrays, jax.tree.leaves(model, is_leaf=is_arrays)):
        middle = (arrays.mapping.g_min + arrays.mapping.g_max) / 2
        shape, dtype = arrays.g_relative.shape[-2:], arrays.g_relative.dtype
        form += _numbers(arrays.build(jnp.full(shape, middle, dtype)))
    form += _numbers(fixed)
    return hashlib.sha256("\n".join(form).encode()).hexdigest()


def _numbers(tree: Any) -> list[str]:
    return [np.asarray(x).tobytes().hex() for x in jax.tree.leaves(_plain(tree))]
