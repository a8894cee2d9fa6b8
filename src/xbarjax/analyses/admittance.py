"""Arrays as circuits see them: currents into their terminals, and how these change."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax

from ..cells import AbstractCell, Ohmic
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.circuit import at_rest, circuit_of, in_one_dtype
from ..kirchhoff.companion import Charge, capacitances, voltages
from ..kirchhoff.islands import determined
from ..kirchhoff.network import Field, Network
from ..kirchhoff.solution import Solution
from ..kirchhoff.tangent import Tangent
from ..kirchhoff.terminals import Ended
from ..solvers import Solver, factor, linear_of, solve
from .answer import solution_by
from .operating_point import Prepared, prepare
from .read import _read

CHUNK = 8  # solves at a time


class Affine(NamedTuple):
    """Currents `y u + i` [A] into an array, linear in its terminal voltages `u` [V]."""

    y: jax.Array  # (terminals, terminals) [S]
    i: jax.Array


class AbstractAnswer(eqx.Module):
    """An array as the laws of a circuit see it."""

    array: eqx.AbstractVar[Ended]

    @abc.abstractmethod
    def asked(self, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Currents [A] into the array at its terminals, at their voltages [V], and its `Status`."""

    @abc.abstractmethod
    def tangent(self, u: jax.Array) -> Affine:
        """The same, linearised at given voltages [V]; a linear array is the same everywhere."""


