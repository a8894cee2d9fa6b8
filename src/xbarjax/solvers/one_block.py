"""Conjugate gradients of an array as one GPU kernel: one array per block of threads.

Composed of scans (scans.py), an iteration launches some tens of kernels, and each of them moves
arrays of the whole batch. In this kernel, a block goes along the lines of its array node by node,
as a CPU does, with all lines of a family at once. It moves its own array only, which its cache
holds. The method is that of conjugate_gradients.py without the coarse grid. Numbers of lines are
padded to powers of two, with unconnected nodes.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array

from .._types import PerCell, Scalar
from .lines import Lines

MOST = 256  # lines of a family; more do not fit into a block
WARPS = 4  # per block, of 32 threads each


def conjugate_gradients(
    lines: Lines, w: PerCell, r: PerCell, enough: Scalar, max_steps: int, *, interpret: bool = False
) -> tuple[PerCell, Scalar, Array]:
    """Corrects `w`, whose residual is `r`, until the 2-norm of the residual is below `enough`.

    Arguments and results are those of conjugate_gradients.py. `interpret`: whether JAX interprets
    the kernel, for tests without a GPU."""
    network, rows, cols = lines
    m, n = network.g_rc.shape
    tall, wide = (max(16, pl.next_power_of_2(k)) for k in (m, n))
    over = lambda x, i, j: jnp.pad(x, ((0, i - x.shape[0]), (0, j - x.shape[1])))
    nodes = lambda x: over(x, tall, wide)
    of_rows = lambda x: over(x, wide, tall)  # lanes are rows
    g_rc, g_cr = nodes(network.g_rc), nodes(network.g_cr)
    # the near end of a column is its last node, so padded nodes lie beyond the near end, at 0
    factors = nodes(cols.kappa), nodes(cols.rho), of_rows(rows.kappa), of_rows(rows.rho)
    array = jax.ShapeDtypeStruct((tall, wide), r.dtype)
    one = jax.ShapeDtypeStruct((1,), r.dtype)
    call = pl.pallas_call(
        partial(_kernel, m, n, max_steps, interpret),
        out_shape=[array] * 6 + [one, jax.ShapeDtypeStruct((1,), jnp.int32)],
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=1),
        name="conjugate_gradients",
    )
    w, *_, largest, steps = call(nodes(w), nodes(r), g_rc, g_cr, *factors, enough[None])
    return w[:m, :n], largest[0], steps[0].astype(jnp.asarray(0).dtype)


def _kernel(m, n, max_steps, interpret, *refs):
    w_in, r_in, g_rc, g_cr, kappa_col, rho_col, kappa_row, rho_row, enough_ref = refs[:9]
    w, r, p, m_p, z, s_p, largest_ref, steps_ref = refs[9:]
    tall, wide = w.shape
    dtype = r_in.dtype
    zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)
    along_row, along_col = jnp.zeros((wide,), dtype), jnp.zeros((tall,), dtype)

    def wait():
        """Barrier: values written by any thread can then be read by all."""
        if not interpret:
            triton.debug_barrier()

    def each_row(body, start=None):
        """Runs `body(i, carry)` for every row of nodes, then waits."""
        carry = lax.fori_loop(0, m, body, start)
        wait()
        return carry

    def columns():
        """Sets `z` to the column drops for currents `r`. Returns the sum of `r z`."""

        def gather(i, carry):
            kappa, c = carry
            c = r[i, :] + kappa * c
            z[i, :] = c
            return kappa_col[i, :], c

        def spread(k, carry):
            i = m - 1 - k
            before, rz = carry
            here = kappa_col[i, :] * before + rho_col[i, :] * z[i, :]
            z[i, :] = here
            return here, rz + r[i, :] * here

        each_row(gather, (along_row, along_row))
        return jnp.sum(each_row(spread, (along_row, along_row))[1])

    def rows():
        """Sets `s_p` to `S p`, with one solve per row. Returns the sum of `p s_p`."""

        def gather(k, carry):
            j = n - 1 - k
            kappa, c = carry
            c = g_rc[:, j] * p[:, j] + kappa * c
            s_p[:, j] = c
            return kappa_row[j, :], c

        def spread(j, carry):
            before, curvature = carry
            d = kappa_row[j, :] * before + rho_row[j, :] * s_p[:, j]
            here = m_p[:, j] - g_cr[:, j] * d
            s_p[:, j] = here
            return d, curvature + p[:, j] * here

        lax.fori_loop(0, n, gather, (along_col, along_col))
        curvature = lax.fori_loop(0, n, spread, (along_col, along_col))[1]
        wait()
        return jnp.sum(curvature)

    def begin(i, rr):
        w[i, :], r[i, :] = w_in[i, :], r_in[i, :]
        p[i, :] = m_p[i, :] = s_p[i, :] = along_row
        return rr + r_in[i, :] * r_in[i, :]

    def empty(i, carry):
        w[i, :] = p[i, :] = m_p[i, :] = z[i, :] = s_p[i, :] = along_row
        return carry

    lax.fori_loop(m, tall, empty, None)  # padded rows have no drop
    rr = jnp.sum(each_row(begin, along_row))
    enough = enough_ref[0]

    def unfinished(carry):
        _, rr, curvature, _, step = carry
        return (rr > enough * enough) & (curvature > 0) & (step < max_steps)

    def iterate(carry):
        rz_before, _, _, largest, step = carry
        rz = columns()
        turn = rz / rz_before

        def turned(i, carry):
            p[i, :] = z[i, :] + turn * p[i, :]
            m_p[i, :] = r[i, :] + turn * m_p[i, :]
            return carry

        each_row(turned, jnp.zeros((), jnp.int32))
        curvature = rows()
        length = jnp.where(curvature > 0, rz / curvature, zero)

        def moved(i, rr):
            here = r[i, :] - length * s_p[i, :]
            r[i, :] = here
            w[i, :] = w[i, :] + length * p[i, :]
            return rr + here * here

        rr = jnp.sum(each_row(moved, along_row))
        return rz, rr, curvature, jnp.maximum(largest, length), step + 1

    *_, largest, steps = lax.while_loop(unfinished, iterate, (one, rr, one, one, jnp.int32(0)))
    columns()

    def corrected(i, carry):
        w[i, :] = w[i, :] + z[i, :]
        return carry

    each_row(corrected, jnp.zeros((), jnp.int32))
    largest_ref[0], steps_ref[0] = largest, steps
