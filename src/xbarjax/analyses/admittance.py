"""Admittance of an array at its terminals."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax

from ..cells import Ohmic
from ..crossbar import Crossbar
from ..elements import Array
from ..kirchhoff.circuit import circuit_of, in_one_dtype
from ..kirchhoff.companion import Charge, capacitances, voltages
from ..kirchhoff.solution import Solution
from ..kirchhoff.tangent import Tangent
from ..kirchhoff.terminals import bias_of, currents_of
from .answer import solution_by
from .operating_point import prepare
from .read import _read

CHUNK = 8  # solves at a time


def admittance(array: Array, u: jax.Array, solver: lx.AbstractLinearSolver) -> jax.Array:
    """Change of the currents [A] into an array at its terminals with their voltages [V], at
    voltages `u`: `(terminals, terminals)` [S], by one solve of the linearised network each."""
    crossbar = _linearised(array, u, solver)
    return _responses(array, crossbar, u, solver, lambda s: currents_of(array, s)).T


def capacitance(array: Array, u: jax.Array, solver: lx.AbstractLinearSolver) -> jax.Array:
    """Change of the charges [C] of an array at its terminals with their voltages [V], as long as
    these change slowly against its lines: `(terminals, terminals)` [F].

    With `x_k` the node voltages for 1 V at terminal `k`, and `y_k` those of the adjoint network,
    it is `y_j C x_k`: the first derivative of the admittance by the frequency `s`."""
    crossbar = _linearised(array, u, solver)
    c = capacitances(array.wires, crossbar.shape, u.dtype)
    v = lambda s: voltages(s.v_row, s.v_col)
    x = y = _responses(array, crossbar, u, solver, v)
    if not crossbar.cell.is_reciprocal:
        cell = crossbar.cell
        assert isinstance(cell, Tangent)
        adjoint = eqx.tree_at(lambda c: c.cell, crossbar, Tangent(cell.g_col, cell.g_row))
        y = _responses(array, adjoint, u, solver, v)
    flat = lambda parts: jnp.concatenate([part.reshape(u.shape[0], -1) for part in parts], axis=1)
    return flat(y) @ (flat(Charge(*(c[None] * v for c, v in zip(c, x)))).T)


def _linearised(array: Array, u: jax.Array, solver: lx.AbstractLinearSolver) -> Crossbar:
    """The array with linear cells, those of its tangents at terminal voltages [V]."""
    crossbar, bias = in_one_dtype(array.crossbar, bias_of(array, u))
    if array.is_linear:
        return crossbar
    at = _read(crossbar, bias, solver, None)
    cell = circuit_of(crossbar, bias).cell
    _, g_row, g_col = cell.linearise(at.v_row, at.v_col)
    tangent = Ohmic(g_row) if cell.is_reciprocal else Tangent(g_row, g_col)
    return eqx.tree_at(lambda c: c.cell, crossbar, tangent)


def _responses(array: Array, crossbar: Crossbar, u, solver, seen: Callable[[Solution], Any]) -> Any:
    """Something seen of the solutions for 1 V at one terminal each, `(terminals, ...)`."""
    size, ungated = u.shape[0], eqx.tree_at(lambda a: a.v_gate, array, None, is_leaf=_is_none)
    prepared = prepare(circuit_of(crossbar, bias_of(ungated, jnp.zeros_like(u))), solver)

    def one(v):
        bias = bias_of(ungated, v)
        return seen(solution_by(crossbar, bias, circuit_of(crossbar, bias), prepared))

    chunks = -(-size // CHUNK)
    units = jnp.eye(chunks * CHUNK, size, dtype=u.dtype).reshape(chunks, CHUNK, size)
    found = lax.map(jax.vmap(one), units)
    return jax.tree.map(lambda x: x.reshape(chunks * CHUNK, *x.shape[2:])[:size], found)


def _is_none(x) -> bool:
    return x is None
