"""What the commands take: options that they share, and how their values are read."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from ..files import load

VALUE = "NUMBER|FILE"
RRow = Annotated[
    str,
    typer.Option(
        metavar=VALUE,
        help="Word-line wire [ohm a segment]: a number, or a file of shape (rows, cols) whose"
        " [i, j] enters cell (i, j) from the driver's side. 0 is ideal, inf broken.",
    ),
]
RCol = Annotated[
    str,
    typer.Option(
        metavar=VALUE,
        help="Bit-line wire [ohm a segment]: a number, or a file of shape (rows, cols) whose"
        " [i, j] leaves cell (i, j) towards the sense side.",
    ),
]
RSource = Annotated[
    str,
    typer.Option(
        metavar=VALUE,
        help="Resistance [ohm] between each source and column 0: a number, or a file of one a row.",
    ),
]
RSourceFar = Annotated[
    str,
    typer.Option(
        metavar=VALUE,
        help="Resistance [ohm] of wire and source beyond the last column, driven with the same"
        " voltage; inf leaves that end free.",
    ),
]
RIn = Annotated[
    str,
    typer.Option(
        metavar=VALUE,
        help="Input resistance [ohm] of each readout below the last row: a number, or a file of"
        " one a column.",
    ),
]
RInFar = Annotated[
    str,
    typer.Option(
        metavar=VALUE,
        help="Resistance [ohm] of wire and readout above row 0; inf leaves that end free.",
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        metavar="PREFIX",
        help="Write PREFIX.npz (arrays) and PREFIX.json (report, units, inputs).",
    ),
]
PlotFile = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Draw a .png, .svg or .pdf figure.")
]


class Inputs:
    """Reads the arguments of one call and remembers what they were, for the report."""

    def __init__(self) -> None:
        self.used: dict[str, Any] = {}

    def array(self, name: str, path: str) -> np.ndarray:
        array = load(path)
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        self.used[name] = {"file": path, "shape": array.shape, "sha256 of float64": digest}
        return array

    def value(self, name: str, text: str) -> jax.Array:
        """A number as an array without axes, or the array in a file."""
        try:
            number = float(text)
        except ValueError:
            try:
                return jnp.asarray(self.array(name, text))
            except FileNotFoundError:
                raise ValueError(
                    f"{name} is {text!r}, neither a number nor a file that exists; give either."
                ) from None
        self.used[name] = number
        return jnp.asarray(number)

    def line(self, name: str, text: str, size: int, unit: str) -> jax.Array:
        """One number a row or column, `(size,)`; a file may hold them in a line or in a column."""
        value = self.value(name, text)
        if value.ndim == 0:
            return jnp.full(size, value)
        if value.shape not in ((size,), (size, 1), (1, size)):
            raise ValueError(
                f"{name} has shape {value.shape}, but the array has {size} {unit}s: give one"
                f" number a {unit}."
            )
        return value.reshape(size)
