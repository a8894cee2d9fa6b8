"""Iterative refinement of networks that one solve does not settle.

A solver stops when the residual currents are small. This is not enough in two cases:

- weakly held nodes: a piece of wire held by one cell of 1e-12 S is off by a volt per picoampere;
- shorts, of which one solve finds only a part of the current (shorts.py).

In such networks, rounds of refinement solve for the residual of Kirchhoff's laws (C. B. Moler,
J. ACM 14, 316, 1967, doi:10.1145/321386.321394). One more solve bounds the remaining error of the
voltages. The inverse of an admittance matrix has no negative entries (A. Berman, R. J. Plemmons,
Nonnegative Matrices in the Mathematical Sciences, SIAM, 1994, doi:10.1137/1.9781611971262, chapter
6), so currents `|r|` into all nodes lift every node by at least as much as `r` does.
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
ROUGH = 1e-3  # relative tolerance of the solve of a round that others follow
SETTLED = 8  # smallest residual asked for, in units of rounding of the largest current
STALLED = 0.5  # a round stalls if it leaves more than this part of the residual
PATIENCE = 2  # stalled rounds in a row, at most: a rough round may miss the weak part and stall
MISSED = 0.5  # largest part of the currents that bound the error that may stay unsolved
RANGE = 1e-10  # smallest of the currents that bound the error, relative to the largest
# Error of nodes that is not reduced any further, relative to the largest drop: float64, float32.
NODES = 1e-10, 1e-5


class _State(NamedTuple):
    """State between two rounds of refinement, apart from the solution."""

    before: Scalar  # [A], largest violation of nodes and shorts in the last round
    apart: Scalar  # [V], largest violation of Ohm's law in the last round
    idle: Int[Array, ""]  # rounds in a row that reduced neither violation
    drop: Scalar  # [V], largest drop of the solution
    error: Scalar  # [V], bound of the error of any node; infinite if unknown
    rounds: Int[Array, ""]
    steps: Int[Array, ""]  # iterations of the solver
    bound: Array  # whether the next solve is for the error bound
    done: Array


def refined(
    solver: lx.AbstractLinearSolver,
    state: Any,
    network: Network,
    vector: Field,
    options: dict[str, Any],
) -> tuple[Field, dict[str, Any]]:
    """Solution of a network by a solver prepared for its `capped` form, with iterative refinement.

    **Arguments:**

    - `state`: from `solver.init` of `network.capped`.
    - `options`: as for `compute`, for the first solve.

    **Returns:** the solution and its statistics, `num_steps` and `error`: a bound [V] of the error
    of any node if there are weakly held nodes, else 0."""
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
        # weakly held nodes are a small part of the residual: it is then solved to full tolerance
        rough = jnp.where(first, shorted, ~s.bound & jnp.isinf(s.error) & (s.idle == 0))
        more = {"rtol": jnp.where(rough, jnp.maximum(rtol, ROUGH), rtol)}
        if guess is not None:
            more["y0"] = jax.tree.map(lambda x: jnp.where(first, x, 0), guess)
        rest = lax.cond(first, lambda: vector, lambda: unbalanced(x, s))
        row, col = lax.cond(shorted, lambda: _pushed(network, rest), lambda: (rest.row, rest.col))
        dx, _, stats = solver.compute(state, rest._replace(row=row, col=col, cell=None), more)
        dx = _with_currents(network, dx, rest)
        x = jax.tree.map(lambda x, dx: jnp.where(s.bound, x, x + dx), x, dx)  # x begins at 0
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
        # a part `missed` of the bounding currents was not solved for, which enlarges the bound
        missed = jnp.maximum(_missed(off.row, rest.row), _missed(-off.col, -rest.col))
        # shorts were solved as large conductances; twice the drop more than covers that
        least = jnp.where(shorted, drop / MISSED, drop / (1 - missed))
        found = jnp.where(s.bound & (missed <= MISSED), least, jnp.inf)
        flowing, left = _flows(network, x), _left(network, off)
        settled = left <= jnp.maximum(SETTLED * eps, rtol) * flowing
        apart = _apart(off)
        settled &= apart <= jnp.maximum(small / 100, rtol) * drop
        # both have to stall: at a short in a weak part, only Ohm's law may still improve
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
    """Currents [A] into the nodes of the capped network, with forces in shorts as Norton
    equivalents."""
    if network.shorts is None or rest.cell is None:
        return rest.row, rest.col
    i = network.shorts.cap * rest.cell
    return rest.row + i, rest.col + i


def _with_currents(network: Network, dx: Field, rest: Field) -> Field:
    """Adds the currents of the shorts to a solution of the capped network."""
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
    """The largest violation [A] of the current law, or of a short's law times its gain."""
    parts = [rest.row, rest.col]
    if network.shorts is not None and rest.cell is not None:
        parts.append(network.shorts.gain * rest.cell)
    return largest(*parts)


def _missed(off: PerCell, asked: PerCell) -> Scalar:
    """The largest part of its current `asked` [A], which is not positive, that a node lacks."""
    none = asked == 0
    part = jnp.where(none, jnp.where(off >= 0, 0, jnp.inf), off / jnp.where(none, 1, asked))
    return jnp.maximum(jnp.max(part), 0)


def _bound(network: Network, x: Field, left_row: PerCell, left_col: PerCell):
    """Currents [A] whose drops bound the error: per node, the size of the residual of the current
    law plus the rounding of the currents there. Row drops count downwards."""
    eps, axis = jnp.finfo(x.row.dtype).eps, network.row_axis

    def of_nodes(line: Segments, y, g, left, axis: int):
        i, n = jnp.abs(line.alpha * y), left.shape[axis]
        at = lambda x, k: lax.slice_in_dim(x, k, n + k, axis=axis)
        alone = (at(line.alpha, 0) == 0) & (at(line.alpha, 1) == 0) & (g == 0)
        return jnp.where(alone, 0, jnp.abs(left) + eps * (at(i, 0) + at(i, 1))), alone

    capped = network.capped
    row, no_row = of_nodes(network.row, x.row_segments, capped.g_row, left_row, axis)
    col, no_col = of_nodes(network.col, x.col_segments, capped.g_col, left_col, 0)
    # a floor, since a solver cannot resolve less beside the largest current
    least = RANGE * jnp.maximum(jnp.max(row), jnp.max(col))
    row = jnp.where(no_row, 0, jnp.maximum(row, least))
    col = jnp.where(no_col, 0, jnp.maximum(col, least))
    return -row, col
