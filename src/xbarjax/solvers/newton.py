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
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool, Int

from .._types import CellMask, Inner, PerCell, Scalar
from ..network import Field, Network
from .batching import one_by_one
from .implicit import factor, solve
from .lines import local_resistances

NEAR = 0.1  # of the currents: where tangents miss by less, the plain step is taken
FALLING = 0.25  # the plain step is also taken where the last one took so much off
FORCING = 0.01  # of what the next tangents may miss by is what a linear solve may leave
LOOSE = 1e-2  # the least exact linear solve
HALVINGS = 12  # of the bracket of a cell's load line: a point to linearise at need not be exact
PATIENCE = 6  # steps without an improvement, before steps are shortened for good
LOCAL = 1e-9  # of the largest voltage: what every cell may be off by, however little it conducts


class Newton(eqx.Module):
    """How arrays of nonlinear cells are solved.

    **Arguments:**

    - `linear`: the solver of each network of tangents; by default the one that fits it.
    - `rtol`: how far currents of cells may be off those of their last tangents, relative to the
        largest; by default 1e-12 in float64 and 1e-6 in float32.
    - `max_steps`: most linearisations. What did not converge returns its best point and says so.
    """

    linear: lx.AbstractLinearSolver | None = eqx.field(static=True, default=None)
    rtol: float | None = eqx.field(static=True, default=None)
    max_steps: int = eqx.field(static=True, default=100)


Tangents = tuple[PerCell, PerCell, PerCell]


class Equations(NamedTuple):
    """What Newton's method needs to know of a circuit, as functions of it and of drops `a, w`, and
    of a guess at the nodes inside the cells, which saves steps and changes nothing else."""

    # current [A] and conductances [S] of the cells, and the nodes inside them
    tangents: Callable[[Any, PerCell, PerCell, Inner], tuple[Tangents, Inner]]
    # the network of such tangents, its right-hand side, what cells pass at zero drops [A], and
    # those that are cut off
    network: Callable[[Any, PerCell, PerCell, Tangents], tuple[Network, Field, PerCell, CellMask]]
    current: Callable[[Any, PerCell, PerCell, Inner], PerCell]  # [A] of the cells
    across: Callable[[Any, PerCell, PerCell], PerCell]  # voltage [V] across the cells
    # drops within what a solution can have, and whether those given were not
    limited: Callable[[Any, PerCell, PerCell], tuple[tuple[PerCell, PerCell], Bool[Array, ""]]]
    residual: Callable[[Any, Field, Inner], Field]  # by how much Kirchhoff's laws are violated


class Begin(NamedTuple):
    """Where Newton's method begins."""

    point: tuple[PerCell, PerCell]  # drops [V] at which the cells are looked at first
    inner: Inner  # a guess at the nodes inside them
    x: Field  # a guess at the solution, for the first linear solve


class Stats(NamedTuple):
    newton_steps: Int[Array, ""]
    num_steps: Int[Array, ""]  # iterations of the linear solver, in all
    converged: Bool[Array, ""]


class _Step(NamedTuple):
    """Where Newton's method is: at the solution `x` of the last network, or about to linearise the
    cells elsewhere."""

    point: tuple[PerCell, PerCell]  # drops [V] at which the cells are looked at next
    is_x: Array  # whether those are the drops of x
    out: Array  # whether they are not since x lies beyond the sources
    inner: Inner  # voltages [V] of the nodes inside the cells where they were looked at last
    x: Field
    i: PerCell  # [A] of the tangents at x
    g: tuple[PerCell, PerCell]  # [S] of those tangents, by row and by column
    asked: Scalar  # of the linear solve that made x
    missed: Scalar  # by the tangents before, relative to the largest current
    here: tuple[PerCell, PerCell, PerCell]  # drops and currents that a step begins from
    idle: Array  # steps since the best
    best: Field
    least: Scalar
    converged: Array
    ended: Array
    steps: Array
    linear_steps: Array


