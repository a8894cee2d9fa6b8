"""Companion models of capacitors within a time step: conductances beside current sources.

A stage of an implicit method solves `v = v_h + d i / c` for the voltage `v` [V] at its end, with
`v_h` [V] known. In the stage a capacitor `c` [F] is therefore a branch

    i = g (v - v_h),    g = c / d,

from a node to ground, or from a row node to its column node in parallel with the cell.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp

from .._types import DeviceMask, Inner, PerCell, PerDevice, Scalar
from ..cells import AbstractCell, AbstractNestedCell, AbstractRangedCell, in_range
from ..wires import Wires
from .circuit import Branches, Circuit
from .network import Field, Network


class Charge(NamedTuple):
    """One value per capacitor: at row nodes, at column nodes and across cells."""

    row: PerCell
    col: PerCell
    cell: PerCell


class BesideCapacitor(AbstractNestedCell, AbstractRangedCell):
    """Cells in parallel with the companion models `i = g v + i_0` of their capacitors."""

    cell: AbstractCell
    g: PerDevice
    i_0: PerDevice

    @property
    def is_linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.cell.is_linear

    @property
    def is_reciprocal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.cell.is_reciprocal

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return self.cell.current(v_row, v_col) + self.g * (v_row - v_col) + self.i_0

    @property
    def parts(self) -> tuple[AbstractCell]:
        return (self.cell,)

    @property
    def extent(self) -> tuple[int, ...]:
        return self.cell.shape

    def nodes(self, v_row: PerDevice, v_col: PerDevice, guess: Inner) -> Inner:
        return self.cell.inner(v_row, v_col, guess)

    def with_parts(self, parts: tuple[AbstractCell, ...]) -> "BesideCapacitor":
        (cell,) = parts
        return BesideCapacitor(cell, self.g, self.i_0)

    def insides(self, inner: Inner) -> tuple[Inner]:
        return (inner,)

    def tangents(
        self, v_row: PerDevice, v_col: PerDevice, inner: Inner
    ) -> tuple[PerDevice, PerDevice, PerDevice]:
        i, g_row, g_col = self.cell.linearise(v_row, v_col, inner)
        both = g_row + self.g
        other = both if self.is_reciprocal else g_col + self.g
        return i + self.g * (v_row - v_col) + self.i_0, both, other

    def valid(self) -> DeviceMask:
        return self.cell.valid()

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return in_range(self.cell, v_row, v_col)


def capacitances(wires: Wires, shape: tuple[int, int], dtype) -> Charge:
    """Capacitances [F] of an array, 0 F where the wires have none."""
    full = lambda c: jnp.broadcast_to(0.0 if c is None else c, shape).astype(dtype)
    return Charge(full(wires.c_row), full(wires.c_col), full(wires.c_cell))


def with_capacitors(circuit: Circuit, c: Charge, d: Scalar, v_h: Charge, wires: Wires) -> Circuit:
    """A circuit with the companion models of a stage of `d` [s], from voltages `v_h` [V]."""
    g = Charge(*(x / d for x in c))
    rest_row, rest_col = circuit.rest
    to_ground = lambda g, i: Branches(g, i, to_terminal=False)
    branches_row = *circuit.branches_row, to_ground(g.row, g.row * (rest_row - v_h.row))
    branches_col = *circuit.branches_col, to_ground(g.col, g.col * (v_h.col - rest_col))
    cell = circuit.cell
    if wires.c_cell is not None:
        cell = BesideCapacitor(cell, g.cell, -g.cell * v_h.cell)
    held = [end(x) for x in v_h[:2] for end in (jnp.min, jnp.max)]
    sources = jnp.concatenate([circuit.sources, jnp.stack(held)])
    where = lambda x: (x.cell, x.branches_row, x.branches_col, x.sources)
    return eqx.tree_at(where, circuit, (cell, branches_row, branches_col, sources))


def injected(q: Charge, network: Network) -> Field:
    """The right-hand side of the capacitors' contributions to their nodes: currents [A], or charges
    [C] where the unknowns are integrals over time."""
    none = jnp.zeros_like
    return Field(-q.row - q.cell, none(network.row.r), q.col - q.cell, none(network.col.r))


def voltages(v_row: PerCell, v_col: PerCell) -> Charge:
    """Voltages [V] across all capacitors at given node voltages [V]."""
    return Charge(v_row, v_col, v_row - v_col)
