"""The recurrences of a line (ladder.py) node by node: the plain form, and the fast one on a CPU.

The loops write over their input. A loop that stacks its results would first fill a second array
with zeros, and moving memory is most of the cost of an iteration.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..kirchhoff.network import Segments


def conductances(near_last: bool, r, shunt) -> Float[Array, "n lanes"]:
    """`s` [S] at every node: its shunt plus the line behind the node; infinite if it is pinned."""
    n = shunt.shape[0]
    far, _, inwards = ends(n, near_last)
    own = 1 if near_last else 0  # an offset, since a slice of the segments would be a copy

    def add(k, s):
        i = far + inwards * k
        behind = i - inwards
        t = through(*law(_get(r, behind + own)), _get(s, behind))
        return _set(s, _get(s, i) + t, i)

    end = r[0 if near_last else n]
    pin = jnp.full_like(end, jnp.inf)  # the terminal at the far end
    s = _set(shunt, shunt[far] + through(*law(end), pin), far)
    return lax.fori_loop(1, n, add, s)


def gather(near_last: bool, kappa, b) -> Float[Array, "n lanes"]:
    """Norton current `c` [A] of every node for injected currents `b` [A]."""
    far, _, inwards = ends(b.shape[0], near_last)

    def add(k, c):
        i = far + inwards * k
        behind = i - inwards
        return _set(c, _get(c, i) + _get(kappa, behind) * _get(c, behind), i)

    return lax.fori_loop(1, b.shape[0], add, b)


def spread(near_last: bool, kappa, rho, c, first) -> Float[Array, "n lanes"]:
    """Drop `d` [V] of every node for Norton currents `c` [A] and the drop `first` of the node
    nearest to the near end."""
    _, near, inwards = ends(c.shape[0], near_last)

    def fall(k, d):
        i = near - inwards * k
        before = _get(d, i + inwards)
        return _set(d, _get(kappa, i) * before + _get(rho, i) * _get(d, i), i)

    return lax.fori_loop(1, c.shape[0], fall, _set(c, first, near))


def running_sum(from_last: bool, x) -> Float[Array, "n lanes"]:
    """Cumulative sum along axis 0, from the last entry on if `from_last`."""
    start, step = (x.shape[0] - 1, -1) if from_last else (0, 1)

    def add(k, x):
        i = start + step * k
        return _set(x, _get(x, i) + _get(x, i - step), i)

    return lax.fori_loop(1, x.shape[0], add, x)


def law(r):
    """Coefficients `(a, beta)` of segments with resistances `r` [ohm]."""
    segment = Segments(r)
    return segment.alpha**2, segment.beta


def through(a, beta, s):
    """Conductance [S] seen into a segment with `s` [S] behind it; infinite if an ideal segment
    leads to a pinned node."""
    behind_pin = jnp.where(a == 0, 0, a / beta)
    return jnp.where(jnp.isinf(s), behind_pin, a * s / divisor(a, beta, s))


def divisor(a, beta, s):
    """`a + beta s`, or 1 where that is 0: at a broken segment with nothing connected behind it."""
    total = a + beta * s
    return jnp.where(total == 0, 1, total)


def ends(n: int, near_last: bool) -> tuple[int, int, int]:
    """Index of the far node, index of the near node, and the index step from far to near."""
    return (0, n - 1, 1) if near_last else (n - 1, 0, -1)


def _get(x, i):
    return lax.dynamic_index_in_dim(x, i, 0, keepdims=False, allow_negative_indices=False)


def _set(x, value, i):
    return lax.dynamic_update_index_in_dim(x, value, i, 0, allow_negative_indices=False)
