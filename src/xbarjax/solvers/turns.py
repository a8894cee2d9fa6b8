"""Turns of Newton's method (newton.py). A turn takes the cells' currents and tangents at one point
and chooses the point of their next evaluation. The kernel takes the turns if it is available, and
the JAX form otherwise."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool, Float

from .. import _native
from .._types import CellMask, PerCell, PerCol, Scalar
from ..kirchhoff.network import Field, Network, Segments
from .batching import Kernel
from .ladder_cg import LadderCG
from .lines import local_resistances
from .passes import tolerance

NEAR = 0.1  # error of the tangents, relative to the currents, below which the plain step is taken
FALLING = 0.25  # the plain step is also taken if the last one reduced the error to this part
FORCING = 0.01  # tolerance of a linear solve, relative to the error expected of the next tangents
LOOSE = 1e-2  # loosest tolerance of a linear solve
HALVINGS = 12  # bisections per load line, twice as many per line search: points need not be exact
PATIENCE = 6  # steps without improvement, before the line search shortens all further ones
LOCAL = 1e-9  # largest error of any cell, however little it conducts, relative to the voltages
BEYOND = 0.1  # excess over the sources, relative to the largest voltage, that is not limited
SOLVE, ON_LOAD_LINES, SHORTENED = 0, 1, 2  # purposes of an evaluation of the cells


Tangents = tuple[PerCell, PerCell, PerCell]  # current [A], dI/dv_row and -dI/dv_col [S]
# The part of a network that its circuit determines, and masks of the rest.
Determined = Callable[[Network], tuple[Network, Any]]


class Frame(eqx.Module):
    """A circuit without its cells: wires, shunts, references and sources."""

    row: Segments
    col: Segments
    shunt_row: PerCell | None  # [S] from nodes to their references
    shunt_col: PerCell | None
    i_row: PerCell | None  # [A] out of row nodes through shunts at zero drops
    i_col: PerCell | None  # [A] into column nodes through shunts at zero drops
    e_row: Float[Array, "..."]  # [V], electromotive forces in segments
    e_col: Float[Array, "..."]
    v_row: Float[Array, " lines"]  # [V] of references
    v_col: PerCol
    sources: Float[Array, " sources"]  # [V]; the voltages of any solution lie between them
    symmetric: bool = eqx.field(static=True)
    parallel: bool = eqx.field(static=True)
    determined: Determined = eqx.field(static=True)

    def network(
        self, a: PerCell, w: PerCell, tangents: Tangents
    ) -> tuple[Network, Field, PerCell, CellMask]:
        """Network of the cells' tangents at drops `a, w` [V].

        **Returns:** the network, its right-hand side, the cell currents [A] of the tangents at zero
        drops, and the mask of cells that are cut off."""
        current, g_row, g_col = tangents
        shunts, flags = (self.shunt_row, self.shunt_col), (self.symmetric, self.parallel)
        made, cut = self.determined(Network(self.row, self.col, g_col, g_row, *shunts, *flags))
        floating = cut.row | cut.col
        rest = jnp.where(floating, 0, current + g_row * a + g_col * w)
        row = rest if self.i_row is None else rest + self.i_row
        col = rest if self.i_col is None else rest + self.i_col
        return made, Field(row, self.e_row, col, self.e_col), rest, floating

    def voltages(self, a: PerCell, w: PerCell) -> tuple[PerCell, PerCell]:
        """Voltages [V] of row nodes and of column nodes at drops `a, w` [V]."""
        v_row = self.v_row[None, :] if self.parallel else self.v_row[:, None]
        return v_row - a, self.v_col[None] + w

    def across(self, a: PerCell, w: PerCell) -> PerCell:
        """Voltages [V] across the cells at drops `a, w` [V]."""
        v_row, v_col = self.voltages(a, w)
        return v_row - v_col

    def limited(self, a: PerCell, w: PerCell) -> tuple[tuple[PerCell, PerCell], Bool[Array, ""]]:
        """Drops [V] whose node voltages are limited to the range of the sources, and whether the
        given ones were clearly outside. Drops that were not are returned unchanged. Cells are
        passive, so the voltages of any solution lie in the range."""
        low, high = jnp.min(self.sources), jnp.max(self.sources)
        margin = BEYOND * jnp.maximum(high - low, jnp.maximum(jnp.abs(low), jnp.abs(high)))
        v = self.voltages(a, w)
        beyond = [jnp.any((x < low - margin) | (x > high + margin)) for x in v]
        v_row, v_col = (jnp.clip(x, low, high) for x in v)
        none = jnp.zeros_like(a)
        at_rest = self.voltages(none, none)
        inside = at_rest[0] - v_row, v_col - at_rest[1]
        out = beyond[0] | beyond[1]
        return jax.tree.map(lambda x, d: jnp.where(out, x, d), inside, (a, w)), out


class State(NamedTuple):
    """State of Newton's method. Each turn evaluates the cells once, at one of these points:

    - the solution `x` of the last network;
    - a point of linearisation;
    - a trial point on load lines or in the line search."""

    a: PerCell  # [V], drops at the next evaluation of the cells
    w: PerCell
    x: Field  # solution of the last network
    i: PerCell  # [A], cell currents of the tangents at x
    g_cr: PerCell  # [S], conductances of the tangents
    g_rc: PerCell
    here: tuple[PerCell, PerCell, PerCell]  # drops [V] and currents [A] at the start of a step
    best: Field  # solution with the least error so far
    # brackets of the points where the cells' curves meet their load lines [V]
    near: PerCell
    far: PerCell
    off: PerCell  # [A], cell currents minus those of the tangents, at x
    rho_row: PerCell  # [ohm], local resistances of the lines at each cell
    rho_col: PerCell
    floating: CellMask  # cells that are cut off
    # bracket of the length of a step [1]
    low: Scalar
    high: Scalar
    first: Scalar  # [W], power of the current errors at the start and at the end of a step
    last: Scalar
    asked: Scalar  # tolerance of the linear solve for x
    missed: Scalar  # error of the last tangents, relative to the largest current
    least: Scalar  # error of `best`, likewise
    is_x: Array  # whether the next evaluation is at x
    out: Array  # whether it is at limited drops instead, because x lies beyond the sources
    converged: Array
    ended: Array
    look: Array  # purpose of the next evaluation
    looked: Array  # number of evaluations so far for this purpose
    idle: Array  # steps since the best
    steps: Array
    linear_steps: Array


class Turn(NamedTuple):
    """A turn of Newton's method: from the tangents of the cells at one point to the next point."""

    linear: lx.AbstractLinearSolver
    rtol: float
    max_steps: int
    symmetric: bool
    parallel: bool
    determined: Determined

    def __call__(self, frame: Frame, s: State, tangents: Tangents) -> State:
        """The state after the turn, by the kernel if it is available."""
        cells, shunts = (s.g_rc, s.g_cr), (frame.shunt_row, frame.shunt_col)
        network = Network(frame.row, frame.col, *cells, *shunts, self.symmetric, self.parallel)
        linear = self.linear
        if not (isinstance(linear, Kernel) and linear.has_kernel(network)):
            return self.in_jax(frame, s, tangents)
        state, structure = jax.tree.flatten(s)
        operands = (
            frame.row.r,
            frame.col.r,
            frame.shunt_row,
            frame.shunt_col,
            frame.i_row,
            frame.i_col,
            frame.e_row,
            frame.e_col,
            frame.v_row,
            frame.v_col,
            frame.sources,
            *tangents,
            *state,
        )
        settings = linear.settings(network.g_rc.shape, network.g_rc.dtype)
        numbers = settings.attributes() | {
            "newton_rtol": self.rtol,
            "most": self.max_steps,
            "symmetric": isinstance(linear, LadderCG),
        }
        results = [(x.shape, x.dtype) for x in state]
        pure = _InJax(self._replace(linear=linear.plain), structure)
        written, dtype = len(state), s.i.dtype
        found = _native.call("turn", operands, results, pure, dtype, written=written, **numbers)
        return jax.tree.unflatten(structure, found)

    def in_jax(self, frame: Frame, s: State, tangents: Tangents) -> State:
        looks = _solved, _on_load_lines, _shortened
        return lax.switch(
            s.look, [lambda look=look: look(self, frame, s, tangents) for look in looks]
        )


