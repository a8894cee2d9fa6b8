"""The state of a training in a file."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

import equinox as eqx
import jax
import jax.numpy as jnp

from ..files import write_whole


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A file with a first line of JSON, which says what model it is of, and the numbers after it
    (`equinox.tree_serialise_leaves`: arrays, no pickles)."""

    path: Path

    def save(self, state: Any) -> None:
        """Writes a state, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)

        def write(stream: BinaryIO) -> None:
            stream.write((json.dumps({"model": _form(state)}) + "\n").encode())
            eqx.tree_serialise_leaves(stream, _plain(state))

        write_whole({self.path: write})

    def load(self, like: Any) -> Any:
        """The state, in the form of `like`. Raises `ValueError` for a file of another model, or of
        another kind."""
        with self.path.open("rb") as file:
            try:
                said = json.loads(file.readline())["model"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.path} is no checkpoint of a training; name another file."
                ) from error
            if said != _form(like):
                raise ValueError(
                    f"{self.path} is of another model or optimiser; name another file, or remove it"
                    " to begin anew."
                )
            return eqx.combine(eqx.tree_deserialise_leaves(file, _plain(like)), like)


def _plain(state: Any) -> Any:
    """The numbers of a state. Keys of dies are not among them: they stay as they are."""
    number = lambda x: eqx.is_array(x) and not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return eqx.filter(state, number)


def _form(state: Any) -> str:
    """What identifies a model: names, shapes and dtypes of its numbers."""
    leaves, _ = jax.tree.flatten_with_path(_plain(state))
    form = [f"{jax.tree_util.keystr(path)} {x.dtype}{x.shape}" for path, x in leaves]
    return hashlib.sha256("\n".join(form).encode()).hexdigest()
