"""Cells that are not linear: Newton's method over linear networks.

Every cell is replaced by its tangent at a point, one pair of terminal voltages a cell; the network
of tangents is solved exactly, wires and all; the point moves to where it leads. Kirchhoff's law
holds at every step, and what is left is how far the tangents' currents miss those of the cells.

Two things make it safe. A linear solve is only as exact as the step deserves (inexact Newton
methods; R. S. Dembo, S. C. Eisenstat, T. Steihaug, SIAM J. Numer. Anal. 19, 400, 1982,
doi:10.1137/0719025). And where tangents miss by much, as those of exponentials do far away, a cell
moves not to the node voltages `v` and not to the tangents' current `i`, but to where its own curve
meets the load line of the wires next to it,

    I(u) = i + (v - u) / rho,

with `rho` the local resistance of its two lines. At `rho = 0` that is the plain step in voltage, at
`rho = inf` the step in current with which circuit simulators limit junctions (L. W. Nagel, UCB/ERL
M520, 1975); both are Newton's method, and near the solution nothing of it is left to see.

No node of a solution lies beyond the sources, since cells are passive; tangents of cells that
saturate lead there, where no cell conducts any more. Then cells move along their load lines as
well, and look no further than at voltages that a solution can have.

Where that does not get anywhere, steps are shortened. Reciprocal cells whose current rises with
voltage make the solution the minimum of a convex function, the co-content, whose slope along a step
is the power that currents miss by, `sum (I(v) - i) dv` (W. Millar, Phil. Mag. 42, 1150, 1951,
doi:10.1080/14786445108561362): the step ends where that is zero, and nothing can keep it from
converging.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool, Int

from .._types import Inner, PerCell
from ..kirchhoff.network import Field
from .auto import AutoLadder, chosen
from .batching import sequential_vmap
from .implicit import factor, solve
from .passes import tolerance
from .turns import Frame, State, Tangents, Turn


class Newton(eqx.Module):
    """Newton's method for arrays of nonlinear cells.

    **Arguments:**

    - `linear`: the solver of each network of tangents.
    - `rtol`: how far currents of cells may be off those of their last tangents, relative to the
        largest; by default 1e-12 in float64 and 1e-6 in float32.
    - `max_steps`: most linearisations. What did not converge returns its best point and says so.
    """

    linear: lx.AbstractLinearSolver = eqx.field(static=True, default=AutoLadder())
    rtol: float | None = eqx.field(static=True, default=None)
    max_steps: int = eqx.field(static=True, default=100)


Solver: TypeAlias = lx.AbstractLinearSolver | Newton  # of a read


def newton_of(solver: Solver) -> Newton:
    """Newton's method by a solver: over it, if that is a linear one."""
    return solver if isinstance(solver, Newton) else Newton(solver)


def linear_of(solver: Solver) -> lx.AbstractLinearSolver:
    """The linear solver of a solver."""
    return newton_of(solver).linear


class Equations(NamedTuple):
    """Equations of a circuit for Newton's method, as functions of it and of drops `a, w`, and of a
    guess at the nodes inside the cells, which saves steps and changes nothing else."""

    frame: Callable[[Any], Frame]
    # current [A] and conductances [S] of the cells, and the nodes inside them
    tangents: Callable[[Any, PerCell, PerCell, Inner], tuple[Tangents, Inner]]
    residual: Callable[[Any, Field, Inner], Field]  # by how much Kirchhoff's laws are violated


class Begin(NamedTuple):
    """Starting point of Newton's method."""

    point: tuple[PerCell, PerCell]  # drops [V] at which the cells are looked at first
    inner: Inner  # a guess at the nodes inside them
    x: Field  # a guess at the solution, for the first linear solve


class Stats(NamedTuple):
    newton_steps: Int[Array, ""]
    num_steps: Int[Array, ""]  # iterations of the linear solver, in all
    converged: Bool[Array, ""]


def root(
    equations: Equations,
    newton: Newton,
    circuit: Any,
    begin: Begin,
) -> tuple[Field, Inner, Stats]:
    """Drops and currents that satisfy Kirchhoff's laws, and the nodes inside the cells where they
    were looked at last: a guess, without a derivative.

    The derivative is that of the solution: one linear solve with its tangents, transposed or not,
    whatever the iterations did."""

    @eqx.filter_custom_jvp
    def solution(circuit, begin):
        arrays, rest = eqx.partition(circuit, eqx.is_array)
        search = lambda arrays, begin: _search(equations, newton, eqx.combine(arrays, rest), begin)
        return sequential_vmap(search)(arrays, begin)

    @solution.def_jvp
    def _(primals, tangents):
        circuit, begin = primals
        x, inner, stats = solution(circuit, begin)
        residual = lambda circuit: equations.residual(circuit, x, inner)
        _, moved = eqx.filter_jvp(residual, (circuit,), tangents[:1])
        at = x.row, x.col
        made = equations.tangents(circuit, *at, inner)[0]
        network, *_ = equations.frame(circuit).network(*at, made)
        filled = lambda dx, x: jnp.zeros_like(x) if dx is None and x is not None else dx
        moved = jax.tree.map(filled, moved, x, is_leaf=lambda dx: dx is None)
        dx = solve(factor(network, newton.linear), moved)[0]._replace(cell=None)
        none = jax.tree.map(lambda _: None, (inner, stats))
        return (x, inner, stats), (dx, *none)

    return solution(circuit, lax.stop_gradient(begin))


def _search(equations, newton: Newton, circuit, begin: Begin) -> tuple[Field, Inner, Stats]:
    frame, guess, dtype = equations.frame(circuit), begin.x, begin.x.row.dtype
    rtol = tolerance(newton.rtol, dtype)
    kind = frame.symmetric, frame.parallel, frame.determined
    linear = chosen(newton.linear, symmetric=frame.symmetric, parallel=frame.parallel)
    turn = Turn(linear, rtol, newton.max_steps, *kind)

    def once(carry: tuple[State, Inner]) -> tuple[State, Inner]:
        s, inner = carry
        tangents, inner = equations.tangents(circuit, s.a, s.w, inner)
        return turn(frame, s, tangents), inner

    none, no = jnp.zeros_like(guess.row), jnp.asarray(False)
    inf, zero, count = (
        jnp.full((), x, kind) for x, kind in ((jnp.inf, dtype), (0, dtype), (0, jnp.int32))
    )
    state = State(
        *begin.point,
        x=guess,
        i=none,
        g_cr=none,
        g_rc=none,
        here=(*begin.point, none),
        best=guess,
        near=none,
        far=none,
        off=none,
        rho_row=none,
        rho_col=none,
        floating=none > 0,
        low=zero,
        high=zero,
        first=zero,
        last=zero,
        asked=inf,
        missed=inf,
        least=inf,
        is_x=no,
        out=no,
        converged=no,
        ended=no,
        look=count,
        looked=count,
        idle=count,
        steps=count,
        linear_steps=count,
    )
    end, inner = lax.while_loop(lambda carry: ~carry[0].ended, once, (state, begin.inner))
    x = jax.tree.map(lambda x, best: jnp.where(end.converged, x, best), end.x, end.best)
    index = lambda n: n.astype(jnp.asarray(0).dtype)
    return x, inner, Stats(index(end.steps), index(end.linear_steps), end.converged)