class _InJax(NamedTuple):
    """Pure JAX form of the kernel's turn."""

    turn: Turn
    structure: Any  # of a `State`

    def __call__(self, *operands: Any) -> list[Array]:
        r_row, r_col, *others = operands[:11]
        turn = self.turn
        kind = turn.symmetric, turn.parallel, turn.determined
        frame = Frame(Segments(r_row), Segments(r_col), *others, *kind)  # pyright: ignore
        s = jax.tree.unflatten(self.structure, operands[14:])
        return jax.tree.leaves(turn.in_jax(frame, s, operands[11:14]))


def _solved(turn: Turn, frame: Frame, s: State, tangents: Tangents) -> State:
    """Turn after the cells were evaluated at a point of linearisation or at the solution of the
    last network. It solves the next network, begins load lines or a line search, or ends."""
    dtype = s.i.dtype
    exact, slack = tolerance(None, dtype), 1e-8 if dtype == jnp.float64 else 1e-4
    no = jnp.asarray(False)
    network, vector, rest, floating = frame.network(s.a, s.w, tangents)
    there = s.x.row, s.x.col, s.i
    off = jnp.where(floating, 0, tangents[0] - s.i)
    v = jnp.where(floating, 0, frame.across(*there[:2]))
    largest = jnp.max(jnp.abs(s.i))
    missed = jnp.max(jnp.abs(off)) / jnp.where(largest > 0, largest, 1)
    finite = jnp.isfinite(missed) & jnp.isfinite(jnp.sum(s.x.row) + jnp.sum(s.x.col))
    local = jnp.abs(off) <= LOCAL * (s.g_cr + s.g_rc) * jnp.max(jnp.abs(v))
    close = (missed <= turn.rtol) & jnp.all(local | (off == 0)) & (s.asked <= exact)
    stalled = (missed <= slack) & (missed > 0.5 * s.missed)  # the dtype is exhausted
    converged = s.is_x & finite & (close | stalled)
    plain = (missed <= NEAR) | (missed <= FALLING * s.missed) | (s.idle == PATIENCE)
    better = s.is_x & finite & (missed < s.least)
    tried = (s.is_x | s.out).astype(s.idle.dtype)
    judged = s._replace(
        missed=jnp.where(s.is_x, missed, s.missed),
        here=jax.tree.map(lambda x, old: jnp.where(s.is_x, x, old), there, s.here),
        idle=jnp.where(better & (s.idle <= PATIENCE), 0, s.idle + tried),
        best=jax.tree.map(lambda new, old: jnp.where(better, new, old), s.x, s.best),
        least=jnp.where(better, missed, s.least),
        converged=converged,
        ended=(s.is_x & (converged | ~finite)) | (s.steps >= turn.max_steps),
    )

    def solved() -> State:
        asked = jnp.clip(FORCING * judged.missed**2, exact, LOOSE)
        options = {"y0": s.x, "rtol": asked}
        x, _, stats = turn.linear.compute(turn.linear.init(network, {}), vector, options)
        (a, w), out = frame.limited(x.row, x.col)
        return judged._replace(
            a=a,
            w=w,
            is_x=~out,
            out=out,
            x=x,
            i=rest - network.g_cr * x.row - network.g_rc * x.col,
            g_cr=network.g_cr,
            g_rc=network.g_rc,
            asked=asked,
            steps=s.steps + 1,
            linear_steps=s.linear_steps + jnp.asarray(stats["num_steps"], s.steps.dtype),
        )

    count = jnp.zeros_like(s.looked)

    def to_load_lines() -> State:
        rho = local_resistances(network.with_cells(s.g_rc, s.g_cr))
        begun = judged._replace(look=count + ON_LOAD_LINES, rho_row=rho[0], rho_col=rho[1])
        return begun._replace(
            a=s.x.row, w=s.x.col, looked=count, floating=floating, is_x=no, out=no
        )

    def to_shorten() -> State:
        a, w, _ = judged.here
        begun = judged._replace(look=count + SHORTENED, looked=count, floating=floating)
        zero = jnp.zeros_like(s.low)
        return begun._replace(a=a, w=w, low=zero, high=zero + 1, is_x=no, out=no)

    shorten = (s.is_x | s.out) & (s.idle > PATIENCE)
    choice = jnp.where(shorten, 2, jnp.where(s.out | (s.is_x & ~plain), 1, 0))
    choice = jnp.where(judged.ended, 3, choice)
    return lax.switch(choice, (solved, to_load_lines, to_shorten, lambda: judged))


