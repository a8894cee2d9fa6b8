"""Solves of networks with crossing lines, and their iterative refinement, by the C++ kernel."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array

from .. import _native
from .._types import Scalar
from ..kirchhoff.network import Field, Network, Segments, Shorts
from .batching import Kernel
from .refinement import refined


def solve(
    network: Network,
    vector: Field,
    options: dict[str, Any],
    solver: Kernel,
    *,
    symmetric: bool,
    refine: bool,
) -> tuple[Field, dict[str, Any]]:
    """Solves a network with crossing lines by one call of the kernel.

    **Arguments:**

    - `options`: as for a solver's `compute`.
    - `symmetric`: whether to use conjugate gradients; BiCGStab otherwise.
    - `refine`: whether to refine the solution for shorts and weakly held nodes (refinement.py).

    **Returns:** the solution and its statistics."""
    shorts, dtype = network.shorts, network.g_rc.dtype
    guess, asked = options.get("y0"), options.get("rtol", 0.0)
    cell = vector.cell
    if shorts is not None and cell is None:
        cell = jnp.zeros_like(vector.row)
    of_shorts = (None, None, None) if shorts is None else (shorts.alpha, shorts.beta, shorts.cap)
    operands = (
        network.row.r,
        network.col.r,
        network.g_rc,
        None if symmetric else network.g_cr,
        network.shunt_row,
        network.shunt_col,
        *of_shorts,
        network.hangs,
        *vector._replace(cell=cell),
        None if guess is None else guess.col,
        jnp.asarray(asked, dtype),
    )
    fields = [x for x in vector._replace(cell=cell) if x is not None]
    results = [*((x.shape, dtype) for x in fields), ((), jnp.int32), ((), dtype)]
    pure = Pure(solver.plain, refine, network.transposed)
    numbers = solver.settings(network.g_rc.shape, dtype).attributes() | {
        "refine": refine,
        "transposed": network.transposed,
    }
    found = _native.call("solve", operands, results, pure, dtype, **numbers)
    x, (steps, error) = Field(*found[:-2]), found[-2:]
    return x, {"num_steps": steps.astype(jnp.asarray(0).dtype), "error": error}


class Pure(NamedTuple):
    """Pure JAX form of the kernel's solve."""

    solver: lx.AbstractLinearSolver
    refine: bool
    transposed: bool

    def __call__(self, *operands: Any) -> list[Array]:
        r_row, r_col, g_rc, g_cr, shunt_row, shunt_col, alpha, beta, cap, hangs = operands[:10]
        *parts, guess, rtol = operands[10:]
        vector = Field(*parts)
        shorts = None
        if alpha is not None:
            shorts = Shorts(alpha, beta, cap, jnp.zeros(alpha.shape, bool))
        symmetric = g_cr is None
        network = Network(
            Segments(r_row),
            Segments(r_col),
            g_rc,
            g_rc if symmetric else g_cr,
            shunt_row,
            shunt_col,
            symmetric=symmetric,
            parallel=False,
            shorts=shorts,
            hangs=hangs,
            transposed=self.transposed,
        )
        x, steps, error = self._solved(network, vector, guess, rtol)
        return [*(leaf for leaf in x if leaf is not None), steps, error]

    def _solved(self, network: Network, vector: Field, guess, rtol) -> tuple[Field, Array, Scalar]:
        options = {"rtol": rtol}
        if guess is not None:
            options["y0"] = jax.tree.map(jnp.zeros_like, vector)._replace(col=guess)
        state = self.solver.init(network.capped, {})
        if self.refine:
            x, stats = refined(self.solver, state, network, vector, options)
            return x, stats["num_steps"], stats["error"]
        x, _, stats = self.solver.compute(state, vector, options)
        return x, stats["num_steps"], jnp.zeros((), vector.row.dtype)
