"""A product integrated by amplifiers of finite gain.

While such an amplifier charges its capacitor, its input moves and the current of the array falls.
Word lines have resistance, so the columns move each other as well. With the capacitor voltage
`u = v - v_out` [V], the input voltage `v` [V], and an amplifier `v_out = A (e - v)` with gain `A`
and reference plus offset `e` [V],

    c du/dt = i(v) - u / r_leak,    v = (u + A e) / (1 + A),    v_out = A (e - u) / (1 + A),

where the array is described by its admittance (`ports`), `i(v) = i(e) - g_col (v - e)` [A]. The bit
line sees a capacitor `(1 + A) c` in parallel with a resistance `r_leak / (1 + A)`. The system is
linear with one unknown per column, and a matrix exponential solves it exactly, without time steps.
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
    """Outputs [V] of integrators a time `t_int` after their reset, `(cols,)`.

    Inputs are constant, and wires have no capacitance. Amplifiers without a `gain` are ideal; the
    result is then `read(crossbar, v_in).output`.

    **Arguments:** `crossbar`: a linear array with an `Integrator` as readout, with one time `t_int`
    for all columns; `v_in`: as for `read`.

    **Returns:** voltages [V], NaN where a solve failed under a transformation.

    **Errors:** `ValueError` for another readout, for nonlinear cells and for a `t_int` that is not
    a scalar; `RuntimeError` for an output that is not finite; those of `read`.
    """
    found = crossbar.readout
    if not isinstance(found, Integrator):
        raise ValueError(
            f"readout is a {type(found).__name__}; integrate needs an Integrator: use read"
            " for other readouts."
        )
    if jnp.ndim(found.t_int) != 0:
        raise ValueError(
            f"t_int has shape {jnp.shape(found.t_int)}; it must be a scalar, since integrate"
            " solves all columns together."
        )
    held = eqx.tree_at(  # ideal amplifiers: the array at the reset
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
            f"output {at} is {output[at]}: with t_int = {found.t_int} s, a capacitance or a leak"
            " resistance of the Integrator is far out of range."
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
    # the state is u and a constant 1, so that one exponential solves the driven system
    rates = jnp.zeros((cols + 1, cols + 1), i.dtype)
    rates = rates.at[:cols, :cols].set(-decay * t).at[:cols, cols].set(charging * t)
    start = jnp.append(full(readout.q_injected) / c, jnp.ones((), i.dtype))
    u = (expm(rates, max_squarings=40) @ start)[:cols]
    return follows * (e - u)
