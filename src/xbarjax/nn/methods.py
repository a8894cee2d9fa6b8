"""IR-drop mitigation: methods of putting a weight matrix on arrays.

A method has the signature `(weights, hardware) -> product`. Weights are `(inputs, outputs)`; a
product is `Arrays` or a combination of several (composed.py). Every method raises the errors of
`tile`. A method puts a whole network on arrays by

    convert(model, lambda w: compensated(w, hardware)),

and methods with an argument `then` pass their matrices on to another method. `fit` trains on the
task, starting from the result of any method.
"""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from .._types import PerCell
from ..crossbar import Crossbar
from ..programming.compensation import AbstractMethod, Compensation, Descent, FixedPoint, compensate
from ..programming.mapping import AbstractMapping
from ..readout import VirtualGround
from .analog import Arrays, tile
from .composed import Chain, Permuted, Sum
from .tiling import Matrix
from .training import on_die

__all__ = [
    "Hardware",
    "calibrated",
    "compensated",
    "one_factor",
    "permuted",
    "plain",
    "sliced",
    "truncated",
    "two_ended",
]


def __dir__() -> list[str]:
    return __all__


@dataclasses.dataclass(frozen=True)
class Hardware:
    """Hardware for a weight matrix: the arguments of `tile` without the weights.

    **Arguments:** `mapping`, `build`, `max_tile`, `scale`: as in `tile`; `rest`: further arguments
    of `tile` by name (`v_read`, `noise`, `converter`, `vary`, `die`, `solver`, `route`).
    """

    mapping: AbstractMapping
    build: Callable[[PerCell], Crossbar]
    max_tile: int | tuple[int, int] = 64
    scale: float = 1.0
    rest: dict[str, Any] = dataclasses.field(default_factory=dict)

    def program(self, weights: Matrix) -> Arrays:
        """Arrays programmed for ideal wires. The largest weight takes the part `scale` of the
        conductance range."""
        of = dict(max_tile=self.max_tile, scale=self.scale)
        return tile(weights, self.mapping, self.build, **of, **self.rest)


Method = Callable[[Matrix, Hardware], Any]


def plain(weights: Matrix, hardware: Hardware) -> Arrays:
    """No mitigation: arrays programmed for ideal wires."""
    return hardware.program(weights)


def calibrated(weights: Matrix, hardware: Hardware) -> Arrays:
    """Linear calibration: a digital gain and offset per column of each tile, by least squares."""
    return hardware.program(weights).calibrated(weights)


def one_factor(weights: Matrix, hardware: Hardware, x: Array | None = None) -> Arrays:
    """One digital factor on the gains of all columns, from one calibration read with inputs `x`,
    `(inputs,)`, by default all 1. The factor brings the product closest to `x @ weights` by least
    squares."""
    arrays = hardware.program(weights)
    x = jnp.ones(weights.shape[0], weights.dtype) if x is None else x
    taken = arrays.tiling.outputs_of(
        arrays.offset * jnp.sum(arrays.tiling.inputs_of(x), axis=1)[:, None, None]
    )
    meant = jnp.matmul(x, weights, precision="highest") + taken
    measured = arrays(x) + taken
    power = jnp.vdot(measured, measured)
    factor = jnp.where(power > 0, jnp.vdot(measured, meant) / jnp.where(power > 0, power, 1), 1)
    return eqx.tree_at(lambda a: a.gain, arrays, factor * arrays.gain)


def two_ended(weights: Matrix, hardware: Hardware, then: Method = plain) -> Any:
    """Two-ended arrays: word lines driven and bit lines sensed at both ends, with the same source
    and input resistances at the far ends as at the near ones. Raises `TypeError` for a readout
    other than a `VirtualGround`, since it has no far end."""
    return then(weights, dataclasses.replace(hardware, build=_BothEnds(hardware.build)))


@dataclasses.dataclass(frozen=True)
class _BothEnds:
    """A `build` with two-ended arrays. It compares equal for equal `build`s (a closure would not),
    so that JAX compiles once."""

    build: Callable[[PerCell], Crossbar]

    def __call__(self, g: PerCell) -> Crossbar:
        array = self.build(g)
        if not isinstance(array.readout, VirtualGround):
            raise TypeError(
                f"build ends columns in a {type(array.readout).__name__}, which senses one end;"
                " use a VirtualGround to sense both."
            )
        far = lambda a: (a.drive.r_source_far, a.readout.r_in_far)
        return eqx.tree_at(far, array, (array.drive.r_source, array.readout.r_in))


