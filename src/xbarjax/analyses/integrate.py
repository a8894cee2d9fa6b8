"""Integrating a product with amplifiers whose gain is finite.

As such an amplifier charges its capacitor, its input moves, the array's current falls, and since
word lines have resistance the columns move each other. With `u` across the capacitors (`v` at the
inputs less `v_out`) and an amplifier `v_out = A (e - v)` of reference and offset `e`,

    c du/dt = i(v) - u / r_leak,    v = (u + A e) / (1 + A),    v_out = A (e - u) / (1 + A),

and the array is what it is at its terminals (`ports`), `i(v) = i(e) - g_col (v - e)`. The bit line
sees a capacitor of `(1 + A) c` beside `r_leak / (1 + A)`. The system is linear, with as many
unknowns as there are columns, and a matrix exponential solves it exactly: no time steps.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import expm
from jaxtyping import Array

from .._types import PerCol, Values, everywhere
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.circuit import bias_of
from ..kirchhoff.solution import usable
from ..readout import Integrator
from .ports import ports
from .read import read


def integrate(crossbar: Crossbar, v_in: Values | Bias) -> PerCol:
    """Outputs [V] of the integrators at the end of their time, `(cols,)`, from a reset on.

    Inputs are constant meanwhile, and wires have no capacitance. Amplifiers without a `gain` are
    ideal: then this is `read(crossbar, v_in).output`.

    **Arguments:** as of `read`, of a linear array whose readout is an `Integrator`, with one time
    `t_int` for all columns.

    **Returns:** voltages [V], NaN where a solve failed under a transformation.

    **Errors:** `ValueError` for another readout, for cells that are not linear and for times that
    differ; those of `read`.
    """
    found = crossbar.readout
    if not isinstance(found, Integrator):
        raise ValueError(
            f"readout is a {type(found).__name__}; integrate needs an Integrator: read the array"
            " for others."
        )
    if jnp.ndim(found.t_int) != 0:
        raise ValueError(
            f"t_int has shape {jnp.shape(found.t_int)}; integrate takes one time for all"
            " columns, since they move each other."
        )
    held = eqx.tree_at(  # what the array sees at the beginning
        lambda x: x.readout.gain, crossbar, None, is_leaf=lambda x: x is None
    )
    bias = bias_of(held, v_in)
    g_col = ports(held).g_col
    solution = read(held, bias)
    output = _integrated(found, g_col, solution.i_out, bias.v_col)
    output = jnp.where(usable(solution.status) & jnp.all(found.valid()), output, jnp.nan)
    if not everywhere(np.isfinite, output):
        at = int(np.argmin(np.isfinite(output)))
        raise RuntimeError(
            f"output {at} is {output[at]}: no number. Times are {found.t_int} s against"
            " capacitors and leaks of which one is far out of range."
        )
    return output


@eqx.filter_jit
def _integrated(readout: Integrator, g_col: Array, i: PerCol, e: PerCol) -> PerCol:
    cols = i.shape[0]
    full = lambda x: jnp.broadcast_to(x, (cols,)).astype(i.dtype)
    loss = full(0.0 if readout.gain is None else 1 / readout.gain)
    moves, follows = loss / (1 + loss), 1 / (1 + loss)  # 1 / (1 + A), A / (1 + A)
    c, t = full(readout.c), readout.t_int.astype(i.dtype)
    decay = (g_col * moves[None] + jnp.diag(1 / full(readout.r_leak))) / c[:, None]
    charging = (i + g_col @ (moves * e)) / c
    # u and a constant 1, so that one exponential has the homogeneous part and what is driven
    rates = jnp.zeros((cols + 1, cols + 1), i.dtype)
    rates = rates.at[:cols, :cols].set(-decay * t).at[:cols, cols].set(charging * t)
    start = jnp.append(full(readout.q_injected) / c, jnp.ones((), i.dtype))
    u = (expm(rates, max_squarings=40) @ start)[:cols]
    return follows * (e - u)
