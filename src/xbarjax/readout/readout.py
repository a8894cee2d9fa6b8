import abc
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import PerCol, Scalar

if TYPE_CHECKING:
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar  # for checkers, no argument of a constructor


class Memory(NamedTuple):
    """State of a readout at one moment, or its rate of change."""

    out: PerCol  # [V] at its output
    across: PerCol  # [V] across the capacitor between its input and its output
    at: PerCol  # [V] at its input


class AbstractReadout(eqx.Module):
    """A bit line's readout. The array sees a voltage source behind a resistance; users see
    `output`.

    Every array field is a scalar or `(cols,)`, but for `r_strap`, `(rows, cols)`.
    """

    r_in: AbstractVar[Float[Array, "..."]]  # [ohm] below the lead-out at the last row
    r_in_far: AbstractVar[Float[Array, "..."]]  # [ohm] above row 0
    r_strap: AbstractVar[Float[Array, "..."] | None]  # [ohm] from nodes in between
    is_static: AbstractVar[bool]  # the array sees the same at any time, so that it can be read
    is_linear: AbstractVar[bool]  # the array sees a voltage behind a resistance and nothing else
    has_memory: AbstractVar[bool]  # the output depends on the past: an `AbstractReadoutInTime`
    settles: AbstractVar[bool]  # the output comes to rest while the input is constant
    takes_current: AbstractVar[bool]  # the bit line's current flows into it; else it only senses

    @property
    @abc.abstractmethod
    def follows(self) -> Float[Array, "..."]:
        """Share [1] of a voltage at its reference that the array sees."""

    @abc.abstractmethod
    def valid(self) -> Bool[Array, "..."]:
        """Mask of columns with possible parameters, resistances apart."""

    @abc.abstractmethod
    def noise_conductance(self) -> Float[Array, "..."]:
        """Conductance [S] of the resistor whose thermal noise is at its input."""

    @abc.abstractmethod
    def voltage(self, cols: int) -> PerCol:
        """Voltage [V] behind the resistances, shape `(cols,)`."""

    @abc.abstractmethod
    def output(self, i: PerCol, v: PerCol) -> PerCol:
        """Output at a current [A] into the readout and a voltage [V] of its input."""


class AbstractIdealReadout(AbstractReadout):
    """A readout that is a voltage behind a resistance at any time, and takes the current without
    noise of its own: the base of readouts that say no more than their resistances, `voltage` and
    `output`."""

    is_static: ClassVar[bool] = True
    is_linear: ClassVar[bool] = True
    has_memory: ClassVar[bool] = False
    settles: ClassVar[bool] = True
    takes_current: ClassVar[bool] = True

    @property
    def follows(self) -> Float[Array, ""]:
        return jnp.ones(())

    def valid(self) -> Bool[Array, ""]:
        return jnp.ones((), bool)

    def noise_conductance(self) -> Float[Array, ""]:
        return jnp.zeros(())


class AbstractNearReadout(AbstractReadout):
    """A readout below the last row alone."""

    @property
    def r_in_far(self) -> Float[Array, ""]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return jnp.full((), jnp.inf)

    @property
    def r_strap(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None


class AbstractReadoutInTime(AbstractNearReadout):
    """A readout with a memory, where it has one (`has_memory`).

    A stage of an implicit method asks for the end of `y = y_h + d dy/dt`, with `y_h` known. Of a
    linear readout that makes what any other is, a voltage behind a resistance.
    """

    @abc.abstractmethod
    def released(self, cols: int) -> tuple[PerCol, PerCol]:
        """A voltage [V] and the resistance [ohm] behind which the array saw it until the first
        moment, `(cols,)` each."""

    @abc.abstractmethod
    def begin(self, i: PerCol, v: PerCol) -> Memory:
        """State at the first moment, of a current [A] into the readout and a voltage [V] of its
        input."""

    @abc.abstractmethod
    def companion(self, d: Scalar, y_h: Memory) -> tuple[PerCol, PerCol]:
        """The voltage [V] and the resistance [ohm] that it is in a stage of `d` [s]."""

    @abc.abstractmethod
    def end(self, d: Scalar, y_h: Memory, i: PerCol, v: PerCol) -> Memory:
        """State at the end of a stage, of the current and the voltage there."""

    @abc.abstractmethod
    def damped(self, d: Scalar, error: Memory) -> Memory:
        """Remainder of an error [V] of the state at the end of a stage of `d` [s]; nothing where
        nothing is held."""

    @abc.abstractmethod
    def capacitance(self) -> Float[Array, "..."]:
        """[F] that the bit line charges, apart from what is integrated."""

    @abc.abstractmethod
    def error_scale(self, v: Scalar, i: Scalar, q: Scalar) -> Float[Array, "..."]:
        """Scale [V] of errors of the state, where inputs are of the size of `v` [V], currents of
        that of `i` [A] and charges of that of `q` [C]."""


class AbstractClampedReadout(AbstractNearReadout):
    """A readout that need not be linear: part of its current depends on the voltage of its input in
    another way than through a resistance."""

    @abc.abstractmethod
    def held(self, v_source: PerCol) -> tuple[PerCol, PerCol]:
        """A voltage [V] and a resistance [ohm] that are part of it, in place of the linear ones
        of `v_source` [V] and `r_in`."""

    @abc.abstractmethod
    def current(self, v: PerCol, v_source: PerCol) -> PerCol:
        """Further current [A] into the readout at a voltage [V] of its input, never falling as that
        rises."""

    @abc.abstractmethod
    def saturated(self, v_out: PerCol) -> Bool[Array, " cols"]:
        """Whether an output [V] is at an end of what it can be."""


def require_static(readout: AbstractReadout) -> None:
    """Raises `ValueError` for a readout that only time can tell about."""
    if not readout.is_static:
        raise ValueError(
            f"readout is an {type(readout).__name__} of finite gain, whose input moves as it"
            " charges: use integrate, or leave its gain out."
        )


def require_linear(readout: AbstractReadout, verb: str) -> None:
    """Raises `ValueError` for a readout that is more than a voltage behind a resistance."""
    require_static(readout)
    if not readout.is_linear:
        raise ValueError(
            f"{verb} needs a linear readout, and an amplifier with a swing is not: leave v_low and"
            " v_high out, or use jax.jacobian of a read."
        )


def conductance_of(r: Float[Array, "..."]) -> Float[Array, "..."]:
    """`1 / r` [S], and 0 of none: an ideal wire has no noise."""
    return jnp.where(r > 0, 1 / jnp.where(r > 0, r, 1), 0)
