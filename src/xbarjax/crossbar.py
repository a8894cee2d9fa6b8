from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ._types import described
from .cells import AbstractCell
from .drive import Drive
from .readout import AbstractConverter, AbstractReadout, VirtualGround
from .wires import Wires


class Crossbar(eqx.Module):
    """Crossbar array: cells where word lines and bit lines cross, with wires, drivers and readout.

    **Arguments:**

    - `cell`: devices, for example `Ohmic(g)`; their shape `(rows, cols)` is the array's.
    - `wires`: wire segments; ideal by default.
    - `drive`: sources of the word lines; ideal and at column 0 by default.
    - `readout`: readout of the bit lines; an ideal ground below the last row by default.

    Raises `TypeError` for a part of another kind, and `ValueError` for a part whose shape does not
    fit the cells.
    """

    cell: AbstractCell
    wires: Wires
    drive: Drive
    readout: AbstractReadout

    def __init__(
        self,
        cell: AbstractCell,
        wires: Wires | None = None,
        drive: Drive | None = None,
        readout: AbstractReadout | None = None,
    ):
        self.cell = cell
        self.wires = Wires() if wires is None else wires
        self.drive = Drive() if drive is None else drive
        self.readout = VirtualGround() if readout is None else readout

    def __check_init__(self):
        for name, (kind, cure) in PARTS.items():
            part = getattr(self, name)
            if not isinstance(part, kind):
                raise TypeError(f"{name} is {described(part)}; {_instead(part, cure)}.")
        if len(self.cell.shape) != 2 or 0 in self.cell.shape:
            raise ValueError(
                f"cell has the shape {self.cell.shape}; it must be (rows, cols) with at least one"
                " row and column: give a parameter that shape (batches go through jax.vmap)."
            )
        rows, cols = self.shape
        for part, line in (("wires", ()), ("drive", (self.lines,)), ("readout", (cols,))):
            for name, value in vars(getattr(self, part)).items():
                got = jnp.shape(value) if eqx.is_array_like(value) else ()
                shape = (rows, cols) if part == "wires" or name == "r_strap" else line
                if got not in ((), shape):
                    raise ValueError(
                        f"{part}.{name} has shape {got}, but the array is {rows} x {cols}:"
                        f" it must be a scalar or {shape}."
                    )

    @property
    def shape(self) -> tuple[int, int]:
        """`(rows, cols)`."""
        rows, cols = self.cell.shape
        return rows, cols

    @property
    def lines(self) -> int:
        """Number of lines of the row family: one per row, or one per column for source lines along
        the bit lines."""
        rows, cols = self.shape
        return cols if self.wires.parallel else rows


# Type of each part, and what to pass for numbers.
PARTS = {
    "cell": (AbstractCell, "pass a cell, xb.Ohmic(g) for conductances g [S] of shape (rows, cols)"),
    "wires": (Wires, "pass xb.Wires(r_row, r_col), resistances [ohm] of a segment"),
    "drive": (Drive, "pass xb.Drive(r_source), resistances [ohm] of the sources"),
    "readout": (AbstractReadout, "pass a readout, such as xb.VirtualGround() or xb.Tia(r_f=...)"),
}


def _instead(part: Any, cure: str) -> str:
    """Advice on an argument that is no such part."""
    if isinstance(part, type):
        return f"make an instance, {part.__name__}(...)"
    for name, (kind, _) in PARTS.items():
        if isinstance(part, kind):
            return f"pass it by name, xb.Crossbar(..., {name}=...)"
    if isinstance(part, AbstractConverter):
        return f"{cure}, and convert its output: adc(xb.read(...).output)"
    return cure


def require_crossbar(crossbar: Any) -> None:
    """Raises `TypeError` for a value that is no `Crossbar`, with the way to make one."""
    if isinstance(crossbar, Crossbar):
        return
    made = "crossbar" if isinstance(crossbar, AbstractCell) else "crossbar of conductances g [S]"
    how = "cell" if isinstance(crossbar, AbstractCell) else "xb.Ohmic(g)"
    raise TypeError(f"crossbar is {described(crossbar)}; a {made} is xb.Crossbar({how}).")
