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

from .._types import CellMask, PerCell, Scalar
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
    """What Newton's method needs to know of a circuit, as functions of it and of drops `a, w`."""

    # current [A] and conductances [S] of the cells
    tangents: Callable[[Any, PerCell, PerCell], Tangents]
    # the network of such tangents, its right-hand side, and cells that are cut off
    network: Callable[[Any, PerCell, PerCell, Tangents], tuple[Network, Field, CellMask]]
    current: Callable[[Any, PerCell, PerCell], PerCell]  # [A] of the cells
    across: Callable[[Any, PerCell, PerCell], PerCell]  # voltage [V] across the cells
    residual: Callable[[Any, Field], Field]  # by how much Kirchhoff's laws are violated


class Stats(NamedTuple):
    newton_steps: Int[Array, ""]
    num_steps: Int[Array, ""]  # iterations of the linear solver, in all
    converged: Bool[Array, ""]


class _Step(NamedTuple):
    point: tuple[PerCell, PerCell]  # drops [V] at which the cells are linearised
    tangents: Tangents  # there
    here: tuple[PerCell, PerCell, PerCell]  # drops, and currents with which Kirchhoff's law holds
    idle: Array  # steps since the best
    x: Field  # the solution of the last network
    missed: Scalar  # by its tangents, relative to the largest current
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
    point: tuple[PerCell, PerCell],
    guess: Field,
) -> tuple[Field, Stats]:
    """Drops and currents that satisfy Kirchhoff's laws. The cells are first linearised at the
    drops `point`, the first linear solve begins from `guess`.

    The derivative is that of the solution: one linear solve with its tangents, transposed or not,
    whatever the iterations did."""

    @eqx.filter_custom_jvp
    def solution(circuit, begin):
        arrays, rest = eqx.partition(circuit, eqx.is_array)
        search = lambda arrays, begin: _search(
            equations, newton, linear, eqx.combine(arrays, rest), *begin
        )
        return one_by_one(search)(arrays, begin)

    @solution.def_jvp
    def _(primals, tangents):
        circuit, begin = primals
        x, stats = solution(circuit, begin)
        _, moved = eqx.filter_jvp(lambda c: equations.residual(c, x), (circuit,), tangents[:1])
        at = x.row, x.col
        network, *_ = equations.network(circuit, *at, equations.tangents(circuit, *at))
        dx, _ = solve(factor(network, linear), moved)
        return (x, stats), (dx, jax.tree.map(lambda _: None, stats))

    return solution(circuit, lax.stop_gradient((point, guess)))


def _search(equations, newton: Newton, linear, circuit, point, guess) -> tuple[Field, Stats]:
    dtype = guess.row.dtype
    exact, slack = (1e-12, 1e-8) if dtype == jnp.float64 else (1e-6, 1e-4)
    rtol = exact if newton.rtol is None else newton.rtol

    def step(s: _Step) -> _Step:
        network, vector, floating = equations.network(circuit, *s.point, s.tangents)
        asked = jnp.clip(FORCING * s.missed**2, exact, LOOSE)
        options = {"y0": s.x, "rtol": asked}
        x, _, stats = linear.compute(linear.init(network, {}), vector, options)
        i = vector.row - network.g_row * x.row - network.g_rc * x.col
        tangents = equations.tangents(circuit, x.row, x.col)
        off = jnp.where(floating, 0, tangents[0] - i)
        v = jnp.where(floating, 0, equations.across(circuit, x.row, x.col))
        largest = jnp.max(jnp.abs(i))
        missed = jnp.max(jnp.abs(off)) / jnp.where(largest > 0, largest, 1)
        finite = jnp.isfinite(missed) & jnp.isfinite(jnp.sum(x.row) + jnp.sum(x.col))
        local = jnp.abs(off) <= LOCAL * (network.g_cr + network.g_rc) * jnp.max(jnp.abs(v))
        close = (missed <= rtol) & jnp.all(local | (off == 0))
        stalled = (missed <= slack) & (missed > 0.5 * s.missed)  # the dtype is exhausted
        plain = (missed <= NEAR) | (missed <= FALLING * s.missed) | (s.idle == PATIENCE)
        there = x.row, x.col, i
        choice = jnp.where(s.idle > PATIENCE, 2, jnp.where(plain, 0, 1))

        def on_load_lines():
            point = _on_load_lines(equations, circuit, network, x, i, off, v)
            return point, equations.tangents(circuit, *point), there

        def shortened():
            end = _shortened(equations, circuit, floating, s.here, there)
            return end[:2], equations.tangents(circuit, *end[:2]), end

        as_it_is = lambda: (there[:2], tangents, there)
        point, tangents, here = lax.switch(choice, (as_it_is, on_load_lines, shortened))
        better = finite & (missed < s.least)
        idle = jnp.where(better & (s.idle <= PATIENCE), 0, s.idle + 1)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), x, s.best)
        converged = finite & ((close & (asked <= exact)) | stalled)
        return _Step(
            point,
            tangents,
            here,
            idle,
            x,
            missed,
            best,
            jnp.where(better, missed, s.least),
            converged,
            converged | ~finite,
            s.steps + 1,
            s.linear_steps + stats["num_steps"],
        )

    def unfinished(s: _Step):
        return ~s.ended & (s.steps < newton.max_steps)

    infinite = jnp.full((), jnp.inf, dtype)
    no, zero = jnp.asarray(False), jnp.asarray(0)
    here = *point, jnp.zeros_like(guess.row)
    first = equations.tangents(circuit, *point)
    start = _Step(point, first, here, zero, guess, infinite, guess, infinite, no, no, zero, zero)
    end = lax.while_loop(unfinished, step, start)
    x = jax.tree.map(lambda x, best: jnp.where(end.converged, x, best), end.x, end.best)
    return x, Stats(end.steps, end.linear_steps, end.converged)


