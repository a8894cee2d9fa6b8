"""Options that the commands share, and how their values are read."""

import hashlib
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from .._files import load_said
from .._files.fields import number
from .._units import UNITS, doubt_said, siemens, unit_named

VALUE = "NUMBER|FILE"
RRow = Annotated[
    str,
    typer.Option(
        metavar=VALUE,
        help="Word-line wire [ohm per segment]: a number, or a file of shape (rows, cols) whose"
        " [i, j] enters cell (i, j) from the driver's side. 0 is ideal, inf broken.",
    ),
]
RCol = Annotated[
    str,
    typer.Option(
        metavar=VALUE,
        help="Bit-line wire [ohm per segment]: a number, or a file of shape (rows, cols) whose"
        " [i, j] leaves cell (i, j) towards the sense side.",
    ),
]
RSource = Annotated[
    str,
    typer.Option(
        metavar=VALUE,
        help="Resistance [ohm] between source and column 0: a number, or a file of one per row.",
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
        " one per column.",
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
UnitOf = Annotated[
    str | None,
    typer.Option(
        metavar="UNIT",
        help="Unit of the conductances, as numbers in files and options have it:"
        f" {', '.join(UNITS)}. Resistances are inverted, 0 ohm is a short. [default: S]",
    ),
]
PlotFile = Annotated[
    str | None, typer.Option("--plot", metavar="FILE", help="Draw a .png, .svg or .pdf figure.")
]


class Inputs:
    """Reads the arguments of one call and remembers what they were, for the report: `used` by name,
    what was `skipped` of files, and `warnings` of units."""

    def __init__(self) -> None:
        self.used: dict[str, Any] = {}
        self.skipped: list[str] = []
        self.warnings: list[str] = []

    def array(self, name: str, path: str) -> np.ndarray:
        """The array in a file, as it stands there."""
        require_given(path, name)
        array, skipped = load_said(path)
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        self.used[name] = {"file": path, "shape": array.shape, "sha256 of float64": digest}
        if skipped:
            self.used[name]["skipped"] = list(skipped)
            self.skipped += [f"{path}, {part}" for part in skipped]
        return array

    def conductances(self, name: str, given: np.ndarray, unit: str | None) -> np.ndarray:
        """Numbers in a unit as conductances [S], with a warning of those that no cell has."""
        chosen = "S" if unit is None else unit_named(unit, "--unit")
        g = siemens(given, chosen, name)
        self.used["--unit"] = chosen
        said = doubt_said(g, name, unit and chosen, "--unit {}")
        if said is not None:
            self.warnings.append(said)
        return g

    def value(self, name: str, text: str) -> jax.Array:
        """A number as an array without axes, or the array in a file."""
        require_given(text, name)
        one = number(text.strip())
        if one is None:
            try:
                return jnp.asarray(self.array(name, text))
            except FileNotFoundError:
                raise ValueError(
                    f"{name} is {text!r}, neither a number nor a file that exists; give either."
                ) from None
        self.used[name] = one
        return jnp.asarray(one)

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


def require_given(text: str, name: str) -> None:
    """Raises `ValueError` for an argument of nothing, which the file system takes for the folder
    that it is in."""
    if not text.strip():
        raise ValueError(f"{name} is empty; give a value, or leave it out if it has a default.")
