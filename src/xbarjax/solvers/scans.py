"""The recurrences of a line (ladder.py) as parallel scans of logarithmic depth, for accelerators.

A loop over nodes would launch one kernel per node, with little work in each. The recurrences are
associative, so parts of a line can be composed before their input is known (G. E. Blelloch, IEEE
Trans. Comput. 38, 1526, 1989, doi:10.1109/12.42122), at two to three times the arithmetic.

From node to node, the conductance seen undergoes a Moebius transform,
`s -> g + a s / (a + beta s)`. As matrices over `s = p / q`, the transforms and their products have
no negative entries. So nothing cancels, as in the form that goes node by node.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .recurrences import ends, law


def conductances(near_last: bool, r, shunt) -> Float[Array, "n lanes"]:
    """`s` [S] at every node: its shunt plus the line behind the node; infinite if it is pinned."""
    a, beta = law(r[:-1] if near_last else r[1:])  # of the segment behind each node
    broken = a == 0  # then a node shows only its own shunt: s -> g p / p
    a, beta = jnp.where(broken, 1, a), jnp.where(broken, 1, beta)
    entries = jnp.where(broken, shunt, a + shunt * beta), shunt * a, beta, a

    def compose(first, then):
        (b11, b12, b21, b22), (a11, a12, a21, a22) = first, then
        c11, c12 = a11 * b11 + a12 * b21, a11 * b12 + a12 * b22
        c21, c22 = a21 * b11 + a22 * b21, a21 * b12 + a22 * b22
        largest = jnp.maximum(jnp.maximum(c11, c12), jnp.maximum(c21, c22))
        return c11 / largest, c12 / largest, c21 / largest, c22 / largest

    # behind the first segment lies a terminal, s = 1 / 0
    p, _, q, _ = lax.associative_scan(compose, entries, reverse=not near_last)
    return jnp.where(q == 0, jnp.inf, p / jnp.where(q == 0, 1, q))


def gather(near_last: bool, kappa, b) -> Float[Array, "n lanes"]:
    """Norton current `c` [A] of every node for injected currents `b` [A]."""
    behind = jnp.roll(kappa, 1 if near_last else -1, axis=0)  # the far node's is unused
    return _recurrence(behind, b, reverse=not near_last)


def spread(near_last: bool, kappa, rho, c, first) -> Float[Array, "n lanes"]:
    """Drop `d` [V] of every node for Norton currents `c` [A] and the drop `first` of the node
    nearest to the near end."""
    _, near, _ = ends(c.shape[0], near_last)
    return _recurrence(kappa, (rho * c).at[near].set(first), reverse=near_last)


def running_sum(from_last: bool, x) -> Float[Array, "n lanes"]:
    """Cumulative sum along axis 0, from the last entry on if `from_last`."""
    return lax.cumsum(x, axis=0, reverse=from_last)


def _recurrence(coefficient, x, *, reverse: bool):
    """`y_k = coefficient_k y_{k-1} + x_k` along axis 0, from the last node on if `reverse`."""

    def compose(first, then):
        return first[0] * then[0], then[0] * first[1] + then[1]

    return lax.associative_scan(compose, (coefficient, x), reverse=reverse)[1]