def _shortened(equations, circuit, floating, here, there):
    """Where a step from `here` to `there` is to end, for the power that currents miss by."""
    step = jax.tree.map(jnp.subtract, there, here)
    at = lambda t: jax.tree.map(lambda x, dx: x + t * dx, here, step)
    dv = -(step[0] + step[1])  # drops of rows and rises of columns take voltage off a cell

    def power(t):
        a, w, i = at(t)
        return jnp.sum(jnp.where(floating, 0, (equations.current(circuit, a, w) - i) * dv))

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        before = power(middle) < 0
        return jnp.where(before, middle, low), jnp.where(before, high, middle)

    zero, one = jnp.zeros((), dv.dtype), jnp.ones((), dv.dtype)
    first, last = power(zero), power(one)
    low, high = lax.fori_loop(0, 2 * HALVINGS, halve, (zero, one))
    whole = ~(first < 0) | ~(last > 0.5 * jnp.abs(first))
    return at(jnp.where(whole, one, (low + high) / 2))


def _on_load_lines(equations, circuit, network, x: Field, i, off, v):
    """Drops at which each cell's curve meets its load line: `tau` [V] less across the cell than at
    `x`, with `I = i + tau / rho`. It is bracketed, and halved so often that it will do."""
    rho_row, rho_col = local_resistances(network)
    g = 1 / (rho_row + rho_col)
    cut = jnp.isinf(rho_row), jnp.isinf(rho_col)
    total = jnp.where(cut[0] | cut[1] | (rho_row + rho_col == 0), 1, rho_row + rho_col)
    share = jnp.where(cut[0], jnp.where(cut[1], 0.5, 1), jnp.where(cut[1], 0, rho_row / total))
    at = lambda tau: (x.row + share * tau, x.col + (1 - share) * tau)

    stiff = jnp.isinf(g)  # ideal wires hold both terminals
    g = jnp.where(stiff, 0, g)
    same = lambda tau: jnp.sign(equations.current(circuit, *at(tau)) - i - g * tau) == sign
    sign = jnp.sign(off)
    at_rest = jnp.where(sign * v > 0, v, 0)  # no voltage is left across the cell
    past = same(at_rest)
    most = jnp.minimum(jnp.abs(off) / jnp.where(g > 0, g, 1e-30), jnp.max(jnp.abs(v)))
    near = jnp.where(past, at_rest, 0)
    far = jnp.where(past, at_rest + sign * most, at_rest)

    def halve(_, bracket):
        near, far = bracket
        middle = (near + far) / 2
        before = same(middle)
        return jnp.where(before, middle, near), jnp.where(before, far, middle)

    near, far = lax.fori_loop(0, HALVINGS, halve, (near, far))
    return at(jnp.where(stiff | (off == 0), 0, (near + far) / 2))
