"""Elements with two terminals and a linear law: resistors, capacitors and switches."""

from typing import TYPE_CHECKING, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import everywhere, optional, physical, require_finite, require_nonnegative
from ..cells.constants import BOLTZMANN
from .element import (
    AbstractNoisyElement,
    AbstractStaticElement,
    Lanes,
    NoiseSource,
    Pick,
    none,
    terminal,
)

if TYPE_CHECKING:
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar  # for checkers, no argument of a constructor

R_BROKEN = 1e6  # [ohm] from where on a resistor's law is rescaled, so that inf stays finite


def _ohm(r: Array, v: Lanes, i: Array) -> Array:
    """Violation [V] of Ohm's law by a current `i` [A] through a resistance [ohm].

    The law is `v_a - v_b = r i` up to `R_BROKEN`, and `R_BROKEN / r` times that beyond. So `r = 0`
    and `r = inf` are ordinary values, with ordinary derivatives."""
    broken = r > R_BROKEN
    scale = jnp.where(broken, R_BROKEN / jnp.where(broken, r, 1), 1)
    return scale * (v[0] - v[1]) - jnp.where(broken, R_BROKEN, r) * i


class AbstractResistor(AbstractStaticElement, AbstractNoisyElement):
    """A resistance between two buses: `v_a - v_b = r i`."""

    a: AbstractVar[Pick]
    b: AbstractVar[Pick]
    r: AbstractVar[Float[Array, "..."]]  # [ohm] from 0 to inf
    unknowns: ClassVar[int] = 1
    holds: ClassVar[tuple[str, ...]] = ("a", "b")

    @property
    def terminals(self) -> dict[str, Pick]:
        return {"a": self.a, "b": self.b}

    @property
    def is_linear(self) -> bool:
        return True

    def current(self, v: Lanes, x: Lanes) -> tuple[Lanes, Lanes]:
        (i,) = x
        return (i, -i), (_ohm(self.r, v, i),)

    def through(self, v: Lanes, x: Lanes) -> Array:
        return jnp.where(jnp.isinf(self.r), 0, x[0])  # without the rounding of what is beside it

    def noise(self, v: Lanes, x: Lanes, temperature: Array) -> tuple[NoiseSource, ...]:
        """Thermal noise: a voltage of `4 k T r` in series."""
        broken = self.r > R_BROKEN
        scaled = R_BROKEN * (R_BROKEN / jnp.where(broken, self.r, 1))  # as the law is
        r = jnp.where(broken, scaled, self.r)
        one = jnp.ones_like(v[0])
        return (NoiseSource(none(v, 2), (one,), 4 * BOLTZMANN * temperature * r),)


class Resistor(AbstractResistor):
    """A resistor: `v_a - v_b = r i`.

    **Arguments:** `a`, `b`: buses; `r`: resistance [ohm] from 0 (ideal wire) to inf (open).
    Raises `ValueError` for a negative or NaN resistance.
    """

    a: Pick = eqx.field(converter=terminal)
    b: Pick = eqx.field(converter=terminal)
    r: Float[Array, "..."] = eqx.field(converter=physical("r", whole=True))

    def __check_init__(self):
        require_nonnegative(self.r, "r", "ohm", open_allowed=True)

    def valid(self) -> Bool[Array, "..."]:
        return self.r >= 0


class Switch(AbstractResistor):
    """A switch: a resistor of `r_on` where it is closed and of `r_off` where it is open. Its state
    is data: no change of it compiles anything again.

    **Arguments:** `a`, `b`: buses; `closed`: 1 or 0 (or a boolean) per lane; `r_on`, `r_off`:
    resistances [ohm] from 0 to inf. Raises `ValueError` for other states and for negative or NaN
    resistances.
    """

    a: Pick = eqx.field(converter=terminal)
    b: Pick = eqx.field(converter=terminal)
    closed: Float[Array, "..."] = eqx.field(converter=lambda x: jnp.asarray(x, float))
    r_on: Float[Array, "..."] = eqx.field(converter=physical("r_on", whole=True), default=0.0)
    r_off: Float[Array, "..."] = eqx.field(
        converter=physical("r_off", whole=True), default=float("inf")
    )

    def __check_init__(self):
        require_nonnegative(self.r_on, "r_on", "ohm", open_allowed=True)
        require_nonnegative(self.r_off, "r_off", "ohm", open_allowed=True)
        if not everywhere(lambda x: (x == 0) | (x == 1), self.closed):
            raise ValueError(f"closed is {self.closed}; it must be 1 (closed) or 0 (open).")

    def valid(self) -> Bool[Array, "..."]:
        state = (self.closed == 0) | (self.closed == 1)
        return state & (self.r_on >= 0) & (self.r_off >= 0)

    @property
    def r(self) -> Array:  # pyright: ignore[reportIncompatibleVariableOverride]
        return jnp.where(self.closed > 0.5, self.r_on, self.r_off)


class Capacitor(AbstractNoisyElement):
    """A capacitor: `i = c d(v_a - v_b)/dt`. It passes no current at DC.

    **Arguments:**

    - `a`, `b`: buses.
    - `c`: capacitance [F], finite and not negative.
    - `v_start`: voltage [V] across it at the first time of a transient. None (the default) is that
        of the operating point. `xb.simulate` alone uses it.

    Where only capacitors, current sources and inputs of amplifiers meet, there is no operating
    point: such a node needs a capacitor with a `v_start`.
    """

    a: Pick = eqx.field(converter=terminal)
    b: Pick = eqx.field(converter=terminal)
    c: Float[Array, "..."] = eqx.field(converter=physical("c"))
    v_start: Float[Array, "..."] | None = eqx.field(
        converter=optional("v_start", whole=True), default=None
    )
    unknowns: ClassVar[int] = 0

    def __check_init__(self):
        require_nonnegative(self.c, "c", "F", open_allowed=False)
        if self.v_start is not None:
            require_finite(self.v_start, "v_start", "V")

    @property
    def holds(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return () if self.v_start is None else ("a", "b")

    def valid(self) -> Bool[Array, "..."]:
        sound = (self.c >= 0) & jnp.isfinite(self.c)
        return sound if self.v_start is None else sound & jnp.isfinite(self.v_start)

    @property
    def terminals(self) -> dict[str, Pick]:
        return {"a": self.a, "b": self.b}

    @property
    def is_linear(self) -> bool:
        return True

    @property
    def stores(self) -> tuple[str | int, ...]:
        return ("a", "b")

    def current(self, v: Lanes, x: Lanes) -> tuple[Lanes, Lanes]:
        return none(v, 2), ()

    def charge(self, v: Lanes, x: Lanes) -> tuple[Lanes, Lanes]:
        q = self.c * (v[0] - v[1])
        return (q, -q), ()

    def through(self, v: Lanes, x: Lanes) -> Array:
        return jnp.zeros_like(v[0])

    def noise(self, v: Lanes, x: Lanes, temperature: Array) -> tuple[NoiseSource, ...]:
        return ()