def root(
    equations: Equations,
    newton: Newton,
    linear: lx.AbstractLinearSolver,
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
        search = lambda arrays, begin: _search(
            equations, newton, linear, eqx.combine(arrays, rest), begin
        )
        return one_by_one(search)(arrays, begin)

    @solution.def_jvp
    def _(primals, tangents):
        circuit, begin = primals
        x, inner, stats = solution(circuit, begin)
        residual = lambda circuit: equations.residual(circuit, x, inner)
        _, moved = eqx.filter_jvp(residual, (circuit,), tangents[:1])
        at = x.row, x.col
        network, *_ = equations.network(circuit, *at, equations.tangents(circuit, *at, inner)[0])
        filled = lambda dx, x: jnp.zeros_like(x) if dx is None and x is not None else dx
        moved = jax.tree.map(filled, moved, x, is_leaf=lambda dx: dx is None)
        dx = solve(factor(network, linear), moved)[0]._replace(cell=None)
        none = jax.tree.map(lambda _: None, (inner, stats))
        return (x, inner, stats), (dx, *none)

    return solution(circuit, lax.stop_gradient(begin))


def _search(equations, newton: Newton, linear, circuit, begin: Begin) -> tuple[Field, Inner, Stats]:
    point, inner, guess = begin
    dtype = guess.row.dtype
    exact, slack = (1e-12, 1e-8) if dtype == jnp.float64 else (1e-6, 1e-4)
    rtol = exact if newton.rtol is None else newton.rtol
    no = jnp.asarray(False)

    def step(s: _Step) -> _Step:
        tangents, inner = equations.tangents(circuit, *s.point, s.inner)
        network, vector, rest, floating = equations.network(circuit, *s.point, tangents)
        there = s.x.row, s.x.col, s.i
        off = jnp.where(floating, 0, tangents[0] - s.i)
        v = jnp.where(floating, 0, equations.across(circuit, *there[:2]))
        largest = jnp.max(jnp.abs(s.i))
        missed = jnp.max(jnp.abs(off)) / jnp.where(largest > 0, largest, 1)
        finite = jnp.isfinite(missed) & jnp.isfinite(jnp.sum(s.x.row) + jnp.sum(s.x.col))
        local = jnp.abs(off) <= LOCAL * (s.g[0] + s.g[1]) * jnp.max(jnp.abs(v))
        close = (missed <= rtol) & jnp.all(local | (off == 0)) & (s.asked <= exact)
        stalled = (missed <= slack) & (missed > 0.5 * s.missed)  # the dtype is exhausted
        converged = s.is_x & finite & (close | stalled)
        plain = (missed <= NEAR) | (missed <= FALLING * s.missed) | (s.idle == PATIENCE)
        better = s.is_x & finite & (missed < s.least)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), s.x, s.best)
        judged = s._replace(
            inner=inner,
            missed=jnp.where(s.is_x, missed, s.missed),
            here=jax.tree.map(lambda x, old: jnp.where(s.is_x, x, old), there, s.here),
            idle=jnp.where(
                better & (s.idle <= PATIENCE), 0, s.idle + jnp.where(s.is_x | s.out, 1, 0)
            ),
            best=best,
            least=jnp.where(better, missed, s.least),
            converged=converged,
            ended=(s.is_x & (converged | ~finite)) | (s.steps >= newton.max_steps),
        )

        def solved() -> _Step:
            asked = jnp.clip(FORCING * judged.missed**2, exact, LOOSE)
            options = {"y0": s.x, "rtol": asked}
            x, _, stats = linear.compute(linear.init(network, {}), vector, options)
            point, out = equations.limited(circuit, x.row, x.col)
            return judged._replace(
                point=point,
                is_x=~out,
                out=out,
                x=x,
                i=rest - network.g_cr * x.row - network.g_rc * x.col,
                g=(network.g_cr, network.g_rc),
                asked=asked,
                steps=s.steps + 1,
                linear_steps=s.linear_steps + jnp.asarray(stats["num_steps"]),
            )

        def on_load_lines() -> _Step:
            g_cr, g_rc = s.g
            rho = local_resistances(network.with_cells(g_rc, g_cr))
            off = jnp.where(floating, 0, equations.current(circuit, *there[:2], inner) - s.i)
            point = _on_load_lines(equations, circuit, rho, s.x, s.i, inner, off, v)
            point, _ = equations.limited(circuit, *point)
            return judged._replace(point=point, is_x=no, out=no)

        def shortened() -> _Step:
            end = _shortened(equations, circuit, floating, s.here, there, inner)
            return judged._replace(point=end[:2], is_x=no, out=no, here=end)

        shorten = (s.is_x | s.out) & (s.idle > PATIENCE)
        choice = jnp.where(shorten, 2, jnp.where(s.out | (s.is_x & ~plain), 1, 0))
        choice = jnp.where(judged.ended, 3, choice)
        return lax.switch(choice, (solved, on_load_lines, shortened, lambda: judged))

    inf, none, zero = jnp.full((), jnp.inf, dtype), jnp.zeros_like(guess.row), jnp.asarray(0)
    start = _Step(
        point=point,
        is_x=no,
        out=no,
        inner=inner,
        x=guess,
        i=none,
        g=(none, none),
        asked=inf,
        missed=inf,
        here=(*point, none),
        idle=zero,
        best=guess,
        least=inf,
        converged=no,
        ended=no,
        steps=zero,
        linear_steps=zero,
    )
    end = lax.while_loop(lambda s: ~s.ended, step, start)
    x = jax.tree.map(lambda x, best: jnp.where(end.converged, x, best), end.x, end.best)
    return x, end.inner, Stats(end.steps, end.linear_steps, end.converged)


