"""Mappings of weights to conductances and back.

A weight may be negative; a conductance may not. A mapping decides which cells stand for which
weight. `program` gives the conductances of one or more physical arrays, stacked in front. `combine`
turns the outputs of these arrays (currents, or effective conductances) back into logical columns.
All arrays see the same inputs.

`k` [S per unit of weight] ties the two: `combine(program(w, k)) = zero + k w` for ideal wires.
`zero` [S] is 0 for all but `DigitalOffset`.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from .._types import (
    PerCell,
    PerCol,
    Scalar,
    as_physical,
    everywhere,
    is_concrete,
    physical,
    straight_through,
)

Stack = Float[Array, "arrays rows physical"]


class AbstractMapping(eqx.Module):
    """Mapping of weights, `(rows, cols)`, to conductances between two bounds.

    **Attributes:**

    - `g_min`, `g_max`: bounds [S] of every cell, `0 <= g_min < g_max`, else `ValueError`.
    - `reach`: largest negative and largest positive weight that fit, in units of
        `(g_max - g_min) / k`.
    """

    g_min: eqx.AbstractVar[Scalar]
    g_max: eqx.AbstractVar[Scalar]

    def __check_init__(self):
        g_min, g_max = self.g_min, self.g_max
        if is_concrete((g_min, g_max)) and not 0 <= float(g_min) < float(g_max) < float("inf"):
            raise ValueError(
                f"g_min is {float(g_min)} S and g_max {float(g_max)} S: they must be finite, with"
                " 0 <= g_min < g_max."
            )

    @property
    @abc.abstractmethod
    def reach(self) -> tuple[Scalar | float, Scalar | float]: ...

    @property
    def zero(self) -> Scalar:
        """Value [S] of `combine` for a weight of 0, subtracted digitally as `zero sum(v_in)` from
        every current."""
        return self.combine(self.program(jnp.zeros((1, 1), self.g_min.dtype), 0.0))[0, 0]

    @abc.abstractmethod
    def program(self, weights: PerCell, k: Scalar | float) -> Stack:
        """Conductances [S] of the physical arrays, `(arrays, rows, physical)`, inside the bounds
        for `|weights| <= reach (g_max - g_min) / k`."""

    @abc.abstractmethod
    def combine(self, physical: Float[Array, "arrays *other physical"]) -> Float[Array, "..."]:
        """Logical columns from the physical arrays' columns; linear."""

    @abc.abstractmethod
    def move(self, g: Stack, change: PerCell, slope: Stack) -> Stack:
        """Conductances [S] that change `combine` by `change` [S], if each cell's effective
        conductance changes by `slope` times its own. They may exceed the bounds for a weight that
        does not fit."""

    @abc.abstractmethod
    def used(self, g: Stack) -> PerCol:
        """Largest fraction of the range that the cells of each logical column need, `(cols,)`."""

    @abc.abstractmethod
    def saturated(self, g: Stack) -> Bool[Array, "arrays rows physical"]:
        """Mask of cells at a bound that keeps a weight from growing."""

    def siemens_per_weight(self, weights: PerCell, scale: Scalar | float = 1.0) -> Scalar:
        """Scale `k` [S per unit of weight] at which the most demanding weight takes `scale` of the
        range.

        Weights that are all 0 count as a weight of 1. Raises `ValueError` if a sign has no range.
        """
        k, low, high = _fitting(self, weights, scale)
        if is_concrete(k) and not float(k) > 0:
            raise ValueError(
                f"weights go from {float(-low)} to {float(high)}, but cells have no room for one of"
                f" the signs (reach is {tuple(map(float, self.reach))}): move g_zero."
            )
        return k


@eqx.filter_jit
def _fitting(mapping: AbstractMapping, weights: PerCell, scale: Scalar | float):
    """Largest `k` that fits, then the largest negative and positive weight; 1 where all are 0."""
    (down, up), span = mapping.reach, mapping.g_max - mapping.g_min
    low, high = jnp.max(-weights), jnp.max(weights)
    high = jnp.where((low <= 0) & (high <= 0), 1, high)
    fits = lambda reach, most: jnp.where(most > 0, reach / jnp.where(most > 0, most, 1), jnp.inf)
    return scale * span * jnp.minimum(fits(down, low), fits(up, high)), low, high


@eqx.filter_jit
def _at_bounds(mapping: AbstractMapping, g: Stack) -> Stack:
    """Conductances [S], moved to a bound where rounding exceeds it. Entries farther beyond, of
    weights that do not fit, stay."""
    low, high = mapping.g_min.astype(g.dtype), mapping.g_max.astype(g.dtype)
    rounding = 4 * jnp.finfo(g.dtype).eps * high
    held = jnp.where((g < low) & (g >= low - rounding), low, g)
    held = jnp.where((g > high) & (g <= high + rounding), high, held)
    return lax.stop_gradient(held) + straight_through(g)


