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

Arrays run along axis 0, and every other axis is a lane. The near end is at index 0, or last.
"""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from ..network import Segments


class Ladder(eqx.Module):
    """The factor of a family of lines: what depends on the wires and shunts alone."""

    kappa: Float[Array, "n lanes"]  # 0 at a pinned node
    rho: Float[Array, "n lanes"]  # 0 at a pinned node
    t_near: Float[Array, " lanes"]  # conductance into the line from its near end
    near_last: bool = eqx.field(static=True)


def factor(r, shunt, *, near_last: bool) -> Ladder:
    """Factors lines with segments `r` [ohm] `(n + 1, lanes)`, far segment included, and node
    shunts [S] `(n, lanes)`."""
    n = shunt.shape[0]
    far, near, inwards = _ends(n, near_last)
    own = 1 if near_last else 0  # node i hangs on segment i + own; sliced, it would be copied

    def gather(k, s):
        i = far + inwards * k
        behind = i - inwards
        t = _through(*_law(_get(r, behind + own)), _get(s, behind))
        return _set(s, _get(s, i) + t, i)

    end = r[0 if near_last else n]
    pin = jnp.full_like(end, jnp.inf)  # the terminal at the far end
    s = _set(shunt, shunt[far] + _through(*_law(end), pin), far)
    s = lax.fori_loop(1, n, gather, s)
    a, beta = _law(r[own : n + own])
    pinned, divisor = jnp.isinf(s), _divisor(a, beta, s)
    kappa = jnp.where(pinned, 0, a / divisor)
    rho = jnp.where(pinned, 0, beta / divisor)
    return Ladder(kappa, rho, _through(a[near], beta[near], s[near]), near_last)


def _law(r):
    segment = Segments(r)
    return segment.alpha**2, segment.beta


def _through(a, beta, s):
    """Conductance seen into a segment with `s` behind it; infinite if a pin shows through."""
    behind_pin = jnp.where(a == 0, 0, a / beta)
    return jnp.where(jnp.isinf(s), behind_pin, a * s / _divisor(a, beta, s))


def _divisor(a, beta, s):
    """`a + beta s`, which is 0 only behind a break where nothing is connected."""
    divisor = a + beta * s
    return jnp.where(divisor == 0, 1, divisor)


# The sweeps write over their input, node by node. A scan would fill a second array with zeros
# first, and moving memory is most of what an iteration costs.


def _get(x, i):
    return lax.dynamic_index_in_dim(x, i, 0, keepdims=False, allow_negative_indices=False)


def _set(x, value, i):
    return lax.dynamic_update_index_in_dim(x, value, i, 0, allow_negative_indices=False)


def _ends(n: int, near_last: bool) -> tuple[int, int, int]:
    """Index of the far node, of the near one, and the step from far to near."""
    return (0, n - 1, 1) if near_last else (n - 1, 0, -1)


def _sweep_in(ladder: Ladder, b):
    """Norton currents [A] at every node for injected currents `b` [A]."""
    far, _, inwards = _ends(b.shape[0], ladder.near_last)

    def gather(k, c):
        i = far + inwards * k
        behind = i - inwards
        return _set(c, _get(c, i) + _get(ladder.kappa, behind) * _get(c, behind), i)

    return lax.fori_loop(1, b.shape[0], gather, b)


def _sweep_out(ladder: Ladder, c, v: ArrayLike = 0) -> Float[Array, "n lanes"]:
    """Node drops [V] for Norton currents `c` [A] and a near end at `v` [V]."""
    _, near, inwards = _ends(c.shape[0], ladder.near_last)

    def spread(k, d):
        i = near - inwards * k
        before = _get(d, i + inwards)
        return _set(d, _get(ladder.kappa, i) * before + _get(ladder.rho, i) * _get(d, i), i)

    first = ladder.kappa[near] * v + ladder.rho[near] * c[near]
    return lax.fori_loop(1, c.shape[0], spread, _set(c, first, near))


def drops(ladder: Ladder, b, v: ArrayLike = 0):
    """Node drops [V] `(n, lanes)` for currents `b` [A] injected into the nodes and a near end at
    the drop `v` [V], and the current [A] `(lanes,)` in the near segment."""
    _, near, _ = _ends(b.shape[0], ladder.near_last)
    c = _sweep_in(ladder, b)
    return _sweep_out(ladder, c, v), ladder.kappa[near] * c[near] - ladder.t_near * v


def currents(lost, i_near, *, near_last: bool) -> Float[Array, "segments lanes"]:
    """Segment currents [A] `(n + 1, lanes)` by Kirchhoff's current law, from the near one and
    what is lost at every node, `g d - b` [A] `(n, lanes)`."""
    j = jnp.concatenate([lost, i_near[None]] if near_last else [i_near[None], lost])
    return _running_sum(j, outwards=True, near_last=near_last)


def offsets(e, *, near_last: bool):
    """Drops [V] `(n, lanes)` that electromotive forces `e` [V] `(n + 1, lanes)` cause in a line
    without current, counted from its far end, and that of the near end itself, `(lanes,)`:
    `d_k - d_{k-1} = e_k`."""
    total = _running_sum(e, outwards=False, near_last=near_last)
    return (-total[:-1], total[-1]) if near_last else (-total[1:], total[0])


def _running_sum(x, *, outwards: bool, near_last: bool):
    far, near, inwards = _ends(x.shape[0], near_last)
    start, step = (near, -inwards) if outwards else (far, inwards)

    def add(k, x):
        i = start + step * k
        return _set(x, _get(x, i) + _get(x, i - step), i)

    return lax.fori_loop(1, x.shape[0], add, x)
