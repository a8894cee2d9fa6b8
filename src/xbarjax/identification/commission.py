"""From a twin to a chip that multiplies right: identify, compensate, write, read, and again."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._types import Values, as_physical
from ..analyses.transfer import transfer
from ..crossbar import Crossbar
from ..programming.compensation import AbstractMethod, Compensation, FixedPoint, compensate
from ..programming.mapping import AbstractMapping
from .identify import identify
from .measured import Measured
from .twin import Twin
from .unknown import Unknown

NEAR = 1.2  # times what the reads leave unknown: a product that is as good
PATIENCE = 3  # rounds without a smaller error after which there are no more
SIGMAS = 1.4826  # deviations in the median of the sizes of normal numbers
WINDOW = 0.5  # of the deviation of a write, within which a cell is not written again


@runtime_checkable
class Chip(Protocol):
    """A chip with its instruments."""

    def write(self, g: np.ndarray, cells: np.ndarray) -> None:
        """Programs the `cells` of a mask, `(rows, cols)`, to conductances `g` [S]."""
        ...

    def read(self) -> Measured | Sequence[Measured]:
        """Reads the array at its terminals."""
        ...


class Round(NamedTuple):
    """One round: what the twin says of the chip after its writes."""

    error: float  # relative rms error of the weights
    unknown: float  # deviation of this error that the reads leave, in the same unit
    written: int  # cells written before


class Commissioned(eqx.Module):
    """A chip that multiplies as well as its reads can tell.

    **Attributes:**

    - `twin`: the twin after the last reads.
    - `g`: conductances [S] that were asked for last, `(rows, cols)`.
    - `gain`, `k`: a product is `(mapping.combine(i_out) / gain - mapping.zero sum(v_in)) / k`.
    - `rounds`: error, what is unknown of it and cells written, for each round.
    - `reached`: whether the last error is what the reads leave unknown.
    - `compensation`: the last `Compensation` of the twin.
    """

    twin: Twin
    g: Array
    gain: Array
    k: Array
    rounds: tuple[Round, ...] = eqx.field(static=True)
    reached: bool = eqx.field(static=True)
    compensation: Compensation


def commission(
    chip: Chip,
    crossbar: Crossbar,
    weights: Values,
    mapping: AbstractMapping,
    free: Unknown | Sequence[Unknown],
    *,
    scale: float = 0.9,
    rounds: int = 12,
    method: AbstractMethod | None = None,
    on_round: Callable[[int, Round], None] | None = None,
    **options: Any,
) -> Commissioned:
    """Brings a chip to multiply by `weights`, with nothing known of its wires but a first guess.

    A round identifies the twin of the chip, compensates the twin, and writes cells again: those
    that are off by more than twice their deviation and by more than half of what writes miss by.
    What a cell misses on average over its writes is taken off what is asked for. It ends when the
    error of the weights is what the reads leave unknown, when three rounds have not made it
    smaller, or after `rounds`.

    **Arguments:**

    - `chip`: an object with `write(g, cells)` and `read()`, see `Chip`.
    - `crossbar`: the first guess of the array, of ohmic cells; its conductances are not used.
    - `weights`: wanted matrix, `(rows, cols)`; `mapping`: to one physical array, such as
        `DigitalOffset`, `OffsetColumn` or `InterleavedPair`.
    - `free`: what is unknown, as of `identify`; one of them should be the cells.
    - `scale`: fraction of the range for the largest weight; below 1 it leaves room for asking more
        of a cell than is wanted.
    - `method`: of `compensate`, `FixedPoint()` by default; `options`: others of `identify`.
    - `on_round`: called with the number of each round and its `Round`.

    **Returns:** a `Commissioned`.

    **Errors:** `ValueError` for a mapping to several arrays; those of `identify` and `compensate`.
    """
    weights = as_physical(weights, "weights", whole=True)
    method = FixedPoint() if method is None else method
    k = mapping.siemens_per_weight(weights, scale)
    plain = mapping.program(weights, k)
    if plain.shape[0] != 1:
        raise ValueError(
            f"{type(mapping).__name__} takes {plain.shape[0]} arrays, and a chip is one: use"
            " InterleavedPair, OffsetColumn or DigitalOffset, or commission them one by one."
        )
    if crossbar.cell.shape != plain.shape[1:]:
        raise ValueError(
            f"crossbar is {' x '.join(map(str, crossbar.cell.shape))}, but the weights need"
            f" {' x '.join(map(str, plain.shape[1:]))} cells."
        )

    def compensated(of: Crossbar) -> Compensation:
        build = lambda g: eqx.tree_at(lambda c: c.cell.g, of, g)
        return compensate(weights, mapping, build, scale=scale, method=method)

    found = compensated(crossbar)
    asked, cells = np.asarray(found.g[0]), np.ones(found.g[0].shape, bool)
    chip.write(asked, cells)
    said: list[Round] = []
    missed, writes = np.zeros(asked.shape), np.zeros(asked.shape)
    spread = np.inf  # [S] of writes, once what a cell misses on average is taken off
    while True:
        begin = eqx.tree_at(lambda c: c.cell.g, crossbar, jnp.maximum(asked, mapping.g_min))
        twin = identify(chip.read(), begin, free, **options)
        found = compensated(twin.crossbar)
        judge = _Judge(mapping, weights, found.k, found.gain)
        error, unknown = judge.error(twin.crossbar), _rms(twin.std_of(judge), weights)
        said.append(Round(error, unknown, int(cells.sum())))
        if on_round is not None:
            on_round(len(said), said[-1])
        reached = error <= NEAR * unknown
        best = int(np.argmin([one.error for one in said]))
        if reached or len(said) - 1 - best >= PATIENCE or len(said) >= rounds:
            done = jnp.asarray(asked), found.gain, found.k
            return Commissioned(twin, *done, tuple(said), bool(reached), found)
        wanted, now = np.asarray(found.g[0]), np.asarray(twin.crossbar.cell.g)
        missed, writes = missed + np.where(cells, now - asked, 0), writes + cells
        off, sure = np.abs(wanted - now), 2 * np.asarray(twin.std.cell.g)
        spread = min(spread, SIGMAS * float(np.median(off[cells]))) if cells.any() else spread
        cells = (off > sure) & (off > WINDOW * spread)
        low, high = float(mapping.g_min), float(mapping.g_max)
        asked = np.where(cells, np.clip(wanted - missed / writes, low, high), asked)
        chip.write(asked, cells)


class _Judge(eqx.Module):
    """The weights that an array multiplies by."""

    mapping: AbstractMapping
    weights: Array
    k: Array
    gain: Array

    def __call__(self, crossbar: Crossbar) -> Array:
        effective = self.mapping.combine(transfer(crossbar)[None])
        return (effective / self.gain[None] - self.mapping.zero) / self.k

    def error(self, crossbar: Crossbar) -> float:
        return _rms(self(crossbar) - self.weights, self.weights)


def _rms(x: Array, of: Array) -> float:
    return float(jnp.linalg.norm(x) / jnp.linalg.norm(of))