class Resting(AbstractAnswer):
    """An array at DC."""

    array: Ended
    solver: Solver

    def solution(self, u: jax.Array) -> Solution:
        """The array at voltages [V] of its terminals."""
        return _read(self.array.crossbar, self.array.bias(u), self.solver, None)

    def asked(self, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = self.solution(u)
        return self.array.currents(found), found.status

    def tangent(self, u: jax.Array) -> Affine:
        """The same, linearised: by one solve of the tangent network per terminal."""
        array, solver = self.array, linear_of(self.solver)
        crossbar = linearised(array, u, solver)
        each = _of_units(array, crossbar, u, solver, array.entering)
        rows = [each[end] for end in array.terminals]
        y = jnp.concatenate(rows, axis=1).T if rows else jnp.zeros((0, 0), u.dtype)
        cell = array.array.cell
        if not cell.is_linear:
            return Affine(y, self.asked(u)[0] - y @ u)
        if not (array.sources and cell.is_reciprocal):
            return Affine(y, self.asked(0 * u)[0] if array.sources else 0 * u)
        # reciprocity: 1 V at a terminal drives into a source as much as 1 V of it into the terminal
        driven = {k: jnp.broadcast_to(x.v, each[k].shape[1:]) for k, x in array.sources.items()}
        return Affine(y, sum((each[k] @ v for k, v in driven.items()), 0 * u))


class Admitting(AbstractAnswer):
    """A linear array without capacitance, by its admittance."""

    array: Ended
    affine: Affine

    def asked(self, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self.affine.y @ u + self.affine.i, jnp.zeros((), jnp.int32)

    def tangent(self, u: jax.Array) -> Affine:
        return self.affine


def capacitance(array: Ended, u: jax.Array, solver: lx.AbstractLinearSolver) -> jax.Array:
    """Capacitance [F] of an array at its terminals, `(terminals, terminals)`: charge per voltage.

    It holds for voltages that change slowly against the lines of the array. With `x_k` the node
    voltages for 1 V at terminal `k`, and `y_k` those of the adjoint network, it is `y_j C x_k`: the
    first derivative of the admittance by the frequency `s`."""
    crossbar = linearised(array, u, solver)
    c = capacitances(array.array.wires, crossbar.shape, u.dtype)
    v = lambda s: voltages(s.v_row, s.v_col)
    x = y = _of_units(array, crossbar, u, solver, v)
    if not crossbar.cell.is_reciprocal:
        bias = _quiet(array).bias(jnp.zeros_like(u))
        network, _ = determined(at_rest(circuit_of(crossbar, bias)))
        of_node = adjoint(array, network, solver)[1]
        y = jax.vmap(voltages)(of_node.row, -of_node.col)
    flat = lambda parts: jnp.concatenate([part.reshape(u.shape[0], -1) for part in parts], axis=1)
    return flat(y) @ (flat(Charge(*(c[None] * v for c, v in zip(c, x)))).T)


def adjoint(
    array: Ended, network: Network, solver: lx.AbstractLinearSolver
) -> tuple[Network, Field]:
    """The network of an array, and the current that sources inside it drive into each terminal.

    Currents of shorts are unknowns of this network, and terminals are held at their voltages. The
    currents [A], `(terminals, ...)`, are those per current [A] injected at a node, or per
    electromotive force [V] in a segment over the coefficient of the segment."""
    transposed = factor(network.transpose(), solver)
    network = transposed.network.transpose()
    wanted = _at_terminals(array, network)
    return network, lax.map(lambda field: solve(transposed, field)[0], wanted)


def _at_terminals(array: Ended, network: Network) -> Field:
    """The current into each terminal as a function of the unknowns of the network, `(terminals,
    ...)`."""
    zeros = lambda s: jnp.zeros(s.shape, s.dtype)
    blank = jax.tree.map(zeros, network.in_structure())
    full = lambda segments, like: jnp.broadcast_to(segments.alpha, like.shape)
    row = full(network.row, blank.row_segments)
    col = full(network.col, blank.col_segments)

    def of(end: str, k) -> Field:
        if end.startswith("rows"):
            at, sign = (-1, -1) if end == "rows_far" else (0, 1)
            place = (at, k) if network.parallel else (k, at)
            found = blank.row_segments.at[place].set(sign * row[place])
            return blank._replace(row_segments=found)
        at, sign = (0, 1) if end == "cols_far" else (-1, -1)
        return blank._replace(col_segments=blank.col_segments.at[at, k].set(sign * col[at, k]))

    each = [
        jax.vmap(lambda k, end=end: of(end, k))(jnp.arange(width))
        for end, width in array.widths.items()
    ]
    return jax.tree.map(lambda *x: jnp.concatenate(x), *each)


def linearised(array: Ended, u: jax.Array, solver: lx.AbstractLinearSolver) -> Crossbar:
    """The array with its cells linearised, at given terminal voltages [V]."""
    crossbar, bias = in_one_dtype(array.crossbar, array.bias(u))
    if array.array.is_linear:
        return crossbar
    at = _read(crossbar, bias, solver, None)
    tangent = tangent_cell(circuit_of(crossbar, bias).cell, at.v_row, at.v_col)
    return eqx.tree_at(lambda c: c.cell, crossbar, tangent)


def _of_units(array: Ended, crossbar: Crossbar, u, solver, seen: Callable[[Solution], Any]) -> Any:
    """What is `seen` of the solutions for 1 V at one terminal after another, `(terminals, ...)`.
    The array's own sources are at 0 V. Its gates act through the linear cells."""
    size, quiet = u.shape[0], _quiet(array)
    prepared = _prepared(crossbar, quiet.bias(jnp.zeros_like(u)), solver)
    one = lambda v: seen(_solved(crossbar, quiet.bias(v), prepared))
    return of_units(one, size, u.dtype)


# under jit although they are parts of larger programs: arrays of one shape are traced once


@eqx.filter_jit
def _prepared(crossbar: Crossbar, bias: Bias, solver: lx.AbstractLinearSolver) -> Prepared:
    return prepare(circuit_of(crossbar, bias), solver)


@eqx.filter_jit
def _solved(crossbar: Crossbar, bias: Bias, prepared: Prepared) -> Solution:
    return solution_by(crossbar, bias, circuit_of(crossbar, bias), prepared)


def of_units(one: Callable[[jax.Array], Any], size: int, dtype, chunk: int = CHUNK) -> Any:
    """A function of voltages [V], for 1 V at one terminal after another, `(terminals, ...)`."""
    chunks = -(-size // chunk)
    units = jnp.eye(chunks * chunk, size, dtype=dtype).reshape(chunks, chunk, size)
    found = lax.map(jax.vmap(one), units)
    return jax.tree.map(lambda x: x.reshape(chunks * chunk, *x.shape[2:])[:size], found)


def tangent_cell(cell: AbstractCell, v_row: jax.Array, v_col: jax.Array) -> AbstractCell:
    """Linear cells in place of others, at their voltages [V]."""
    _, g_row, g_col = cell.linearise(v_row, v_col)
    return Ohmic(g_row) if cell.is_reciprocal else Tangent(g_row, g_col)


def _quiet(array: Ended) -> Ended:
    """An array without gate voltages, whose own sources are at 0 V."""
    ungated = eqx.tree_at(lambda a: a.v_gate, array.array, None, is_leaf=_is_none)
    still = lambda source: eqx.tree_at(lambda x: x.v, source, jnp.zeros_like(source.v))
    return Ended(ungated, {end: still(source) for end, source in array.sources.items()})


def _is_none(x) -> bool:
    return x is None
