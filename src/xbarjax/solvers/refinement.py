"""Rounds of a solver on what is left, where one does not do: shorts, and nodes that hang on little.

A solver stops by the currents that it leaves unbalanced. That says little about a piece of wire
that hangs on one cell of 1e-12 S, whose voltage is off by a volt for each picoampere; and of a
short it solves a part only (shorts.py). In such networks what is left of Kirchhoff's laws is solved
for again (iterative refinement; C. B. Moler, J. ACM 14, 316, 1967, doi:10.1145/321386.321394), and
what voltages may still be off by is found by one more solve: an admittance matrix has an inverse
without negative entries (A. Berman, R. J. Plemmons, Nonnegative Matrices in the Mathematical
Sciences, SIAM, 1994, doi:10.1137/1.9781611971262, chapter 6), so that currents `|r|` into all nodes
lift every one by at least what `r` does.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Int

from .._types import PerCell, Scalar
from ..kirchhoff.network import Field, Network, Segments, largest

ROUNDS = 40  # at most; shorts take about six
ROUGH = 1e-3  # relative tolerance of a round's solve, where more of them come
SETTLED = 8  # units of rounding of the largest current: less is not asked for
STALLED = 0.5  # of what was left is left again
PATIENCE = 2  # rounds on end that stall: a rough one may, where the weak part is not in sight
MISSED = 0.5  # of the currents that bound the error, at most, is left unsolved
RANGE = 1e-10  # of the largest current, down to which the bound of the error is asked for
NODES = 1e-10, 1e-5  # of the largest drop: an error of nodes that is not brought down any further,
# in float64 and float32


class _State(NamedTuple):
    """State between two rounds of refinement, beside the solution so far."""

    before: Scalar  # violation [A], the largest of nodes and shorts
    apart: Scalar  # [V], the largest violation of Ohm's law
    idle: Int[Array, ""]  # rounds on end that brought neither down
    drop: Scalar  # [V], the largest of x
    error: Scalar  # [V], that any node may be off by; infinite where it is not known
    rounds: Int[Array, ""]
    steps: Int[Array, ""]
    bound: Array  # whether the next solve is that of the error
    done: Array


def refined(
    solver: lx.AbstractLinearSolver,
    state: Any,
    network: Network,
    vector: Field,
    options: dict[str, Any],
) -> tuple[Field, dict[str, Any]]:
    """The solution of a network by a solver that knows its `capped` form, and its statistics: with
    `num_steps`, the `error` [V] that a node may be off by, where that was looked at, else 0.

    **Arguments:** `state`: what `solver.init` made of `network.capped`; `options`: those of
    `compute`, for the first solve."""
    shorts, hangs = network.shorts, network.hangs
    if shorts is None and hangs is None:
        x, _, stats = solver.compute(state, vector, options)
        none = jnp.zeros((), vector.row.dtype)
        return x, {"num_steps": jnp.asarray(stats["num_steps"]), "error": none}
    no = jnp.asarray(False)
    shorted = no if shorts is None else jnp.any(shorts.alpha > 0)
    hung = no if hangs is None else hangs
    guess, rtol = options.get("y0"), jnp.asarray(options.get("rtol", 0.0))
    again = shorted | hung
    eps = jnp.finfo(vector.row.dtype).eps
    small = NODES[0 if vector.row.dtype == jnp.float64 else 1]

    def unbalanced(x: Field, s: _State) -> Field:
        rest = network.violation(vector, x)
        nodes = rest.row, rest.col
        row, col = lax.cond(s.bound, lambda: _bound(network, x, *nodes), lambda: nodes)
        forces = jax.tree.map(lambda x: jnp.where(s.bound, 0, x), rest)
        return forces._replace(row=row, col=col)

    def one_round(carry: tuple[Field, _State]) -> tuple[Field, _State]:
        x, s = carry
        first = s.rounds == 0
        # nodes that hang on little are a small part of what is left: it is solved for as it is
        rough = jnp.where(first, shorted, ~s.bound & jnp.isinf(s.error) & (s.idle == 0))
        more = {"rtol": jnp.where(rough, jnp.maximum(rtol, ROUGH), rtol)}
        if guess is not None:
            more["y0"] = jax.tree.map(lambda x: jnp.where(first, x, 0), guess)
        rest = lax.cond(first, lambda: vector, lambda: unbalanced(x, s))
        row, col = lax.cond(shorted, lambda: _pushed(network, rest), lambda: (rest.row, rest.col))
        dx, _, stats = solver.compute(state, rest._replace(row=row, col=col, cell=None), more)
        dx = _with_currents(network, dx, rest)
        x = jax.tree.map(lambda x, dx: jnp.where(s.bound, x, x + dx), x, dx)  # it begins at 0
        steps = s.steps + jnp.asarray(stats["num_steps"])
        once = s._replace(rounds=s.rounds + 1, steps=steps)
        said = lax.cond(
            again,
            lambda: _judged(once, rest, x, dx),
            lambda: once._replace(done=jnp.asarray(True)),
        )
        return x, said

    def _judged(s: _State, rest: Field, x: Field, dx: Field) -> _State:
        pick = lambda yes, no: jax.tree.map(lambda a, b: jnp.where(s.bound, a, b), yes, no)
        x = pick(dx, x)
        off = network.violation(pick(rest, vector), x)
        drop = largest(x.row, x.col)
        # a part of the currents asked for flows into no node: the rest is a bound of as much less
        missed = jnp.maximum(_missed(off.row, rest.row), _missed(-off.col, -rest.col))
        # shorts are solved for as large conductances, and twice is more than enough for those
        least = jnp.where(shorted, drop / MISSED, drop / (1 - missed))
        found = jnp.where(s.bound & (missed <= MISSED), least, jnp.inf)
        flowing, left = _flows(network, x), _left(network, off)
        settled = left <= jnp.maximum(SETTLED * eps, rtol) * flowing
        apart = _apart(off)
        settled &= apart <= jnp.maximum(small / 100, rtol) * drop
        # currents that no longer get better may hide what does: a short in a weak part
        idle = (left > STALLED * s.before) & (apart > STALLED * s.apart)
        idle = jnp.where(idle, s.idle + 1, 0)
        stalled = (idle >= PATIENCE) | ~jnp.isfinite(left)
        enough = settled | stalled | (s.rounds >= ROUNDS)
        enough &= (s.rounds > 1) | ~hung
        most = jnp.where(s.bound, s.drop, drop)
        known = (found <= small * most) | ~(found < STALLED * s.error) | (s.rounds >= ROUNDS)
        enough = jnp.where(s.bound, known, enough)
        bound = enough & hung & ~s.bound
        return s._replace(
            before=jnp.where(s.bound, jnp.inf, left),
            apart=jnp.where(s.bound, jnp.inf, apart),
            idle=jnp.where(s.bound, 0, idle),
            drop=most,
            error=jnp.minimum(found, s.error),
            bound=bound,
            done=enough & ~bound,
        )

    none = jax.tree.map(jnp.zeros_like, vector)
    zero, inf = jnp.zeros((), vector.row.dtype), jnp.full((), jnp.inf, vector.row.dtype)
    count = jnp.asarray(0)
    start = _State(inf, inf, count, zero, inf, count, count, no, no)
    x, s = lax.while_loop(lambda carry: ~carry[1].done, one_round, (none, start))
    error = jnp.where(hung, s.error, zero)
    return x, {"num_steps": s.steps, "error": error}


def _pushed(network: Network, rest: Field) -> tuple[PerCell, PerCell]:
    """Currents into the nodes of the capped network [A]: with forces in shorts as currents."""
    if network.shorts is None or rest.cell is None:
        return rest.row, rest.col
    i = network.shorts.cap * rest.cell
    return rest.row + i, rest.col + i


def _with_currents(network: Network, dx: Field, rest: Field) -> Field:
    """A solution of the capped network with the currents of its shorts."""
    if network.shorts is None or rest.cell is None:
        return dx
    return dx._replace(cell=network.shorts.gain * (dx.row + dx.col - rest.cell))


def _flows(network: Network, x: Field) -> Scalar:
    """The largest current [A] in a segment or a short."""
    parts = [network.i_row(x), network.i_col(x)]
    parts += [] if x.cell is None else [x.cell]
    return largest(*parts)


def _apart(rest: Field) -> Scalar:
    """The largest violation of Ohm's law [V], in a wire or a short."""
    parts = [rest.row_segments, rest.col_segments] + ([] if rest.cell is None else [rest.cell])
    return largest(*parts)