class AbstractPair(AbstractMapping):
    """A mapping with two cells per weight, whose currents are subtracted."""

    g_min: Scalar = eqx.field(converter=physical("g_min"))
    g_max: Scalar = eqx.field(converter=physical("g_max"))

    @property
    def reach(self) -> tuple[float, float]:
        return 1.0, 1.0

    def combine(self, physical: Array) -> Array:
        plus, minus = self.sides(physical)
        return plus - minus

    @abc.abstractmethod
    def sides(self, physical: Array) -> tuple[Array, Array]:
        """Positive and negative columns of the physical arrays, `(arrays, ..., physical)`."""


class DifferentialPair(AbstractPair):
    """Differential pair, two arrays whose column currents are subtracted: `k w = g_plus - g_minus`.

    The side that a weight does not need stays at `g_min`, which keeps the currents in the wires
    small.

    **Arguments:** `g_min`, `g_max`: bounds [S], `0 <= g_min < g_max`, else `ValueError`.
    """

    def program(self, weights: PerCell, k: Scalar | float) -> Stack:
        sides = jnp.stack([jnp.maximum(k * weights, 0), jnp.maximum(-k * weights, 0)])
        return _at_bounds(self, self.g_min + sides)

    def sides(self, physical: Array) -> tuple[Array, Array]:
        return physical[0], physical[1]

    def move(self, g: Stack, change: PerCell, slope: Stack) -> Stack:
        plus, minus = g
        new_minus = jnp.maximum(minus - change / (2 * slope[1]), self.g_min)
        rest = change + slope[1] * (new_minus - minus)
        new_plus = jnp.maximum(plus + rest / slope[0], self.g_min)
        rest = rest - slope[0] * (new_plus - plus)
        return jnp.stack([new_plus, new_minus - rest / slope[1]])

    def used(self, g: Stack) -> PerCol:
        return jnp.max((g - self.g_min) / (self.g_max - self.g_min), axis=(0, 1))

    def saturated(self, g: Stack) -> Array:
        return g >= self.g_max


class ConstantSumPair(AbstractPair):
    """Differential pair whose sides always sum to `g_min + g_max`:

        g_plus, g_minus = (g_min + g_max +- k w) / 2.

    With both sides of each pair on one bit line (`pairs.in_cell`), every column has the same sum,
    `rows (g_min + g_max)`. A floating bit line (`VoltageSense`) then settles at its product divided
    by this one factor: no column needs a register of its own. Conductance errors of deviation
    `sigma` change a sum by the fraction `sigma / (sqrt(2 rows) g)`, with the mean conductance `g`.
    (W. Wan et al., Nature 608, 504 (2022), doi:10.1038/s41586-022-04992-8, sense voltages of
    pairs.)

    **Arguments:** `g_min`, `g_max`: bounds [S], `0 <= g_min < g_max`, else `ValueError`.
    """

    def program(self, weights: PerCell, k: Scalar | float) -> Stack:
        middle = (self.g_min + self.g_max) / 2
        return _at_bounds(self, jnp.stack([middle + k * weights / 2, middle - k * weights / 2]))

    def sides(self, physical: Array) -> tuple[Array, Array]:
        return physical[0], physical[1]

    def move(self, g: Stack, change: PerCell, slope: Stack) -> Stack:
        return g + jnp.stack([change, -change]) / (2 * slope)

    def used(self, g: Stack) -> PerCol:
        middle, half = (self.g_max + self.g_min) / 2, (self.g_max - self.g_min) / 2
        return jnp.max(jnp.abs(g - middle) / half, axis=(0, 1))

    def saturated(self, g: Stack) -> Array:
        return (g >= self.g_max) | (g <= self.g_min)


class InterleavedPair(AbstractPair):
    """Differential pair in neighbouring columns of one array with twice the columns.

    Conductances are those of `DifferentialPair`, but both sides share their word lines.

    **Arguments:** `g_min`, `g_max`: bounds [S], `0 <= g_min < g_max`, else `ValueError`.
    """

    @property
    def _pair(self) -> DifferentialPair:
        return DifferentialPair(self.g_min, self.g_max)

    def sides(self, physical: Array) -> tuple[Array, Array]:
        return physical[0, ..., 0::2], physical[0, ..., 1::2]

    def program(self, weights: PerCell, k: Scalar | float) -> Stack:
        return self._interleave(self._pair.program(weights, k))

    def move(self, g: Stack, change: PerCell, slope: Stack) -> Stack:
        g, slope = (jnp.stack(self.sides(x)) for x in (g, slope))
        return self._interleave(self._pair.move(g, change, slope))

    def used(self, g: Stack) -> PerCol:
        return self._pair.used(jnp.stack(self.sides(g)))

    def saturated(self, g: Stack) -> Array:
        return self._pair.saturated(g)

    def _interleave(self, pair: Array) -> Array:
        _, rows, cols = pair.shape
        return jnp.moveaxis(pair, 0, -1).reshape(1, rows, 2 * cols)