def _on_load_lines(turn: Turn, frame: Frame, s: State, tangents: Tangents) -> State:
    """Turn after the cells were evaluated on their load lines, with `tau` [V] less across each cell
    than at `x`. The root `tau` of `I = i + tau / rho` is bracketed and bisected."""
    del turn
    none, start, ready = jnp.zeros_like(s.i), s.looked == 0, s.looked == HALVINGS + 1
    v = jnp.where(s.floating, 0, frame.across(s.x.row, s.x.col))
    off = jnp.where(start, jnp.where(s.floating, 0, tangents[0] - s.i), s.off)

    total = s.rho_row + s.rho_col
    cut = jnp.isinf(s.rho_row), jnp.isinf(s.rho_col)
    share = s.rho_row / jnp.where(cut[0] | cut[1] | (total == 0), 1, total)
    share = jnp.where(cut[0], jnp.where(cut[1], 0.5, 1), jnp.where(cut[1], 0, share))
    stiff = total == 0  # ideal wires hold both terminals
    g = jnp.where(stiff, 0, 1 / total)
    sign = jnp.sign(off)
    at_rest = jnp.where(sign * v > 0, v, 0)  # where no voltage is left across the cell
    most = jnp.minimum(jnp.abs(off) / jnp.where(g > 0, g, 1e-30), jnp.max(jnp.abs(v)))

    at_first = s.looked == 1
    tau = jnp.where(at_first, at_rest, (s.near + s.far) / 2)
    before = jnp.sign(tangents[0] - s.i - g * tau) == sign
    beyond = jnp.where(at_first, at_rest + sign * most, s.far)
    near = jnp.where(start, none, jnp.where(before, tau, s.near))
    far = jnp.where(start, at_rest, jnp.where(before, beyond, tau))

    tau = jnp.where(start, at_rest, (near + far) / 2)
    tau = jnp.where(ready & (stiff | (off == 0)), 0, tau)
    a, w = s.x.row + share * tau, s.x.col + (1 - share) * tau
    inside, _ = frame.limited(a, w)
    a, w = jax.tree.map(lambda x, y: jnp.where(ready, x, y), inside, (a, w))
    look = jnp.where(ready, SOLVE, s.look).astype(s.look.dtype)
    return s._replace(a=a, w=w, near=near, far=far, off=off, look=look, looked=s.looked + 1)


