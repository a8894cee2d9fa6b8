"""One line of wire as a chain, solved exactly in one sweep in and one sweep out.

Node `k` of a line hangs on segment `k` towards the near end and carries a shunt `g_k` [S] and an
injected current `b_k` [A]; `d_k` [V] is its drop and `J_k` [A] the current in its segment, counted
so that Kirchhoff's current law reads `J_k - J_{k+1} + g_k d_k = b_k`. A segment obeys

    a_k (d_k - d_{k-1}) = beta_k J_k,        d_{-1} = v,

where `(a, beta) = (1, r)` for an ordinary wire and `a = 0` for a broken one, so that nothing is
divided by a resistance. One more segment joins the last node to the far end, which is at 0.

From the far end every node sees the rest of the line as a Norton equivalent, a conductance `s` to
ground and a current `c`. Seen through segment `k`, from the node before it, they are

    t = kappa s,   kappa c,   kappa = a / (a + beta s),      s_{k-1} = g_{k-1} + t_k,

and on the way out again `d_k = kappa_k d_{k-1} + rho_k c_k` with `rho = beta / (a + beta s)`. `s`
is a sum of terms that are not negative: nothing cancels, in float32 either. An ideal far end
(`r = 0`) has no Norton equivalent: its node is pinned at 0.

Arrays run along axis 0, and every other axis is a lane. The near end is at index 0, or last.
"""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float


class Ladder(eqx.Module):
    """The factor of a family of lines: what depends on the wires and shunts alone."""

    kappa: Float[Array, "n lanes"]  # 0 at a pinned node
    rho: Float[Array, "n lanes"]  # 0 at a pinned node
    t_near: Float[Array, " lanes"]  # conductance into the line from its near end
    near_last: bool = eqx.field(static=True)


def factor(a, beta, shunt, *, near_last: bool) -> Ladder:
    """Factors lines with segments `a`, `beta` of shape `(n + 1, lanes)`, far segment included,
    and node shunts [S] `(n, lanes)`."""
    a_far, beta_far = (x[0] if near_last else x[-1] for x in (a, beta))
    a, beta = (x[1:] if near_last else x[:-1] for x in (a, beta))

    def through(a, beta, s, pinned):
        """Conductance into a segment with `s` behind it, and whether a pin shows through it."""
        ideal = beta == 0
        behind_pin = jnp.where(ideal, 0, a / jnp.where(ideal, 1, beta))
        return jnp.where(pinned, behind_pin, a * s / _divisor(a, beta, s)), pinned & ideal

    def inwards(carry, x):
        t, pinned = carry
        a, beta, g = x
        s = g + t
        return through(a, beta, s, pinned), (s, pinned)

    far_terminal = jnp.ones(a_far.shape, bool)  # a pin
    start = through(a_far, beta_far, jnp.zeros_like(a_far), far_terminal)
    (t_near, _), (s, pinned) = lax.scan(inwards, start, (a, beta, shunt), reverse=not near_last)
    divisor = _divisor(a, beta, s)
    kappa = jnp.where(pinned, 0, a / divisor)
    rho = jnp.where(pinned, 0, beta / divisor)
    return Ladder(kappa, rho, t_near, near_last)


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


def drops(ladder: Ladder, b, v: ArrayLike = 0) -> Float[Array, "n lanes"]:
    """Node drops [V] `(n, lanes)` for currents `b` [A] injected into the nodes and a near end at
    the drop `v` [V]."""
    return _sweep_out(ladder, _sweep_in(ladder, b), v)


def drops_and_currents(ladder: Ladder, shunt, b, v: ArrayLike = 0):
    """Node drops [V] `(n, lanes)` and segment currents [A] `(n + 1, lanes)`: the near one from
    its Norton equivalent, the others from Kirchhoff's current law."""
    n = b.shape[0]
    far, near, inwards = _ends(n, ladder.near_last)
    c = _sweep_in(ladder, b)
    d = _sweep_out(ladder, c, v)
    first = (ladder.kappa[near] * c[near] - ladder.t_near * v)[None]
    lost = shunt * d - b
    j = jnp.concatenate([lost, first] if ladder.near_last else [first, lost])
    return d, _running_sum(j, outwards=True, near_last=ladder.near_last)


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
