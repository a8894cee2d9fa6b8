"""IR-drop mitigation: ways to put a matrix on arrays, each a function `(weights, hardware) ->
product`.

Weights are `(inputs, outputs)`, a product is `Arrays` or what is made of several (products.py), and
`ValueError` of `tile` is that of any method. So each puts a network on arrays,

    convert(model, lambda w: compensated(w, hardware)),

and where methods say `then`, what is left is for another one. Training on the task itself is `fit`,
from whatever a method gives.
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
    """The arrays that a matrix is put on.

    **Arguments:** `mapping`, `build`, `max_tile`, `scale`: those of `tile`; `rest`: what else it
    takes, by name (`v_read`, `noise`, `converter`, `vary`, `solver`, `route`).
    """

    mapping: AbstractMapping
    build: Callable[[PerCell], Crossbar]
    max_tile: int | tuple[int, int] = 64
    scale: float = 1.0
    rest: dict[str, Any] = dataclasses.field(default_factory=dict)

    def program(self, weights: Matrix) -> Arrays:
        """Arrays for ideal wires, where the largest weight takes `scale` of the range."""
        of = dict(max_tile=self.max_tile, scale=self.scale)
        return tile(weights, self.mapping, self.build, **of, **self.rest)


Method = Callable[[Matrix, Hardware], Any]


def plain(weights: Matrix, hardware: Hardware) -> Arrays:
    """Nothing: programmed for ideal wires."""
    return hardware.program(weights)


def calibrated(weights: Matrix, hardware: Hardware) -> Arrays:
    """Linear calibration: a digital gain and offset for every column of every tile, least
    squares."""
    return hardware.program(weights).calibrated(weights)


def one_factor(weights: Matrix, hardware: Hardware, x: Array | None = None) -> Arrays:
    """One factor for all currents, from a single read with inputs `x`, by default all 1: the `s`
    with which `s y(x)` is closest to the product that was meant."""
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
    """Word lines driven and bit lines sensed at both ends, the far ones as the near ones. Raises
    `TypeError` for a readout that has no far end (it needs a `VirtualGround`)."""
    return then(weights, dataclasses.replace(hardware, build=_BothEnds(hardware.build)))


@dataclasses.dataclass(frozen=True)
class _BothEnds:
    """A `build` that is equal to another of the same arrays, so that both are compiled once."""

    build: Callable[[PerCell], Crossbar]

    def __call__(self, g: PerCell) -> Crossbar:
        array = self.build(g)
        if not isinstance(array.readout, VirtualGround):
            raise TypeError(
                f"build ends columns in a {type(array.readout).__name__}, which senses one end;"
                " both need a VirtualGround."
            )
        far = lambda a: (a.drive.r_source_far, a.readout.r_in_far)
        return eqx.tree_at(far, array, (array.drive.r_source, array.readout.r_in))


def compensated(
    weights: Matrix, hardware: Hardware, method: AbstractMethod | None = None
) -> Arrays:
    """Every tile compensated on its own, at its own scale and with a digital gain for every column
    of it. `method`: `FixedPoint(rtol=1e-4)` by default, or a `Descent`, the exact gradient on the
    effective matrix, which knows what programming leaves if it is given one.

    Warns of tiles that miss the tolerance of the method, unless it is one of what programming
    leaves, which no tolerance knows: they are as near as it came. Raises
    `ValueError` where the first tile has fewer rows than the others and bit lines end in a second
    terminal, behind rows without cells: choose `max_tile` such that tiles are even."""
    method = FixedPoint(rtol=1e-4) if method is None else method
    arrays = hardware.program(weights)
    low, span = arrays.mapping.g_min, arrays.mapping.g_max - arrays.mapping.g_min
    blocks, tiling = arrays.tiling.split(weights), arrays.tiling
    share, gain, offset = arrays.g_relative, arrays.gain, arrays.offset
    how: dict[str, Any] = dict(scale=hardware.scale, method=method, solver=arrays.linear_solver)
    far = arrays.build(arrays.conductances[0, 0, 0]).readout.r_in_far
    if tiling.left and not bool(jnp.all(jnp.isinf(far))):
        raise ValueError(
            f"{tiling.inputs} rows leave {tiling.left} of the first tile without cells, and bit"
            " lines are sensed behind them: choose max_tile such that tiles are even."
        )
    missed: list[Compensation] = []
    for down in range(tiling.down):
        left = tiling.left if down == 0 else 0  # rows without cells
        for across in range(tiling.across):
            at, block = (down, across), blocks[down, across, left:]
            if not bool(jnp.any(block != 0)):  # what stands for nothing is left out of the sum
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
    """The best product of two matrices of a `rank` (C. Eckart and G. Young, Psychometrika 1, 211,
    1936, doi:10.1007/BF02288367), each on smaller arrays of its own: less wire, and an error of its
    own. The first has columns of length 1, so that the norm of what is between is at most that of
    the inputs; an entry of it may be as large as that.

    Raises `ValueError` for a rank that is none."""
    if not 1 <= rank <= min(weights.shape):
        raise ValueError(f"rank is {rank}; it must be 1 to {min(weights.shape)}, the shorter side.")
    u, s, v = jnp.linalg.svd(weights, full_matrices=False)
    return Chain(then(u[:, :rank], hardware), then(s[:rank, None] * v[:rank], hardware))


def permuted(
    weights: Matrix, hardware: Hardware, then: Method = plain, size: Matrix | None = None
) -> Permuted:
    """Rows and columns in an order that leaves what matters most the least wire: in every block
    row, rows of more `size` nearer to the sense side, in every block column, columns of more nearer
    to the drivers. Inputs and outputs are sorted digitally. `size`: how much each weight matters,
    by default its absolute value; times the deviations of the inputs, if these are known."""
    tiling = hardware.program(weights).tiling
    size = jnp.abs(weights) if size is None else size
    rows = _sorted_within(jnp.sum(size, axis=1), tiling.rows, tiling.left, ascending=True)
    cols = _sorted_within(jnp.sum(size, axis=0), tiling.cols, 0, ascending=False)
    return Permuted(then(weights[rows][:, cols], hardware), rows, cols)


def _sorted_within(size: Array, block: int, left: int, *, ascending: bool) -> Int[Array, " n"]:
    """Order by size within blocks, of which the first one is shorter by `left`."""
    which = (jnp.arange(len(size)) + left) // block
    return jnp.lexsort((size if ascending else -size, which))


def sliced(
    weights: Matrix,
    hardware: Hardware,
    count: int,
    key: PRNGKeyArray | None = None,
    then: Method = compensated,
) -> Sum:
    """`count` slices that are added digitally: each stands for what those before it, as they are
    measured, leave of the weights, at a scale of its own. What programming (`vary` of the hardware,
    on dies of `key`) and wires do to a slice is made good by the next one, so that each takes the
    error down by about the spread of programming, times the largest over the rms residual.
    (W. Song et al., Science 383, 903, 2024, doi:10.1126/science.adi9405, slice so.)

    Raises `ValueError` for a count below 1."""
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
