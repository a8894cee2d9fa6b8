"""Newton's method for nonlinear cells, over linear networks.

Every step replaces each cell by its tangent (linearisation) at a point, one pair of terminal
voltages per cell. The network of tangents is solved exactly, wires included, and the points move to
its solution. Kirchhoff's laws hold at every step. The only error is the difference between the
currents of the cells and those of their tangents.

Linear solves are only as exact as the step deserves (inexact Newton methods; R. S. Dembo,
S. C. Eisenstat, T. Steihaug, SIAM J. Numer. Anal. 19, 400, 1982, doi:10.1137/0719025).

Load lines: far from the solution, tangents can miss by much, for example those of exponentials.
Then a cell moves neither to the node voltages `v` nor to the tangents' current `i`, but to the
point where its own curve meets the load line of the wires next to it,

    I(u) = i + (v - u) / rho,

with `rho` the local resistance of its two lines. At `rho = 0` this is the plain step in voltage. At
`rho = inf` it is the step in current with which circuit simulators limit junctions (L. W. Nagel,
UCB/ERL M520, 1975). Both are Newton's method. Near the solution the plain step is taken.

Limits: cells are passive, so no node of a solution lies beyond the sources. Tangents of cells that
saturate can lead beyond them, where no cell conducts any more. Then, too, cells move along their
load lines, and their voltages are limited to those that a solution can have.

Line search: if these steps make no progress, steps are shortened. For reciprocal cells whose
current rises with voltage, the solution is the minimum of a convex function, the co-content. Its
slope along a step is the power of the current errors, `sum (I(v) - i) dv` (W. Millar, Phil. Mag.
42, 1150, 1951, doi:10.1080/14786445108561362). The step ends where this power is zero; for such
cells the method always converges.
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

    - `linear`: linear solver for each network of tangents.
    - `rtol`: largest difference between the currents of the cells and those of their last
        tangents, relative to the largest current; by default 1e-12 in float64 and 1e-6 in float32.
    - `max_steps`: most linearisations. A solve that has not converged returns its best point, with
        `Stats.converged` False.

    Cost per step: one linear solve. Load lines and the line search evaluate cells only.
    """

    linear: lx.AbstractLinearSolver = eqx.field(static=True, default=AutoLadder())
    rtol: float | None = eqx.field(static=True, default=None)
    max_steps: int = eqx.field(static=True, default=100)


Solver: TypeAlias = lx.AbstractLinearSolver | Newton  # solver of a read


def newton_of(solver: Solver) -> Newton:
    """`solver` itself if it is `Newton`, otherwise Newton's method over this linear solver."""
    return solver if isinstance(solver, Newton) else Newton(solver)


def linear_of(solver: Solver) -> lx.AbstractLinearSolver:
    """`solver` itself if it is linear, otherwise the linear solver of `Newton`."""
    return newton_of(solver).linear


class Equations(NamedTuple):
    """Equations of a circuit for Newton's method, as functions of the circuit and of drops `a, w`
    [V]. They also take a guess at the internal nodes of the cells. The guess saves steps and
    changes nothing else."""

    frame: Callable[[Any], Frame]
    # current [A] and conductances [S] of the cells, and their internal nodes
    tangents: Callable[[Any, PerCell, PerCell, Inner], tuple[Tangents, Inner]]
    residual: Callable[[Any, Field, Inner], Field]  # violation of Kirchhoff's laws


class Begin(NamedTuple):
    """Starting point of Newton's method."""

    point: tuple[PerCell, PerCell]  # drops [V] of the first evaluation of the cells
    inner: Inner  # guess at the internal nodes of the cells
    x: Field  # guess at the solution, for the first linear solve


class Stats(NamedTuple):
    """Statistics of Newton's method."""

    newton_steps: Int[Array, ""]
    num_steps: Int[Array, ""]  # iterations of the linear solver, summed over all steps
    converged: Bool[Array, ""]


def root(
    equations: Equations,
    newton: Newton,
    circuit: Any,
    begin: Begin,
) -> tuple[Field, Inner, Stats]:
    """Solution of Kirchhoff's laws with nonlinear cells, by Newton's method.

    The derivative is that of the solution: one linear solve with the tangents at the solution,
    transposed or not, whatever the iterations did.

    **Returns:** drops and currents; the internal nodes of the cells from their last evaluation, as
    a guess without a derivative; and statistics."""

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
