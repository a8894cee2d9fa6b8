"""A weight matrix on tiles of crossbar arrays: the product from which every layer is made."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import (
    PerCell,
    Scalar,
    Values,
    as_physical,
    between,
    everywhere,
    is_concrete,
    require_finite,
    require_nonnegative,
    require_positive,
)
from ..analyses.read import read
from ..analyses.transfer import transfer
from ..crossbar import Crossbar
from ..kirchhoff.solution import one_or_nan
from ..programming.mapping import AbstractMapping
from ..readout import AbstractConverter
from ..solvers import AutoLadder, Solver, linear_of
from ..variability import AbstractPerturbation
from .cores import on_every_core
from .routes import cheapest
from .tiling import Blocks, Matrix, Tiling

Cells = Float[Array, "down across arrays rows physical"]
Digital = Float[Array, "#down #across #cols"]


class Arrays(eqx.Module):
    """A weight matrix on tiles of crossbar arrays, with wires, converters and variation.

    The product of inputs `x`, `(inputs,)`, read with the voltages `v = v_read x`, is

        i = combine(array currents),      per tile, after `noise` and `converter`,
        y[o] = sum over tiles of (gain i / k - offset sum(v)) / v_read.

    Array currents are the currents into the readouts. An amplifier changes them through its input
    alone (finite gain, references, offsets, limits); its output stage belongs in `converter`.
    Linear arrays compute the currents by one read per input, or by their effective matrices, whose
    cost does not depend on the batch. Both are exact, and `route` chooses. Nonlinear arrays are
    read.

    **Attributes:**

    - `g_relative`: position of every cell in its conductance range [1], the trained parameter:
        `g = g_min + g_relative (g_max - g_min)`, `(down, across, arrays, rows, physical)`.
    - `gain` [1] and `offset` [unit of weight]: digital, one per column of each tile, `(down,
        across, cols)`, or one for all, `(1, 1, 1)`. `tile` sets a gain of 1 and the offset
        `mapping.zero / k`; `calibrated` fits both to the wires.
    - `k`: [S per unit of weight]; `v_read`: [V per unit of input].
    - `mapping`, `tiling`: see `xb.DifferentialPair` and `nn.Tiling`.
    - `build`: function from conductances `(rows, physical)` [S] to a `Crossbar`.
    - `converter`: applied to the combined currents [A] of each tile; `None` for no converter.
    - `noise`: standard deviation of every combined current per read [A], drawn if a call has a key.
    - `vary`, `die`: perturbation of the conductances (`xb.variability`) and the key of the die. The
        die is the same in every pass until the key is replaced.
    - `solver`: network solver. The default is that of `transfer` for linear arrays and that of
        `read` for the others.
    - `still`: equal to `build` if zero inputs are known to give zero currents, because the readouts
        hold every column at 0 V; otherwise `None`, and the currents at zero input are computed.
        `tile` sets it.
    - `route`: how linear arrays find their currents: `nn.by_matrix`, `nn.by_reads`, or
        `nn.cheapest` (default), the faster one for the batch. `nn.frozen` keeps the matrices of a
        model for inference.
    """

    g_relative: Cells
    gain: Digital
    offset: Digital
    k: Scalar
    v_read: Scalar
    noise: Scalar
    mapping: AbstractMapping
    tiling: Tiling
    build: Callable[[PerCell], Crossbar] = eqx.field(static=True)
    converter: AbstractConverter | None = None
    vary: AbstractPerturbation | None = None
    die: PRNGKeyArray | None = None
    solver: Solver = AutoLadder()
    still: Callable[[PerCell], Crossbar] | None = eqx.field(static=True, default=None)
    route: Callable[["Arrays", Any], Array] = eqx.field(static=True, default=cheapest)

    @property
    def conductances(self) -> Cells:
        """Conductances [S] on the present die; 0 in unused rows."""
        return self._conductances()

    @eqx.filter_jit
    def _conductances(self) -> Cells:
        low, high = self.mapping.g_min, self.mapping.g_max
        g = between(low, high, self.g_relative)
        if self.vary is not None and self.die is not None:
            g = self.vary(g, self.die)
        return jnp.where(self.tiling.filled[:, :, None] > 0, g, 0)  # no gradient in unused rows

    @property
    def is_linear(self) -> bool:
        """Whether the product is linear in the inputs: cells and readout are linear."""
        array = jax.eval_shape(lambda: self.build(self.conductances[0, 0, 0]))
        return array.cell.is_linear and array.readout.is_linear

    @property
    def linear_solver(self) -> lx.AbstractLinearSolver:
        """The solver for linear networks: that within `solver`, if `solver` is a Newton method."""
        return linear_of(self.solver)

    def effective(self) -> Blocks:
        """Effective matrix [S] of every tile, with the arrays of a pair combined, `(down, across,
        rows, cols)`. A tile that is not solved raises `RuntimeError`, or is NaN under `jit`."""
        return _solved(self._effective())

    @eqx.filter_jit
    def _effective(self) -> Blocks:
        g = self.conductances
        flat = g.reshape(-1, *g.shape[-2:])
        found = on_every_core(lambda g: transfer(self.build(g), solver=self.linear_solver), flat)
        return jax.vmap(jax.vmap(self.mapping.combine))(found.reshape(g.shape))

    def weights(self) -> Matrix:
        """Effective weights of the arrays, digital gains and offsets included, `(inputs,
        outputs)`."""
        gain, offset = self.gain[:, :, None], self.offset[:, :, None]
        return self.tiling.join(gain * self.effective() / self.k - offset)

    def calibrated(self, weights: Matrix, *, columns: bool = True) -> "Arrays":
        """Calibrated arrays: the digital gains and offsets bring the effective weights closest to
        `weights`, `(inputs, outputs)`, by least squares.

        With `columns=True` each column of each tile has a gain and an offset of its own, fitted
        over the rows of the tile; with `columns=False` the whole matrix shares one of each. The
        gain is 1 where all effective conductances are equal.
        """
        tiling = self.tiling
        filled = tiling.split(jnp.ones((tiling.inputs, tiling.outputs), self.g_relative.dtype))
        wanted, found = tiling.split(weights), self.effective() / self.k
        over = 2 if columns else (0, 1, 2, 3)
        count = jnp.maximum(jnp.sum(filled, over, keepdims=True), 1)
        mean = lambda x: jnp.sum(x * filled, over, keepdims=True) / count
        away = found - mean(found)
        power = mean(away**2)
        varies = ~(power <= (jnp.finfo(power.dtype).eps * mean(jnp.abs(found))) ** 2)  # or NaN
        gain = jnp.where(varies, mean(away * wanted) / jnp.where(varies, power, 1), 1)
        offset = gain * mean(found) - mean(wanted)
        digital = (gain[:, :, 0], offset[:, :, 0])
        return eqx.tree_at(lambda a: (a.gain, a.offset), self, digital)

    def currents(self, x: Float[Array, " inputs"]) -> Float[Array, "down across cols"]:
        """Output currents [A] of every tile, with the arrays of a pair combined. A tile that is not
        solved raises `RuntimeError`, or is NaN under `jit`."""
        v = self.v_read * self.tiling.inputs_of(x)
        return self.route(self, v) if self.is_linear else self.read(v)

    def __call__(
        self, x: Float[Array, " inputs"], key: PRNGKeyArray | None = None
    ) -> Float[Array, " outputs"]:
        """The product `y`, `(outputs,)`, for one input `x`. `key`: for noise; no key, no noise."""
        return digital(self, x, self.currents(x), key)

    def read(self, v: Float[Array, "down rows"]) -> Float[Array, "down across cols"]:
        """Output currents [A] by one read per tile; `v`: word-line voltages [V] of each block
        row."""
        return _solved(self._read(v))

    @eqx.filter_jit
    def _read(self, v: Float[Array, "down rows"]) -> Float[Array, "down across cols"]:
        def one(g, v):
            solution = read(self.build(g), v, solver=self.solver)
            return one_or_nan(solution.status, solution.i_out.dtype) * solution.i_out

        g = self.conductances
        each = jnp.broadcast_to(v[:, None, None], (*g.shape[:3], v.shape[-1]))
        flat = g.reshape(-1, *g.shape[-2:]), each.reshape(-1, v.shape[-1])
        i = jax.vmap(one)(*flat).reshape(*g.shape[:3], -1)
        return jax.vmap(jax.vmap(self.mapping.combine))(i)


def digital(
    of: Any, x: Float[Array, " inputs"], i: Array, key: PRNGKeyArray | None
) -> Float[Array, " outputs"]:
    """The digital side of a product, `(outputs,)`: noise, converter, gains, offsets and sums over
    tiles. `of`: `Arrays` or `Frozen`; `i`: combined currents [A] of every tile."""
    if key is not None:
        i = i + of.noise * jax.random.normal(key, i.shape, i.dtype)
    if of.converter is not None:
        i = of.converter(i)
    v = of.v_read * of.tiling.inputs_of(x)
    taken = of.offset * jnp.sum(v, axis=1)[:, None, None]
    return of.tiling.outputs_of((of.gain * i / of.k - taken) / of.v_read)


def tile(
    weights: Values,
    mapping: AbstractMapping,
    build: Callable[[PerCell], Crossbar],
    *,
    max_tile: int | tuple[int, int] = 64,
    k: Any = None,
    scale: float = 1.0,
    v_read: Any = 1.0,
    noise: Any = 0.0,
    **rest: Any,
) -> Arrays:
    """A weight matrix on tiles of at most `max_tile`, programmed for ideal wires. Partial sums of
    the tiles are added digitally.

    **Arguments:**

    - `weights`: `(inputs, outputs)`.
    - `mapping`: from weights to conductances, for example `DifferentialPair(g_min, g_max)`.
    - `build`: function from conductances `(rows, physical)` [S] to a `Crossbar`, with wires, drive
        and readout.
    - `max_tile`: most rows and columns of an array, or one number for both.
    - `k`: [S per unit of weight]. By default the largest weight takes the part `scale` of the
        conductance range.
    - `v_read`, `noise` and the `rest` (`converter`, `vary`, `die`, `solver`, `route`): as in
        `Arrays`.

    **Errors:** `ValueError` for

    - weights that are not a finite matrix, or that leave the conductance range at this `k`;
    - a `k`, `scale` or `v_read` that is not positive, or a negative `noise`;
    - a readout that takes no current.
    """
    weights = as_physical(weights, "weights", whole=True)
    if weights.ndim != 2 or 0 in weights.shape:
        raise ValueError(f"weights has shape {weights.shape}; it must be (inputs, outputs).")
    require_finite(weights, "weights", "")
    v_read, noise = as_physical(v_read, "v_read"), as_physical(noise, "noise")
    require_positive(as_physical(scale, "scale"), "scale", "(1 is all of the range)")
    require_positive(v_read, "v_read", "V per unit of input")
    require_nonnegative(noise, "noise", "A", open_allowed=False)
    tiling = Tiling(weights.shape[0], weights.shape[1], max_tile)
    k = mapping.siemens_per_weight(weights, scale) if k is None else as_physical(k, "k")
    require_positive(k, "k", "S per unit of weight")
    g, share = _programmed(tiling, mapping, weights, k)
    if not everywhere(lambda x: (x >= -1e-6) & (x <= 1 + 1e-6), share):
        raise ValueError(
            f"k is {k} S per unit of weight, which puts cells beyond their bounds of"
            f" {mapping.g_min} to {mapping.g_max} S; lower k or scale."
        )
    gain = jnp.ones((tiling.down, tiling.across, tiling.cols), weights.dtype)
    v_read, noise = v_read.astype(weights.dtype), noise.astype(weights.dtype)
    offset = mapping.zero / k * gain
    with jax.ensure_compile_time_eval():  # weights may be traced while the readout is concrete
        rest["still"] = build if _puts_out_nothing(build(g[0, 0, 0])) else None
    return Arrays(share, gain, offset, k, v_read, noise, mapping, tiling, build, **rest)


@eqx.filter_jit
def _programmed(tiling: Tiling, mapping: AbstractMapping, weights: Matrix, k: Any):
    """Conductances [S] of the tiles, and their relative positions in the range [1]."""
    g = jax.vmap(jax.vmap(lambda w: mapping.program(w, k)))(tiling.split(weights))
    return g, (g - mapping.g_min) / (mapping.g_max - mapping.g_min)


def _puts_out_nothing(array: Crossbar) -> bool:
    """Whether zero inputs are known to give zero currents. Raises `ValueError` for a readout that
    takes no current at all."""
    if not array.readout.takes_current:
        raise ValueError(
            f"build makes columns that float ({type(array.readout).__name__}) and give no output"
            " current; use a readout that takes current, such as VirtualGround or Tia."
        )
    held = array.readout.voltage(array.shape[1])
    return is_concrete(held) and not bool(jnp.any(held != 0))


def _solved(x: Array) -> Array:
    """The result itself; raises `RuntimeError` where a concrete one is not finite."""
    if is_concrete(x) and not bool(jnp.all(jnp.isfinite(x))):
        raise RuntimeError(
            "A tile is not solved: call read or transfer on build(g) to see what is wrong with its"
            " conductances or inputs, or choose another solver."
        )
    return x