def _left(network: Network, rest: Field) -> Scalar:
    """The largest violation [A] of the current law, and of a short's law as a current."""
    parts = [rest.row, rest.col]
    if network.shorts is not None and rest.cell is not None:
        parts.append(network.shorts.gain * rest.cell)
    return largest(*parts)


def _missed(off: PerCell, asked: PerCell) -> Scalar:
    """The largest part of the currents asked for, negative ones, that a node lacks."""
    none = asked == 0
    part = jnp.where(none, jnp.where(off >= 0, 0, jnp.inf), off / jnp.where(none, 1, asked))
    return jnp.maximum(jnp.max(part), 0)


def _bound(network: Network, x: Field, left_row: PerCell, left_col: PerCell):
    """Currents [A] that no node is short of: what is left of its law, and the rounding of what
    flows there. Row drops count downwards."""
    eps, axis = jnp.finfo(x.row.dtype).eps, network.row_axis

    def of_nodes(line: Segments, y, g, left, axis: int):
        i, n = jnp.abs(line.alpha * y), left.shape[axis]
        at = lambda x, k: lax.slice_in_dim(x, k, n + k, axis=axis)
        alone = (at(line.alpha, 0) == 0) & (at(line.alpha, 1) == 0) & (g == 0)
        return jnp.where(alone, 0, jnp.abs(left) + eps * (at(i, 0) + at(i, 1))), alone

    capped = network.capped
    row, no_row = of_nodes(network.row, x.row_segments, capped.g_row, left_row, axis)
    col, no_col = of_nodes(network.col, x.col_segments, capped.g_col, left_col, 0)
    # no less than a solver can tell from the largest
    least = RANGE * jnp.maximum(jnp.max(row), jnp.max(col))
    row = jnp.where(no_row, 0, jnp.maximum(row, least))
    col = jnp.where(no_col, 0, jnp.maximum(col, least))
    return -row, col
