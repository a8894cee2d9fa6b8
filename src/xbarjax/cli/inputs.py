"""Options shared by the commands, and the conversion of their values."""

import hashlib
from collections.abc import Sequence
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
        " [i, j] enters cell (i, j) from the driver's side. 0 is ideal, inf is broken.",
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
        help="Resistance [ohm] between source and column 0: a number, or a file of one number per"
        " row.",
    ),
]
RSourceFar = Annotated[
    str,
    typer.Option(
        metavar=VALUE,
        help="Resistance [ohm] of wire and source beyond the last column, driven with the same"
        " voltage; inf leaves this end open.",
    ),
]
RIn = Annotated[
    str,
    typer.Option(
        metavar=VALUE,
        help="Input resistance [ohm] of each readout below the last row: a number, or a file of"
        " one number per column.",
    ),
]
RInFar = Annotated[
    str,
    typer.Option(
        metavar=VALUE,
        help="Resistance [ohm] of wire and readout above row 0; inf leaves this end open.",
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
        help="Unit of the conductances in files and options:"
        f" {', '.join(UNITS)}. Resistances are inverted, 0 ohm is a short. [default: S]",
    ),
]
PlotFile = Annotated[
    str | None, typer.Option("--plot", metavar="FILE", help="Draw a .png, .svg or .pdf figure.")
]


class Inputs:
    """Reader of the arguments of one call, with a record for the report.

    **Attributes:** `used`: arguments by name; `skipped`: phrases for skipped parts of files;
    `warnings`: sentences about units.
    """

    def __init__(self) -> None:
        self.used: dict[str, Any] = {}
        self.skipped: list[str] = []
        self.warnings: list[str] = []

    def array(self, name: str, path: str) -> np.ndarray:
        """The array in a file, without conversion of units."""
        require_given(path, name)
        array, skipped = load_said(path)
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        self.used[name] = {"file": path, "shape": array.shape, "sha256 of float64": digest}
        if skipped:
            self.used[name]["skipped"] = list(skipped)
            self.skipped += [f"{path}, {part}" for part in skipped]
        return array

    def conductances(self, name: str, given: np.ndarray, unit: str | None) -> np.ndarray:
        """Conductances [S] from numbers in a unit. Numbers larger than any cell has are recorded in
        `warnings`."""
        chosen = "S" if unit is None else unit_named(unit, "--unit")
        g = siemens(given, chosen, name)
        self.used["--unit"] = chosen
        said = doubt_said(g, name, unit and chosen, "--unit {}")
        if said is not None:
            self.warnings.append(said)
        return g

    def value(self, name: str, text: str) -> jax.Array:
        """A number, as an array without axes, or the array in a file."""
        require_given(text, name)
        one = number(text.strip())
        if one is None:
            try:
                return jnp.asarray(self.array(name, text))
            except FileNotFoundError:
                raise ValueError(
                    f"{name} is {text!r}, neither a number nor a file that exists; give one of"
                    " them."
                ) from None
        self.used[name] = one
        return jnp.asarray(one)

    def parameters(
        self, given: Sequence[str], defaults: dict[str, float], owner: str
    ) -> dict[str, float]:
        """The parameters of `owner`: its defaults, and those of `--parameter` NAME=NUMBER."""
        values = dict(defaults)
        for text in given:
            name, _, value = (part.strip() for part in text.partition("="))
            if name not in values:
                raise ValueError(
                    f"--parameter is {text!r}, but {owner} has no {name!r}: give NAME=NUMBER with"
                    f" one of {', '.join(values)}."
                )
            read = number(value)
            if read is None:
                raise ValueError(f"--parameter is {text!r}; give {name}=NUMBER.")
            values[name] = read
        self.used["--parameter"] = values
        return values

    def line(self, name: str, text: str, size: int, unit: str) -> jax.Array:
        """One number per row or column, `(size,)`. A file may hold them in one line or one
        column."""
        value = self.value(name, text)
        if value.ndim == 0:
            return jnp.full(size, value)
        if value.shape not in ((size,), (size, 1), (1, size)):
            raise ValueError(
                f"{name} has shape {value.shape}, but the array has {size} {unit}s: give one"
                f" number per {unit}."
            )
        return value.reshape(size)


def require_given(text: str, name: str) -> None:
    """Raises `ValueError` for an empty argument, which the file system would take for the present
    folder."""
    if not text.strip():
        raise ValueError(f"{name} is empty; give a value, or leave it out if it has a default.")
