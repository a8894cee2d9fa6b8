"""A matrix as arrays compute with it: the one thing that every layer is made of."""

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
    """A matrix of weights on tiles of physical arrays, with wires, converters and variation.

    A product of inputs `x` is

        i = combine(array currents for v = v_read x),      of every tile, converted if asked to,
        y[o] = sum over tiles of (gain i / k - offset sum(v)) / v_read.

    Currents are those into the readouts: amplifiers act on them by what they are at their inputs
    (finite gain, references, offsets, limits), and what they make of them is for `converter`.
    Linear arrays compute it by a read for every input or by their exact effective matrices, which
    cost the same whatever the batch: both are exact, and `route` says which. Others read.

    **Attributes:**

    - `g_relative`: conductance of every cell relative to its range, which is what is trained:
        `g = g_min + g_relative (g_max - g_min)`, `(down, across, arrays, rows, physical)`.
    - `gain` [1] and `offset` [unit of weight]: digital, of every column of every tile, `(down,
        across, cols)`, or one for all, `(1, 1, 1)`; at first 1 and what the mapping takes for a
        weight of 0. `calibrated` fits them to the wires.
    - `k`: [S per unit of weight]; `v_read`: [V per unit of input].
    - `mapping`, `tiling`; `build`: makes the array of conductances `(rows, physical)`.
    - `converter`: of the combined currents [A] of a tile, or none.
    - `noise`: deviation of every combined current at every read [A], if a key is given.
    - `vary`, `die`: what happens to the conductances (`xb.variability`), and the key of the die,
        the same in every pass until it is replaced.
    - `solver`: how networks are solved; by default what `transfer` takes, and `read` where cells
        are not linear.
    - `still`: the `build` whose columns are known to put out nothing where inputs are 0, since
        readouts hold them at 0 V; otherwise that current is computed, too (`tile` finds it out).
    - `route`: how linear arrays find their currents, `nn.by_matrix`, `nn.by_reads`, or by default
        `nn.cheapest`, what takes less time for the batch at hand. `nn.frozen` keeps the matrices
        of a model for inference.
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
        """[S], on the present die; 0 where a row is left over."""
        return self._conductances()

    @eqx.filter_jit
    def _conductances(self) -> Cells:
        low, high = self.mapping.g_min, self.mapping.g_max
        g = between(low, high, self.g_relative)
        if self.vary is not None and self.die is not None:
            g = self.vary(g, self.die)
        return jnp.where(self.tiling.filled[:, :, None] > 0, g, 0)  # of a choice: no gradient there

    @property
    def is_linear(self) -> bool:
        """Whether products are those of a matrix."""
        array = jax.eval_shape(lambda: self.build(self.conductances[0, 0, 0]))
        return array.cell.is_linear and array.readout.is_linear

    @property
    def linear_solver(self) -> lx.AbstractLinearSolver:
        """Solver of linear networks."""
        return linear_of(self.solver)

    def effective(self) -> Blocks:
        """Effective matrix [S] of every tile, both arrays of a pair combined. Raises `RuntimeError`
        for a tile that is not solved; under `jit` that is NaN."""
        return _solved(self._effective())

    @eqx.filter_jit
    def _effective(self) -> Blocks:
        g = self.conductances
        flat = g.reshape(-1, *g.shape[-2:])
        found = on_every_core(lambda g: transfer(self.build(g), solver=self.linear_solver), flat)
        return jax.vmap(jax.vmap(self.mapping.combine))(found.reshape(g.shape))

    def weights(self) -> Matrix:
        """The weights that the arrays compute with, gains included."""
        gain, offset = self.gain[:, :, None], self.offset[:, :, None]
        return self.tiling.join(gain * self.effective() / self.k - offset)

    def calibrated(self, weights: Matrix, *, columns: bool = True) -> "Arrays":
        """The arrays with the gain and the offset that bring what they compute with closest to
        `weights`, by least squares: for every column over the rows of its tile, or one for the
        whole matrix where `columns` is false. Where no two conductances differ, the gain is 1.
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
        """Output currents [A] of every tile, both arrays of a pair combined. Raises `RuntimeError`
        for a tile that is not solved; under `jit` that is NaN."""
        v = self.v_read * self.tiling.inputs_of(x)
        return self.route(self, v) if self.is_linear else self.read(v)

    def __call__(
        self, x: Float[Array, " inputs"], key: PRNGKeyArray | None = None
    ) -> Float[Array, " outputs"]:
        """A product. `key`: of the noise; without one there is none."""
        return digital(self, x, self.currents(x), key)

    def read(self, v: Float[Array, "down rows"]) -> Float[Array, "down across cols"]:
        """The currents by a read of every tile for what every block row gets, `v` [V]."""
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
    """The product that the periphery makes of the currents of tiles: noise, codes, gains, offsets
    and sums, of `Arrays` or of `Frozen` ones."""
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
    """A matrix on as many arrays of a given size as it takes, whose partial sums are added: those
    that compute with it where wires are ideal.

    **Arguments:**

    - `weights`: `(inputs, outputs)`.
    - `mapping`: how weights are carried, for example `DifferentialPair(g_min, g_max)`.
    - `build`: makes an array of conductances `(rows, physical)`, with wires, drive and readout.
    - `max_tile`: rows and columns of an array at most, or one number for both.
    - `k`: [S per unit of weight]; by default such that the largest weight takes `scale` of the
        range.
    - `v_read`, `noise` and the `rest` (`converter`, `vary`, `die`, `solver`, `route`): as in
        `Arrays`.

    **Errors:** `ValueError` for weights that are no finite matrix or do not fit with `k`, for a
    `k`, `scale` or `v_read` that no weight can be read with, and for arrays whose columns take no
    current.
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
            f"k is {k} S per unit of weight: cells would lie beyond their bounds,"
            f" {mapping.g_min} to {mapping.g_max} S. Lower k or scale."
        )
    gain = jnp.ones((tiling.down, tiling.across, tiling.cols), weights.dtype)
    v_read, noise = v_read.astype(weights.dtype), noise.astype(weights.dtype)
    offset = mapping.zero / k * gain
    with jax.ensure_compile_time_eval():  # where weights are traced, a readout may be known
        rest["still"] = build if _puts_out_nothing(build(g[0, 0, 0])) else None
    return Arrays(share, gain, offset, k, v_read, noise, mapping, tiling, build, **rest)


@eqx.filter_jit
def _programmed(tiling: Tiling, mapping: AbstractMapping, weights: Matrix, k: Any):
    """Conductances [S] of tiles, and their parts of the range."""
    g = jax.vmap(jax.vmap(lambda w: mapping.program(w, k)))(tiling.split(weights))
    return g, (g - mapping.g_min) / (mapping.g_max - mapping.g_min)


def _puts_out_nothing(array: Crossbar) -> bool:
    """Whether no current is known to flow where inputs are 0. Raises `ValueError` for columns that
    take none whatever the inputs are."""
    if not array.readout.takes_current:
        raise ValueError(
            f"build makes columns that float ({type(array.readout).__name__}): they put out no"
            " current. Use a readout that takes it, such as VirtualGround or Tia."
        )
    held = array.readout.voltage(array.shape[1])
    return is_concrete(held) and not bool(jnp.any(held != 0))


def _solved(x: Array) -> Array:
    """A result of arrays; raises where it is known to be wrong."""
    if is_concrete(x) and not bool(jnp.all(jnp.isfinite(x))):
        raise RuntimeError(
            "A tile is not solved: look at its conductances and inputs, of which read and transfer"
            " of build(g) say what is wrong, or name another solver."
        )
    return x
