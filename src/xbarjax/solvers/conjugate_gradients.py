"""Conjugate gradients over column drops, preconditioned by column ladders and a coarse grid."""

import jax.numpy as jnp
from jax import lax

from . import ladder
from .coarse import Coarse, currents
from .lines import Lines, row_drops


def conjugate_gradients(lines: Lines, coarse: Coarse | None, w, r, enough, max_steps: int):
    """Corrects `w`, whose residual is `r`, until the 2-norm of the residual is below `enough`.

    A last column solve follows, since the remaining error may sit in a few nodes that carry little
    current.

    **Returns:** the corrected `w`; an estimate of the largest eigenvalue of `S^-1 M`, by which the
    error in slow modes exceeds their residual; and the number of steps."""
    network, _, cols = lines

    def precondition(r):
        """`z`, `M z`, and the ratio of `r z` to its value with column ladders alone."""
        z, _ = ladder.drops(cols, r)
        as_it_is = lambda: (z, r, jnp.ones((), r.dtype))
        if coarse is None:
            return as_it_is()
        grid = coarse

        def corrected():
            m_z = r + currents(grid, network, z)
            better, _ = ladder.drops(cols, m_z)
            plain = jnp.sum(r * z)
            return better, m_z, jnp.where(plain > 0, jnp.sum(r * better) / plain, 1)

        return lax.cond(grid.pays, corrected, as_it_is)

    def unfinished(carry):
        *_, rr, curvature, _, step = carry
        return (rr > enough**2) & (curvature > 0) & (step < max_steps)

    def iterate(carry):
        w, r, p, m_p, rz_before, _, _, largest, step = carry
        z, m_z, excess = precondition(r)
        rz = jnp.sum(r * z)
        turn = rz / rz_before
        p = z + turn * p
        m_p = m_z + turn * m_p  # M p, from the residuals
        s_p = m_p - network.g_cr * row_drops(lines, network.g_rc * p)
        curvature = jnp.sum(p * s_p)
        length = jnp.where(curvature > 0, rz / curvature, 0)
        r = r - length * s_p
        largest = jnp.maximum(largest, excess * length)
        return w + length * p, r, p, m_p, rz, jnp.sum(r * r), curvature, largest, step + 1

    one, none = jnp.ones((), r.dtype), jnp.zeros_like(r)
    start = (w, r, none, none, one, jnp.sum(r * r), one, one, 0)
    w, r, *_, largest, steps = lax.while_loop(unfinished, iterate, start)
    return w + ladder.drops(cols, r)[0], largest, steps
