"""A crossbar array as an element of a circuit."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float

from .._types import described, optional
from ..cells import AbstractCell
from ..crossbar import Crossbar
from ..drive import Drive
from ..readout import VirtualGround
from ..wires import Wires
from .element import Pick, Terminal, terminal


class Array(eqx.Module):
    """A crossbar array, all of whose line ends are terminals.

    **Arguments:**

    - `cell`: the devices, `(rows, cols)`.
    - `wires`: segments of both line families; ideal by default.
    - `rows`: the bus of the word lines at column 0, one node per row (of source lines that run
        along the bit lines, at row 0, one per column).
    - `cols`: the bus of the bit lines below the last row, one node per column.
    - `rows_far`, `cols_far`: buses of the other ends, beyond the last column and above row 0. None
        (the default) leaves these ends free.
    - `v_gate`: gate voltages [V] of cells with a transistor, as of a `Bias`.

    A terminal is the end of its line: what is in series belongs into the circuit. Raises
    `TypeError` for cells or wires of another kind, `ValueError` for shapes that do not fit.
    """

    cell: AbstractCell
    wires: Wires
    rows: Pick
    cols: Pick
    rows_far: Pick | None
    cols_far: Pick | None
    v_gate: Float[jax.Array, "..."] | None = eqx.field(converter=optional("v_gate", whole=True))

    def __init__(
        self,
        cell: AbstractCell,
        wires: Wires | None = None,
        *,
        rows: Terminal,
        cols: Terminal,
        rows_far: Terminal | None = None,
        cols_far: Terminal | None = None,
        v_gate=None,
    ):
        if not isinstance(cell, AbstractCell):
            raise TypeError(
                f"cell is {described(cell)}; pass a cell, xb.Ohmic(g) for conductances g [S] of"
                " shape (rows, cols)."
            )
        self.cell = cell
        self.wires = Wires() if wires is None else wires
        self.rows, self.cols = terminal(rows), terminal(cols)
        self.rows_far = None if rows_far is None else terminal(rows_far)
        self.cols_far = None if cols_far is None else terminal(cols_far)
        self.v_gate = v_gate

    def __check_init__(self):
        _ = self.crossbar  # its shapes are checked there

    @property
    def crossbar(self) -> Crossbar:
        """The array between ideal voltage sources at its terminals."""
        end = lambda bus: jnp.inf if bus is None else 0.0
        drive = Drive(0.0, end(self.rows_far))
        return Crossbar(self.cell, self.wires, drive, VirtualGround(0.0, end(self.cols_far)))

    @property
    def terminals(self) -> dict[str, Pick]:
        """The buses of its terminals, by the names of the arguments."""
        ends = {"rows": self.rows, "cols": self.cols}
        far = {"rows_far": self.rows_far, "cols_far": self.cols_far}
        return ends | {name: bus for name, bus in far.items() if bus is not None}

    @property
    def is_linear(self) -> bool:
        """Whether its cells are linear."""
        return self.cell.is_linear

    @property
    def has_capacitance(self) -> bool:
        """Whether lines or cells have capacitance."""
        return (self.wires.c_row, self.wires.c_col, self.wires.c_cell) != (None, None, None)

    @property
    def holds(self) -> tuple[str, ...]:
        """Terminals whose voltage it can determine at DC: all of them."""
        return tuple(self.terminals)

    @property
    def widths(self) -> dict[str, int]:
        """Number of nodes of each terminal."""
        rows, cols = self.cell.shape
        of = {"rows": cols if self.wires.parallel else rows, "cols": cols}
        return {name: of[name.removesuffix("_far")] for name in self.terminals}
