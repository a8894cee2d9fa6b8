"""One line of wire as a chain, solved exactly in one sweep in and one sweep out.

Node `k` of a line hangs on segment `k` towards the near end and carries a shunt `g_k` [S] and an
injected current `b_k` [A]; `d_k` [V] is its drop and `J_k` [A] the current in its segment, counted
so that Kirchhoff's current law reads `J_k - J_{k+1} + g_k d_k = b_k`. A segment obeys

    a_k (d_k - d_{k-1}) = beta_k J_k,        d_{-1} = v,

where `(a, beta) = (1, r)` for an ordinary wire and `a = alpha^2` is 0 for a broken one, so that
nothing is divided by a resistance. One more segment joins the last node to the far end, which is
at 0.

From the far end every node sees the rest of the line as a Norton equivalent, a conductance `s` to
ground and a current `c`. Seen through segment `k`, from the node before it, they are

    t = kappa s,   kappa c,   kappa = a / (a + beta s),      s_{k-1} = g_{k-1} + t_k,

and on the way out again `d_k = kappa_k d_{k-1} + rho_k c_k` with `rho = beta / (a + beta s)`. `s`
is a sum of terms that are not negative: nothing cancels, in float32 either. A node behind an ideal
far end (`r = 0`) has no Norton equivalent: it is pinned at 0, and its `s` is infinite.

Arrays run along axis 0, and every other axis is a lane. The near end is at index 0, or last. A CPU
goes from node to node (recurrences.py); accelerators compose halves of the line (scans.py).
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
    """The factor of a family of lines: what depends on the wires and shunts alone."""

    kappa: Float[Array, "n lanes"]  # 0 at a pinned node
    rho: Float[Array, "n lanes"]  # 0 at a pinned node
    t_near: Float[Array, " lanes"]  # conductance into the line from its near end
    near_last: bool = eqx.field(static=True)


@partial(jax.jit, static_argnames="near_last")
def factor(r, shunt, *, near_last: bool) -> Ladder:
    """Factors lines with segments `r` [ohm] `(n + 1, lanes)`, far segment included, and node
    shunts [S] `(n, lanes)`."""
    n = shunt.shape[0]
    _, near, _ = ends(n, near_last)
    s = _here(recurrences.conductances, scans.conductances, near_last)(r, shunt)
    own = 1 if near_last else 0  # node i hangs on segment i + own
    a, beta = law(r[own : n + own])
    pinned, total = jnp.isinf(s), divisor(a, beta, s)
    kappa = jnp.where(pinned, 0, a / total)
    rho = jnp.where(pinned, 0, beta / total)
    return Ladder(kappa, rho, through(a[near], beta[near], s[near]), near_last)


@jax.jit
def around(r, shunt) -> Float[Array, "n lanes"]:
    """Conductance [S] from every node into its line, both ways, without its own shunt; infinite
    where an ideal wire pins the node."""
    # both ways in one sweep: backwards, a line is another line
    lines, shunts = (jnp.concatenate([x, x[::-1]], axis=1) for x in (r, shunt))
    s = _here(recurrences.conductances, scans.conductances, False)(lines, shunts)
    terminal = jnp.full_like(s[:1], jnp.inf)
    behind = through(*law(lines[1:]), jnp.concatenate([s[1:], terminal]))
    lanes = r.shape[1]
    return behind[:, :lanes] + behind[::-1, lanes:]


@jax.jit
def drops(ladder: Ladder, b, v: ArrayLike = 0):
    """Node drops [V] `(n, lanes)` for currents `b` [A] injected into the nodes and a near end at
    the drop `v` [V], and the current [A] `(lanes,)` in the near segment."""
    near_last = ladder.near_last
    _, near, _ = ends(b.shape[0], near_last)
    c = _here(recurrences.gather, scans.gather, near_last)(ladder.kappa, b)
    first = ladder.kappa[near] * v + ladder.rho[near] * c[near]
    d = _here(recurrences.spread, scans.spread, near_last)(ladder.kappa, ladder.rho, c, first)
    return d, ladder.kappa[near] * c[near] - ladder.t_near * v


@partial(jax.jit, static_argnames="near_last")
def currents(lost, i_near, *, near_last: bool) -> Float[Array, "segments lanes"]:
    """Segment currents [A] `(n + 1, lanes)` by Kirchhoff's current law, from the near one and
    what is lost at every node, `g d - b` [A] `(n, lanes)`."""
    j = jnp.concatenate([lost, i_near[None]] if near_last else [i_near[None], lost])
    return _here(recurrences.running_sum, scans.running_sum, near_last)(j)


@partial(jax.jit, static_argnames="near_last")
def offsets(e, *, near_last: bool):
    """Drops [V] `(n, lanes)` that electromotive forces `e` [V] `(n + 1, lanes)` cause in a line
    without current, counted from its far end, and that of the near end itself, `(lanes,)`:
    `d_k - d_{k-1} = e_k`."""
    total = _here(recurrences.running_sum, scans.running_sum, not near_last)(e)
    return (-total[:-1], total[-1]) if near_last else (-total[1:], total[0])


def _here(sweep: Callable, scan: Callable, direction: bool) -> Callable:
    """The one of two forms of a recurrence that suits the platform it is compiled for."""
    return lambda *x: lax.platform_dependent(
        *x, cpu=partial(sweep, direction), default=partial(scan, direction)
    )