def _shortened(equations, circuit, floating, here, there, inner):
    """Where a step from `here` to `there` is to end, for the power that currents miss by."""
    step = jax.tree.map(jnp.subtract, there, here)
    at = lambda t: jax.tree.map(lambda x, dx: x + t * dx, here, step)
    dv = -(step[0] + step[1])  # drops of rows and rises of columns take voltage off a cell

    def look(k, bracket):
        low, high, first, last = bracket
        t = jnp.where(k == 0, 0, jnp.where(k == 1, 1, (low + high) / 2)).astype(dv.dtype)
        a, w, i = at(t)
        power = jnp.sum(jnp.where(floating, 0, (equations.current(circuit, a, w, inner) - i) * dv))
        low = jnp.where((k > 1) & (power < 0), t, low)
        high = jnp.where((k > 1) & ~(power < 0), t, high)
        return low, high, jnp.where(k == 0, power, first), jnp.where(k == 1, power, last)

    zero, one = jnp.zeros((), dv.dtype), jnp.ones((), dv.dtype)
    low, high, first, last = lax.fori_loop(0, 2 * HALVINGS + 2, look, (zero, one, zero, zero))
    whole = ~(first < 0) | ~(last > 0.5 * jnp.abs(first))
    return at(jnp.where(whole, one, (low + high) / 2))


def _on_load_lines(equations, circuit, rho, x: Field, i, inner, off, v):
    """Drops at which each cell's curve meets its load line: `tau` [V] less across the cell than at
    `x`, with `I = i + tau / rho`. It is bracketed, and halved so often that it will do."""
    total = rho[0] + rho[1]
    cut = jnp.isinf(rho[0]), jnp.isinf(rho[1])
    share = rho[0] / jnp.where(cut[0] | cut[1] | (total == 0), 1, total)
    share = jnp.where(cut[0], jnp.where(cut[1], 0.5, 1), jnp.where(cut[1], 0, share))
    at = lambda tau: (x.row + share * tau, x.col + (1 - share) * tau)

    stiff = total == 0  # ideal wires hold both terminals
    g = jnp.where(stiff, 0, 1 / total)
    sign = jnp.sign(off)
    at_rest = jnp.where(sign * v > 0, v, 0)  # no voltage is left across the cell
    most = jnp.minimum(jnp.abs(off) / jnp.where(g > 0, g, 1e-30), jnp.max(jnp.abs(v)))

    def look(k, bracket):
        near, far = bracket
        tau = jnp.where(k == 0, at_rest, (near + far) / 2)
        before = jnp.sign(equations.current(circuit, *at(tau), inner) - i - g * tau) == sign
        beyond = jnp.where(k == 0, at_rest + sign * most, far)
        return jnp.where(before, tau, near), jnp.where(before, beyond, tau)

    near, far = lax.fori_loop(0, HALVINGS + 1, look, (jnp.zeros_like(v), at_rest))
    return at(jnp.where(stiff | (off == 0), 0, (near + far) / 2))