class OffsetColumn(AbstractMapping):
    """Reference column at mid-range, subtracted from all others of its array: `k w = g - g_mid`.

    The mapping takes half the cells of a pair, and has half the span.

    **Arguments:** `g_min`, `g_max`: bounds [S], `0 <= g_min < g_max`, else `ValueError`.
    """

    g_min: Scalar = eqx.field(converter=physical("g_min"))
    g_max: Scalar = eqx.field(converter=physical("g_max"))

    @property
    def reach(self) -> tuple[float, float]:
        return 0.5, 0.5

    def program(self, weights: PerCell, k: Scalar | float) -> Stack:
        middle = (self.g_min + self.g_max) / 2
        return _at_bounds(self, middle + jnp.pad(k * weights, ((0, 0), (0, 1)))[None])

    def combine(self, physical: Array) -> Array:
        return physical[0, ..., :-1] - physical[0, ..., -1:]

    def move(self, g: Stack, change: PerCell, slope: Stack) -> Stack:
        return g.at[0, :, :-1].add(change / slope[0, :, :-1])

    def used(self, g: Stack) -> PerCol:
        return jnp.max(jnp.abs(self._part(g[0, :, :-1])), axis=0)

    def saturated(self, g: Stack) -> Array:
        return (jnp.abs(self._part(g)) >= 1).at[:, :, -1].set(False)

    def _part(self, g: Array) -> Array:
        """Position in the range, from -1 at `g_min` to 1 at `g_max`."""
        return (2 * g - self.g_max - self.g_min) / (self.g_max - self.g_min)


class DigitalOffset(AbstractMapping):
    """Digital offset, one array with one cell per weight: `g = g_zero + k w`.

    The contribution of `g_zero` is the same for every column, `g_zero sum(v_in)`, and is subtracted
    digitally. The wires carry all of it, because no second cell subtracts it in the array.

    **Arguments:** `g_min`, `g_max`: bounds [S]; `g_zero`: conductance [S] of a weight of 0, between
    the bounds, else `ValueError`. `spanning` chooses `g_zero` for given weights.
    """

    g_min: Scalar = eqx.field(converter=physical("g_min"))
    g_max: Scalar = eqx.field(converter=physical("g_max"))
    g_zero: Scalar = eqx.field(converter=physical("g_zero"))

    def __check_init__(self):
        if not everywhere(
            lambda low, zero, high: (low <= zero) & (zero <= high),
            self.g_min,
            self.g_zero,
            self.g_max,
        ):
            raise ValueError(
                f"g_zero is {self.g_zero} S; it must lie between g_min, {self.g_min} S, and g_max,"
                f" {self.g_max} S."
            )

    @classmethod
    def spanning(
        cls, weights: PerCell, g_min: Scalar | float, g_max: Scalar | float
    ) -> tuple["DigitalOffset", Scalar]:
        """Mapping that takes the smallest weight to `g_min` and the largest to `g_max`, and its `k`
        [S per unit of weight]."""
        low, high = jnp.maximum(jnp.max(-weights), 0), jnp.maximum(jnp.max(weights), 0)
        down = low / jnp.where(low + high > 0, low + high, 1)
        g_zero = g_min + down * (g_max - g_min)
        mapping = cls(*map(as_physical, (g_min, g_max, g_zero)))
        return mapping, mapping.siemens_per_weight(weights)

    @property
    def reach(self) -> tuple[Scalar, Scalar]:
        up = (self.g_max - self.g_zero) / (self.g_max - self.g_min)
        return 1 - up, up

    def program(self, weights: PerCell, k: Scalar | float) -> Stack:
        return _at_bounds(self, (self.g_zero + k * weights)[None])

    def combine(self, physical: Array) -> Array:
        return physical[0]

    def move(self, g: Stack, change: PerCell, slope: Stack) -> Stack:
        return g + change[None] / slope

    def used(self, g: Stack) -> PerCol:
        up = (g - self.g_zero) / jnp.where(self.g_max > self.g_zero, self.g_max - self.g_zero, 1)
        down = (self.g_zero - g) / jnp.where(self.g_zero > self.g_min, self.g_zero - self.g_min, 1)
        return jnp.max(jnp.maximum(up, down), axis=(0, 1))

    def saturated(self, g: Stack) -> Array:
        return (g >= self.g_max) | (g <= self.g_min)
