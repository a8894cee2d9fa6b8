"""Lines that share a driver or a ground: level lines of converters and ground wires.

The level line of a converter feeds all rows that are switched to it, and a ground wire takes the
currents of all columns. Each shared node `k` has a resistance `r_k` [ohm] to a voltage `v_k` [V]
and is at

    u_k = v_k - r_k (sum of the currents that its lines draw),

so its lines disturb each other. The array is read at the voltages `u` [V] of the nodes. Newton's
method finds them with the admittance of the array. For linear cells one step is exact and takes one
more solve per node. The gradient is that of the solution.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, ArrayLike, Float, Int

from .._types import (
    Values,
    as_physical,
    everywhere,
    is_concrete,
    physical,
    require_finite,
    require_nonnegative,
)
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.advice import finish
from ..kirchhoff.circuit import bias_of
from ..kirchhoff.solution import Solution, Status
from ..solvers import AutoLadder, Solver
from .read import read

__all__ = ["Shared", "alternating", "ground_return", "levels", "read_shared"]


def __dir__() -> list[str]:
    return __all__


STEPS = 50  # at most, of Newton's method on the nodes; linear arrays take one


class Shared(eqx.Module):
    """Nodes shared by lines, each a voltage source behind a resistance (a Thevenin equivalent).

    **Arguments:**

    - `of`: index of each line's node, `(lines,)` integers from 0; a line with -1 has no shared node
        and keeps the voltage of the bias.
    - `v`: voltage [V] behind each node's resistance, `(nodes,)`.
    - `r`: resistance [ohm], a scalar or `(nodes,)`, such as the output resistance of a converter's
        level or the resistance of a ground wire.

    Raises `ValueError` for a node that does not exist, for shapes that do not fit, for a voltage
    that is not finite, and for a resistance that is negative or not finite; `TypeError` for nodes
    that are not integers. A traced node that does not exist has the voltage NaN, and the read has
    the status `NOT_FINITE`.
    """

    of: Int[Array, " lines"] = eqx.field(converter=jnp.asarray)
    v: Float[Array, " nodes"] = eqx.field(converter=physical("v", whole=True))
    r: Float[Array, "*nodes_"] = eqx.field(converter=physical("r"))

    def __check_init__(self):
        require_finite(self.v, "v", "V")
        require_nonnegative(self.r, "r", "ohm", open_allowed=False)
        if self.v.ndim != 1 or jnp.shape(self.r) not in ((), self.v.shape):
            raise ValueError(
                f"v has shape {self.v.shape} and r has shape {jnp.shape(self.r)}: v must be"
                " (nodes,), and r must be (nodes,) or a scalar."
            )
        if not jnp.issubdtype(self.of.dtype, jnp.integer):
            raise TypeError(f"of is an array of {self.of.dtype}; nodes are counted by integers.")
        if is_concrete(self.of):
            of = np.asarray(self.of)
            bad = np.flatnonzero((of < -1) | (of >= self.v.size))
            if len(bad):
                raise ValueError(
                    f"of[{bad[0]}] is {of[bad[0]]}, but there are {self.v.size} nodes."
                )

    def at(self, u: Float[Array, " nodes"], else_: Float[Array, " lines"]) -> Array:
        """Line voltages [V] at node voltages `u` [V]; `else_` [V] for lines without a node."""
        exists = (self.of >= -1) & (self.of < u.shape[0])  # concrete nodes do
        v = jnp.where(self.of < 0, else_, u[jnp.maximum(self.of, 0)])
        return jnp.where(exists, v, jnp.nan)

    def drop(self, i: Float[Array, " lines"]) -> Float[Array, " nodes"]:
        """Voltage drop [V] across each shared resistance, at the currents [A] of the lines."""
        drawn = jnp.zeros_like(self.v, i.dtype).at[self.of].add(jnp.where(self.of < 0, 0, i))
        return self.r * drawn


def levels(codes: Values, v: Values, r: ArrayLike) -> Shared:
    """Level lines of a converter, shared by all rows: each row is switched to the line of its code.

    **Arguments:**

    - `codes`: integers from 0 to `levels - 1`, `(rows,)`.
    - `v`: voltage [V] of each level, `(levels,)`.
    - `r`: output resistance [ohm] of each level, a scalar or `(levels,)`. The resistance of a row's
        switch belongs in `Drive.r_source`.

    **Errors:** `ValueError` for a code without a level.
    """
    codes = jnp.asarray(codes)
    v, r = as_physical(v, "v", whole=True), as_physical(r, "r")
    if not everywhere(lambda codes: codes >= 0, codes):
        at = int(np.argmax(np.asarray(codes) < 0))
        raise ValueError(f"codes[{at}] is {codes[at]}; codes start at 0, the first level.")
    return Shared(jnp.where(codes < 0, -2, codes), v, r)  # -1 would mean a line without a node


def ground_return(cols: int, r: ArrayLike, v: float = 0.0) -> Shared:
    """One ground wire of resistance `r` [ohm] to a ground at `v` [V], shared by all columns."""
    return Shared(jnp.zeros((cols,), int), jnp.full((1,), v), as_physical(r, "r"))


def read_shared(
    crossbar: Crossbar,
    v_in: Values | Bias,
    *,
    rows: Shared | None = None,
    cols: Shared | None = None,
    solver: Solver = AutoLadder(),
) -> Solution:
    """A read of an array whose lines share nodes.

    **Arguments:**

    - `crossbar`, `v_in`, `solver`: as for `read`.
    - `rows`: shared nodes of word lines (or source lines); their voltages replace `v_in` at both
        ends of a line.
    - `cols`: shared grounds of bit lines; readouts count their references and offsets from there.

    **Returns:** the `Solution` at the voltages of the nodes, which its `bias` contains.

    **Errors:** those of `read`; `ValueError` if `of` does not have one entry per line.
    """
    bias = bias_of(crossbar, v_in)
    for shared, name, lines in ((rows, "rows", crossbar.lines), (cols, "cols", crossbar.shape[1])):
        if shared is not None and shared.of.shape != (lines,):
            raise ValueError(f"{name}.of has shape {shared.of.shape}; it must be ({lines},).")
    solution = _read_shared(crossbar, bias, rows, cols, solver)
    return finish(solution, solution.status)


@eqx.filter_jit
def _read_shared(crossbar, bias, rows, cols, solver) -> Solution:
    parts = [x for x in (rows, cols) if x is not None]
    if not parts:
        return read(crossbar, bias, solver=solver)

    def biased(u, args) -> Bias:
        crossbar, bias, rows, cols = args
        v = dict(vars(bias))
        for shared, key, near, far in ((rows, "rows", "v_row", "v_row_far"),
                                       (cols, "cols", "v_col", "v_col_far")):  # fmt: skip
            if shared is None:
                continue
            for name in (near, far):
                at = getattr(bias, name)
                # a readout counts its reference from the ground that its column shares
                moved = at + crossbar.readout.follows * shared.at(u[key], jnp.zeros_like(at))
                v[name] = shared.at(u[key], at) if key == "rows" else moved
        return Bias(**v)

    def excess(u, args):
        crossbar, *_, rows, cols = args
        solution = read(crossbar, biased(u, args), solver=solver)
        along = 0 if crossbar.wires.parallel else 1
        drawn = {"rows": jnp.sum(solution.i_cell, along), "cols": -solution.i_out}
        shares = {"rows": rows, "cols": cols}
        return {k: u[k] - shares[k].v + shares[k].drop(drawn[k]) for k in u}

    dtype = bias.v_row.dtype
    # [V]: float32 has steps of 1e-8 V at line voltages of tenths of a volt
    rtol, atol = (1e-12, 1e-15) if dtype == jnp.float64 else (1e-6, 1e-7)
    start = {k: x.v.astype(dtype) for k, x in (("rows", rows), ("cols", cols)) if x is not None}
    args = crossbar, bias, rows, cols
    newton = optx.Newton(rtol, atol)
    found = optx.root_find(excess, newton, start, args, max_steps=STEPS, throw=False)
    solution = read(crossbar, biased(found.value, args), solver=solver)
    failed = found.result != optx.RESULTS.successful
    status = solution.status | jnp.where(failed, int(Status.NOT_CONVERGED), 0)
    return eqx.tree_at(lambda s: s.status, solution, jax.lax.stop_gradient(status))


def alternating(lines: int, r: ArrayLike = 0.0) -> tuple[Array, Array]:
    """Resistances [ohm] of the near and far ends of lines with terminals on alternating sides,
    `(lines,)` each. Even lines end in `r` at the near end, odd lines at the far end; the other ends
    are open. For `Drive(*alternating(rows))` or `VirtualGround(*alternating(cols))`."""
    even = jnp.arange(lines) % 2 == 0
    return jnp.where(even, r, jnp.inf), jnp.where(even, jnp.inf, r)
