import abc
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import PerCol, Scalar


class Memory(NamedTuple):
    """State of a readout at one moment, or its rate of change."""

    out: PerCol  # [V] at its output
    across: PerCol  # [V] across the capacitor between its input and its output
    at: PerCol  # [V] at its input


class AbstractReadout(eqx.Module):
    """A bit line's readout. The array sees a voltage source behind a resistance; users see
    `output`.

    Every array field is a scalar or `(cols,)`, but for `r_tap`, `(rows, cols)`.
    """

    r_in: eqx.AbstractVar[Float[Array, "..."]]  # [ohm] below the lead-out at the last row
    r_in_far: eqx.AbstractVar[Float[Array, "..."]]  # [ohm] above row 0
    r_tap: eqx.AbstractVar[Float[Array, "..."] | None]  # [ohm] from nodes in between

    @property
    def follows(self) -> Float[Array, "..."]:
        """[1] how much of a voltage at its reference the array sees."""
        return jnp.ones(())

    def valid(self) -> Bool[Array, "..."]:
        """Which columns have parameters that a readout can have, resistances apart."""
        return jnp.ones((), bool)

    @property
    def is_static(self) -> bool:
        """Whether what the array sees of it does not change with time."""
        return True

    @abc.abstractmethod
    def voltage(self, cols: int) -> PerCol:
        """Voltage [V] behind the resistances, shape `(cols,)`."""

    @abc.abstractmethod
    def output(self, i: PerCol, v: PerCol) -> PerCol:
        """Output at a current [A] into the readout and a voltage [V] of its input."""


class AbstractNearReadout(AbstractReadout):
    """A readout below the last row alone."""

    @property
    def r_in_far(self) -> Float[Array, ""]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return jnp.full((), jnp.inf)

    @property
    def r_tap(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None


class AbstractReadoutInTime(AbstractNearReadout):
    """A readout with a memory, where it has one (`has_memory`).

    A stage of an implicit method asks for the end of `y = y_h + d dy/dt`, with `y_h` known. Of a
    linear readout that makes what any other is, a voltage behind a resistance.
    """

    has_memory: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def released(self, cols: int) -> tuple[PerCol, PerCol]:
        """A voltage [V] and the resistance [ohm] behind which the array saw it until the first
        moment, `(cols,)` each."""

    @abc.abstractmethod
    def begin(self, i: PerCol, v: PerCol) -> Memory:
        """State at the first moment, of a current [A] into the readout and a voltage [V] of its
        input."""

    @abc.abstractmethod
    def seen(self, d: Scalar, held: Memory) -> tuple[PerCol, PerCol]:
        """The voltage [V] and the resistance [ohm] that it is in a stage of `d` [s]."""

    @abc.abstractmethod
    def end(self, d: Scalar, held: Memory, i: PerCol, v: PerCol) -> Memory:
        """State at the end of a stage, of the current and the voltage there."""

    @abc.abstractmethod
    def damped(self, d: Scalar, error: Memory) -> Memory:
        """Remainder of an error [V] of the state at the end of a stage of `d` [s]; nothing where
        nothing is held."""

    @abc.abstractmethod
    def capacitance(self) -> Float[Array, "..."]:
        """[F] that the bit line charges, apart from what is integrated."""

    @abc.abstractmethod
    def reaches(self, v: Scalar, i: Scalar, q: Scalar) -> Float[Array, "..."]:
        """Scale [V] of errors of the state, where inputs are of the size of `v` [V], currents of
        that of `i` [A] and charges of that of `q` [C]."""


def has_memory(readout: AbstractReadout) -> bool:
    """Whether what a readout does depends on what was before."""
    return isinstance(readout, AbstractReadoutInTime) and readout.has_memory


class AbstractClampedReadout(AbstractNearReadout):
    """A readout that need not be linear: part of its current depends on the voltage of its input in
    another way than through a resistance."""

    is_linear: eqx.AbstractVar[bool]

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


def is_linear(readout: AbstractReadout) -> bool:
    """Whether the array sees a voltage behind a resistance and nothing else."""
    return not isinstance(readout, AbstractClampedReadout) or readout.is_linear


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
    if not is_linear(readout):
        raise ValueError(
            f"{verb} needs a linear readout, and an amplifier with a swing is not: leave v_low and"
            " v_high out, or use jax.jacobian of a read."
        )
