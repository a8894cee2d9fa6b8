"""Ideal sources."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import physical, require_finite, require_nonnegative
from ..cells.constants import BOLTZMANN
from .element import (
    GROUND,
    AbstractNoisyElement,
    AbstractStaticElement,
    Lanes,
    NoiseSource,
    Pick,
    none,
    terminal,
)


class VoltageSource(AbstractStaticElement, AbstractNoisyElement):
    """A voltage source behind a resistance: `v_to - v_back = v - r i`, with `i` the current that it
    delivers.

    **Arguments:** `to`: the bus that it drives; `v`: voltage [V]; `r`: resistance [ohm], 0 if
    ideal; `back`: the bus that the current returns to, ground by default.
    """

    to: Pick = eqx.field(converter=terminal)
    v: Float[Array, "..."] = eqx.field(converter=physical("v", whole=True))
    r: Float[Array, "..."] = eqx.field(converter=physical("r", whole=True), default=0.0)
    back: Pick = eqx.field(converter=terminal, default=GROUND)
    unknowns: ClassVar[int] = 1
    holds: ClassVar[tuple[str, ...]] = ("to", "back")

    def __check_init__(self):
        require_finite(self.v, "v", "V")
        require_nonnegative(self.r, "r", "ohm", open_allowed=False)

    def valid(self) -> Bool[Array, "..."]:
        return jnp.isfinite(self.v) & jnp.isfinite(self.r) & (self.r >= 0)

    @property
    def terminals(self) -> dict[str, Pick]:
        return {"to": self.to, "back": self.back}

    @property
    def is_linear(self) -> bool:
        return True

    def current(self, v: Lanes, x: Lanes) -> tuple[Lanes, Lanes]:
        (i,) = x
        return (-i, i), (v[0] - v[1] - self.v + self.r * i,)

    def through(self, v: Lanes, x: Lanes) -> Array:
        return x[0]

    def noise(self, v: Lanes, x: Lanes, temperature: Array) -> tuple[NoiseSource, ...]:
        """Thermal noise of its resistance: a voltage of `4 k T r` in series."""
        density = 4 * BOLTZMANN * temperature * self.r
        return (NoiseSource(none(v, 2), (jnp.ones_like(v[0]),), density),)


class CurrentSource(AbstractStaticElement, AbstractNoisyElement):
    """A current source.

    **Arguments:** `to`: the bus that it drives current into; `i`: current [A]; `back`: the bus
    that it takes the current from, ground by default.
    """

    to: Pick = eqx.field(converter=terminal)
    i: Float[Array, "..."] = eqx.field(converter=physical("i"))
    back: Pick = eqx.field(converter=terminal, default=GROUND)
    unknowns: ClassVar[int] = 0
    holds: ClassVar[tuple[str, ...]] = ()

    def __check_init__(self):
        require_finite(self.i, "i", "A")

    def valid(self) -> Bool[Array, "..."]:
        return jnp.isfinite(self.i)

    @property
    def terminals(self) -> dict[str, Pick]:
        return {"to": self.to, "back": self.back}

    @property
    def is_linear(self) -> bool:
        return True

    def current(self, v: Lanes, x: Lanes) -> tuple[Lanes, Lanes]:
        i = jnp.broadcast_to(self.i, v[0].shape)
        return (-i, i), ()

    def through(self, v: Lanes, x: Lanes) -> Array:
        return jnp.broadcast_to(self.i, v[0].shape)

    def noise(self, v: Lanes, x: Lanes, temperature: Array) -> tuple[NoiseSource, ...]:
        return ()


DRIVEN = {VoltageSource: "v", CurrentSource: "i"}  # the field that gives the values of a source
