import abc
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import PerCol, Scalar

if TYPE_CHECKING:
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar  # type checkers see class variables


class Memory(NamedTuple):
    """State of a readout at one moment, or its rate of change."""

    out: PerCol  # [V] at the output
    across: PerCol  # [V] across the feedback capacitor, from input to output
    at: PerCol  # [V] at the input


class AbstractReadout(eqx.Module):
    """Readout of a bit line: to the array a voltage source behind a resistance, to users an
    `output`.

    Array fields are scalars or `(cols,)`, except `r_strap`: a scalar or `(rows, cols)`.
    """

    r_in: AbstractVar[Float[Array, "..."]]  # [ohm] below the lead-out at the last row
    r_in_far: AbstractVar[Float[Array, "..."]]  # [ohm] above row 0
    r_strap: AbstractVar[Float[Array, "..."] | None]  # [ohm] from single nodes of the line
    is_static: AbstractVar[bool]  # independent of time, as a static read needs
    is_linear: AbstractVar[bool]  # a voltage source behind a resistance, and nothing else
    has_memory: AbstractVar[bool]  # the output depends on the past: an `AbstractReadoutInTime`
    settles: AbstractVar[bool]  # the output comes to rest at a constant input
    takes_current: AbstractVar[bool]  # the bit line's current flows into the readout

    @property
    @abc.abstractmethod
    def follows(self) -> Float[Array, "..."]:
        """Fraction [1] of its reference voltage that the array sees."""

    @abc.abstractmethod
    def valid(self) -> Bool[Array, "..."]:
        """Mask of columns whose parameters, resistances apart, are physically possible."""

    @abc.abstractmethod
    def noise_conductance(self) -> Float[Array, "..."]:
        """Conductance [S] of the resistor whose thermal noise appears at the input."""

    @abc.abstractmethod
    def voltage(self, cols: int) -> PerCol:
        """Voltage [V] behind the resistances, `(cols,)`."""

    @abc.abstractmethod
    def output(self, i: PerCol, v: PerCol) -> PerCol:
        """Output at a current [A] into the readout and a voltage [V] of its input, `(cols,)`."""


class AbstractIdealReadout(AbstractReadout):
    """A static and linear readout that takes the current and adds no noise.

    Base of readouts that define only their resistances, `voltage` and `output`.
    """

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
    """A readout at one end of the bit line only, below the last row."""

    @property
    def r_in_far(self) -> Float[Array, ""]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return jnp.full((), jnp.inf)

    @property
    def r_strap(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None


class AbstractReadoutInTime(AbstractNearReadout):
    """A readout whose output may depend on the past (`has_memory`).

    A stage of an implicit time step finds the state `y = y_h + d dy/dt` at its end, with `y_h`
    known. Within a stage, a linear readout is a voltage source behind a resistance, as in a static
    read.
    """

    @abc.abstractmethod
    def released(self, cols: int) -> tuple[PerCol, PerCol]:
        """Voltage [V] and the resistance [ohm] behind which the array saw it before the first
        moment, `(cols,)` each."""

    @abc.abstractmethod
    def begin(self, i: PerCol, v: PerCol) -> Memory:
        """State at the first moment, for a current [A] into the readout and a voltage [V] of its
        input."""

    @abc.abstractmethod
    def companion(self, d: Scalar, y_h: Memory) -> tuple[PerCol, PerCol]:
        """Voltage [V] and resistance [ohm] that stand for the readout in a stage of `d` [s]."""

    @abc.abstractmethod
    def end(self, d: Scalar, y_h: Memory, i: PerCol, v: PerCol) -> Memory:
        """State at the end of a stage, for the current [A] and the voltage [V] there."""

    @abc.abstractmethod
    def damped(self, d: Scalar, error: Memory) -> Memory:
        """Remaining part of an error [V] of the state after a stage of `d` [s]; 0 for a voltage
        that no capacitor holds."""

    @abc.abstractmethod
    def capacitance(self) -> Float[Array, "..."]:
        """Capacitance [F] that the bit line charges, without an integrating capacitor."""

    @abc.abstractmethod
    def error_scale(self, v: Scalar, i: Scalar, q: Scalar) -> Float[Array, "..."]:
        """Scale [V] for errors of the state, at voltages of the size `v` [V], currents of the size
        `i` [A] and charges of the size `q` [C]."""


class AbstractClampedReadout(AbstractNearReadout):
    """A possibly nonlinear readout: a resistance in parallel with a voltage-dependent current."""

    @abc.abstractmethod
    def held(self, v_source: PerCol) -> tuple[PerCol, PerCol]:
        """Voltage [V] and resistance [ohm] of the linear part, in place of `v_source` [V] and
        `r_in`."""

    @abc.abstractmethod
    def current(self, v: PerCol, v_source: PerCol) -> PerCol:
        """Further current [A] into the readout at an input voltage `v` [V]; must never fall as `v`
        rises."""

    @abc.abstractmethod
    def saturated(self, v_out: PerCol) -> Bool[Array, " cols"]:
        """Mask of columns whose output [V] is at an end of its swing."""


def require_static(readout: AbstractReadout) -> None:
    """Raises `ValueError` for a readout that a static read cannot describe."""
    if not readout.is_static:
        raise ValueError(
            f"readout is an {type(readout).__name__} of finite gain, whose input voltage"
            " changes as it charges: use integrate, or leave gain out."
        )


def require_linear(readout: AbstractReadout, verb: str) -> None:
    """Raises `ValueError` for a readout that is more than a voltage source behind a resistance."""
    require_static(readout)
    if not readout.is_linear:
        raise ValueError(
            f"{verb} needs a linear readout, but an amplifier with a swing is nonlinear: leave"
            " v_low and v_high out, or take the jax.jacobian of a read."
        )


def conductance_of(r: Float[Array, "..."]) -> Float[Array, "..."]:
    """Conductance `1 / r` [S] for thermal noise; 0 at `r = 0`, since an ideal wire has no noise."""
    return jnp.where(r > 0, 1 / jnp.where(r > 0, r, 1), 0)