def compensated(
    weights: Matrix, hardware: Hardware, method: AbstractMethod | None = None
) -> Arrays:
    """Compensation of every tile on its own, at a scale of its own and with a digital gain per
    column.

    `method`: `FixedPoint(rtol=1e-4)` by default, or a `Descent` along the exact gradient of the
    effective matrix, which can expect programming errors or levels (`programming`).

    Warns if tiles miss the tolerance of the method, and keeps their best conductances. A `Descent`
    with `programming` gives no warning: programming errors keep it from any tolerance.

    Raises `ValueError` if the first tile has fewer rows than the others and bit lines are sensed at
    both ends, since rows without cells would lie before the far end: choose `max_tile` such that
    tiles are even."""
    method = FixedPoint(rtol=1e-4) if method is None else method
    arrays = hardware.program(weights)
    low, span = arrays.mapping.g_min, arrays.mapping.g_max - arrays.mapping.g_min
    blocks, tiling = arrays.tiling.split(weights), arrays.tiling
    share, gain, offset = arrays.g_relative, arrays.gain, arrays.offset
    how: dict[str, Any] = dict(scale=hardware.scale, method=method, solver=arrays.linear_solver)
    far = arrays.build(arrays.conductances[0, 0, 0]).readout.r_in_far
    if tiling.left and not bool(jnp.all(jnp.isinf(far))):
        raise ValueError(
            f"{tiling.inputs} rows leave {tiling.left} of the first tile without cells, and the far"
            " ends of the bit lines are sensed behind them; choose max_tile such that tiles are"
            " even."
        )
    missed: list[Compensation] = []
    for down in range(tiling.down):
        left = tiling.left if down == 0 else 0  # rows without cells
        for across in range(tiling.across):
            at, block = (down, across), blocks[down, across, left:]
            if not bool(jnp.any(block != 0)):  # a tile of zeros adds no current to the sum
                gain, offset = gain.at[at].set(0), offset.at[at].set(0)
                continue
            answer = compensate(block, arrays.mapping, arrays.build, **how)
            if not answer.reached:
                missed.append(answer)
            share = share.at[*at, :, left:].set((answer.g - low) / span)
            gain = gain.at[at].set(arrays.k / (answer.k * answer.gain))
            offset = offset.at[at].set(arrays.mapping.zero / answer.k)
    aware = isinstance(method, Descent) and method.programming is not None
    if missed and not aware:
        worst = max(missed, key=lambda answer: float(answer.after.rms))
        warnings.warn(
            f"{len(missed)} of {tiling.down * tiling.across} tiles miss the tolerance of"
            f" {type(method).__name__}, {method.rtol}: weights err by up to"
            f" {float(worst.after.rms):.1e} rms. {worst.advice}",
            stacklevel=2,
        )
    return eqx.tree_at(lambda a: (a.g_relative, a.gain, a.offset), arrays, (share, gain, offset))


def truncated(weights: Matrix, hardware: Hardware, rank: int, then: Method = plain) -> Chain:
    """Truncated singular value decomposition `weights ~ u_r (s_r v_r)` of the given `rank`, the
    closest of this rank (C. Eckart and G. Young, Psychometrika 1, 211, 1936,
    doi:10.1007/BF02288367).

    Each factor has smaller arrays of its own, with less wire; the truncation adds an error. The
    columns of the first factor have length 1: the norm of the vector between the factors is at most
    that of the inputs, but one of its entries may be as large as this norm.

    Raises `ValueError` for a rank outside of 1 to the shorter side of `weights`."""
    if not 1 <= rank <= min(weights.shape):
        raise ValueError(f"rank is {rank}; it must be 1 to {min(weights.shape)}, the shorter side.")
    u, s, v = jnp.linalg.svd(weights, full_matrices=False)
    return Chain(then(u[:, :rank], hardware), then(s[:rank, None] * v[:rank], hardware))


def permuted(
    weights: Matrix, hardware: Hardware, then: Method = plain, size: Matrix | None = None
) -> Permuted:
    """Rows and columns sorted such that the most important weights have the least wire. Within a
    block row, rows with a larger sum of `size` lie nearer to the sense side; within a block column,
    columns with a larger sum lie nearer to the drivers. Inputs and outputs are reordered digitally.

    `size`: importance of each weight, `(inputs, outputs)`, by default its absolute value. If the
    standard deviations of the inputs are known, multiply by them."""
    tiling = hardware.program(weights).tiling
    size = jnp.abs(weights) if size is None else size
    rows = _sorted_within(jnp.sum(size, axis=1), tiling.rows, tiling.left, ascending=True)
    cols = _sorted_within(jnp.sum(size, axis=0), tiling.cols, 0, ascending=False)
    return Permuted(then(weights[rows][:, cols], hardware), rows, cols)


def _sorted_within(size: Array, block: int, left: int, *, ascending: bool) -> Int[Array, " n"]:
    """Permutation that sorts by size within blocks; the first block is shorter by `left`."""
    which = (jnp.arange(len(size)) + left) // block
    return jnp.lexsort((size if ascending else -size, which))


def sliced(
    weights: Matrix,
    hardware: Hardware,
    count: int,
    key: PRNGKeyArray | None = None,
    then: Method = compensated,
) -> Sum:
    """Slices whose products are added digitally. Slice `k` is programmed, at a scale of its own,
    with the residual that the measured effective weights of the slices before it leave:

        residual_0 = weights,   residual_(k+1) = residual_k - effective weights of slice k.

    Each slice corrects the errors that wires and programming (`vary` of the hardware, one die per
    slice, drawn from `key`) left in the slices before it. It reduces the error by about the spread
    of programming, times the largest over the rms residual. The scheme is that of W. Song et al.,
    Science 383, 903, 2024, doi:10.1126/science.adi9405.

    Raises `ValueError` for a `count` below 1."""
    if count < 1:
        raise ValueError(f"count is {count}; there must be at least 1 slice.")
    parts, left = [], weights
    for k in range(count):
        part = then(left, hardware)
        if key is not None:
            part = on_die(part, jax.random.fold_in(key, k))
        parts.append(part)
        left = left - part.weights()
    return Sum(tuple(parts))