def _shortened(turn: Turn, frame: Frame, s: State, tangents: Tangents) -> State:
    """Turn after the cells were evaluated between `here` and `x`, in a line search for the point
    where the power of the current errors is zero."""
    del turn, frame
    there = s.x.row, s.x.col, s.i
    step = jax.tree.map(jnp.subtract, there, s.here)
    at = lambda t: jax.tree.map(lambda x, dx: x + t * dx, s.here, step)
    dv = -(step[0] + step[1])  # drops of rows and rises of columns take voltage off a cell
    k, middle = s.looked, (s.low + s.high) / 2
    t = jnp.where(k == 0, 0, jnp.where(k == 1, 1, middle)).astype(dv.dtype)
    power = jnp.sum(jnp.where(s.floating, 0, (tangents[0] - at(t)[2]) * dv))
    low = jnp.where((k > 1) & (power < 0), t, s.low)
    high = jnp.where((k > 1) & ~(power < 0), t, s.high)
    first, last = jnp.where(k == 0, power, s.first), jnp.where(k == 1, power, s.last)

    ready, one = k == 2 * HALVINGS + 1, jnp.ones((), dv.dtype)
    whole = ~(first < 0) | ~(last > 0.5 * jnp.abs(first))
    t = jnp.where((k == 0) | (ready & whole), one, (low + high) / 2)
    point = at(t)
    here = jax.tree.map(lambda x, old: jnp.where(ready, x, old), point, s.here)
    look = jnp.where(ready, SOLVE, s.look).astype(s.look.dtype)
    bracket = {"low": low, "high": high, "first": first, "last": last}
    return s._replace(a=point[0], w=point[1], here=here, look=look, looked=k + 1, **bracket)
