"""Ladder of one line of wire, solved exactly by a sweep to its near end and a sweep back.

Segment `k` joins node `k` of a line to node `k - 1`, towards the near end. The node carries a shunt
`g_k` [S] and an injected current `b_k` [A]. Its drop is `d_k` [V]. The current `J_k` [A] in segment
`k` is signed so that Kirchhoff's current law reads `J_k - J_{k+1} + g_k d_k = b_k`. A segment obeys

    a_k (d_k - d_{k-1}) = beta_k J_k,        d_{-1} = v.

An ordinary wire has `(a, beta) = (1, r)`; a broken wire has `a = alpha^2 = 0`. So nothing is
divided by a resistance. One more segment joins the last node to the far end, at 0 V.

At every node, the rest of the line towards the far end is a Norton equivalent: a conductance `s`
[S] to ground and a current `c` [A]. Seen from the node before, through segment `k`, it is

    t = kappa s,   kappa c,   kappa = a / (a + beta s),      s_{k-1} = g_{k-1} + t_k.

The sweep back gives `d_k = kappa_k d_{k-1} + rho_k c_k` with `rho = beta / (a + beta s)`. `s` is a
sum of non-negative terms, so nothing cancels, in float32 either. A node behind an ideal far end
(`r = 0`) has no Norton equivalent: it is pinned at 0, and its `s` is infinite.

Lines run along axis 0; every other axis is a lane, one line each. The near end is at index 0, or at
the last index with `near_last`. A CPU goes from node to node (recurrences.py); accelerators use
parallel scans (scans.py).
"""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from . import recurrences, scans
from .recurrences import divisor, ends, law, through


class Ladder(eqx.Module):
    """Factor of a family of lines: the quantities that depend on wires and shunts alone."""

    kappa: Float[Array, "n lanes"]  # 0 at a pinned node
    rho: Float[Array, "n lanes"]  # 0 at a pinned node
    t_near: Float[Array, " lanes"]  # conductance [S] into the line from its near end
    near_last: bool = eqx.field(static=True)


@partial(jax.jit, static_argnames="near_last")
def factor(r, shunt, *, near_last: bool) -> Ladder:
    """Factor of lines with segments `r` [ohm] `(n + 1, lanes)`, far segment included, and node
    shunts [S] `(n, lanes)`."""
    n = shunt.shape[0]
    _, near, _ = ends(n, near_last)
    s = _here(recurrences.conductances, scans.conductances, near_last)(r, shunt)
    own = 1 if near_last else 0  # segment i + own is on the near side of node i
    a, beta = law(r[own : n + own])
    pinned, total = jnp.isinf(s), divisor(a, beta, s)
    kappa = jnp.where(pinned, 0, a / total)
    rho = jnp.where(pinned, 0, beta / total)
    return Ladder(kappa, rho, through(a[near], beta[near], s[near]), near_last)


@jax.jit
def around(r, shunt) -> Float[Array, "n lanes"]:
    """Conductance [S] from every node into its line, in both directions, without the node's own
    shunt; infinite where an ideal wire pins the node."""
    # both directions in one sweep: the reversed line is one more lane
    lines, shunts = (jnp.concatenate([x, x[::-1]], axis=1) for x in (r, shunt))
    s = _here(recurrences.conductances, scans.conductances, False)(lines, shunts)
    terminal = jnp.full_like(s[:1], jnp.inf)
    behind = through(*law(lines[1:]), jnp.concatenate([s[1:], terminal]))
    lanes = r.shape[1]
    return behind[:, :lanes] + behind[::-1, lanes:]


@jax.jit
def drops(ladder: Ladder, b, v: ArrayLike = 0):
    """Line solve for currents `b` [A] injected into the nodes and a drop `v` [V] of the near end.

    **Returns:** node drops [V] `(n, lanes)` and the current [A] `(lanes,)` in the near segment."""
    near_last = ladder.near_last
    _, near, _ = ends(b.shape[0], near_last)
    c = _here(recurrences.gather, scans.gather, near_last)(ladder.kappa, b)
    first = ladder.kappa[near] * v + ladder.rho[near] * c[near]
    d = _here(recurrences.spread, scans.spread, near_last)(ladder.kappa, ladder.rho, c, first)
    return d, ladder.kappa[near] * c[near] - ladder.t_near * v


@partial(jax.jit, static_argnames="near_last")
def currents(lost, i_near, *, near_last: bool) -> Float[Array, "segments lanes"]:
    """Segment currents [A] `(n + 1, lanes)` by Kirchhoff's current law, from the current `i_near`
    of the near segment and the current `lost = g d - b` [A] `(n, lanes)` out of every node."""
    j = jnp.concatenate([lost, i_near[None]] if near_last else [i_near[None], lost])
    return _here(recurrences.running_sum, scans.running_sum, near_last)(j)


@partial(jax.jit, static_argnames="near_last")
def offsets(e, *, near_last: bool):
    """Drops that electromotive forces `e` [V] `(n + 1, lanes)` cause in a line without current,
    `d_k - d_{k-1} = e_k`, with the far end at 0.

    **Returns:** drops [V] of the nodes `(n, lanes)` and of the near end `(lanes,)`."""
    total = _here(recurrences.running_sum, scans.running_sum, not near_last)(e)
    return (-total[:-1], total[-1]) if near_last else (-total[1:], total[0])


def _here(sweep: Callable, scan: Callable, direction: bool) -> Callable:
    """The form of a recurrence that suits the platform: `sweep` on a CPU, `scan` elsewhere."""
    return lambda *x: lax.platform_dependent(
        *x, cpu=partial(sweep, direction), default=partial(scan, direction)
    )
