"""Elements of a circuit: what connects buses, stated by its currents and charges."""

import abc
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._types import described

if TYPE_CHECKING:
    from typing import ClassVar as AbstractClassVar
else:
    from equinox import AbstractClassVar

GROUND = "0"

Lanes: TypeAlias = tuple[Float[Array, " lanes"], ...]


class Pick(eqx.Module):
    """Some nodes of a bus, by their index: `Pick("levels", codes)` connects lane `k` to node
    `codes[k]`. Several lanes may share a node.

    **Arguments:** `bus`: its name; `index`: `(lanes,)` whole numbers from 0; None is the whole bus,
    for which its name alone is short.

    Raises `TypeError` for a name that is no string and for indices that are not whole numbers.
    """

    bus: str = eqx.field(static=True)
    index: Int[Array, " lanes"] | None = eqx.field(
        converter=lambda x: None if x is None else jnp.asarray(x), default=None
    )

    def __check_init__(self):
        if not isinstance(self.bus, str):
            raise TypeError(f"a bus is {described(self.bus)}; pass its name, a string.")
        index = self.index
        if index is not None and not (jnp.issubdtype(index.dtype, jnp.integer) and index.ndim == 1):
            raise TypeError(
                f"index of the nodes of {self.bus!r} is an array of {index.dtype} and shape"
                f" {index.shape}; it must be (lanes,) whole numbers."
            )


Terminal: TypeAlias = str | Pick


def terminal(bus: Terminal) -> Pick:
    """A terminal on a bus: the converter of such fields."""
    return bus if isinstance(bus, Pick) else Pick(bus)


class AbstractElement(eqx.Module):
    """An element between buses: lane `k` connects node `k` of each.

    A bus is a vector of nodes with a name; "0" is ground. A bus with one node is shared by all
    lanes. Every parameter is a scalar or one number per lane, `(lanes,)`.

    For the voltages `v` [V] of its terminals and its own unknowns `x`, an element states

    - `current`: the currents [A] from its terminals into it, and the violations of its own laws;
    - `charge`: the charges [C] that its terminals have put into it, and those of its own laws.

    Kirchhoff's law and the element's own laws are `current + d charge / dt = 0`. Operating point,
    poles and transient use these two methods and no others. What they state of lane `k` must depend
    on `v` and `x` of lane `k` alone; lanes meet in the nodes that they share. Noise needs one more,
    of an `AbstractNoisyElement`; the lines of a netlist are a function registered with
    `xb.spice.element`.

    `valid` says which lanes have possible parameters. Constructors raise errors for numbers that
    are known. Where they are traced, an impossible one sets the status `INVALID_ELEMENT`.
    """

    unknowns: AbstractClassVar[int]  # of its own, per lane
    holds: AbstractClassVar[tuple[str, ...]]  # terminals whose voltage it can determine at first

    @property
    @abc.abstractmethod
    def terminals(self) -> dict[str, Pick]:
        """The buses of its terminals, by the names of the arguments."""

    @property
    @abc.abstractmethod
    def is_linear(self) -> bool:
        """Whether currents and charges are linear in voltages and unknowns, constants apart."""

    @property
    @abc.abstractmethod
    def stores(self) -> tuple[str | int, ...]:
        """Terminals, by name, and own unknowns, by position, that its charges depend on and belong
        to."""

    @abc.abstractmethod
    def valid(self) -> Bool[Array, "..."]:
        """Mask of lanes whose parameters are physically possible."""

    @abc.abstractmethod
    def current(self, v: Lanes, x: Lanes) -> tuple[Lanes, Lanes]:
        """Currents [A] from the terminals into the element, and violations of its own laws."""

    @abc.abstractmethod
    def charge(self, v: Lanes, x: Lanes) -> tuple[Lanes, Lanes]:
        """Charges [C] of the terminals, and of its own laws."""

    @abc.abstractmethod
    def through(self, v: Lanes, x: Lanes) -> Float[Array, " lanes"]:
        """The current [A] that solutions report: from the first terminal through the element, or
        out of a source or an amplifier."""

    @property
    def width(self) -> int | None:
        """Number of lanes that the parameters have; None where all of them are scalars."""
        shapes = [jnp.shape(x) for x in jax.tree.leaves(self)]
        shape = np.broadcast_shapes(*shapes)
        if len(shape) > 1:
            raise ValueError(
                f"{type(self).__name__} has parameters of shape {shape}; each must be a scalar or"
                " (lanes,), one per node (batches go through jax.vmap)."
            )
        return shape[0] if shape else None


class AbstractStaticElement(AbstractElement):
    """An element without charge: it states its currents alone."""

    @property
    def stores(self) -> tuple[str | int, ...]:
        return ()

    def charge(self, v: Lanes, x: Lanes) -> tuple[Lanes, Lanes]:
        return none(v, len(v)), none(v, self.unknowns)


class NoiseSource(NamedTuple):
    """A source of noise in each lane of an element, by what it adds to `current` per unit of it."""

    currents: Lanes  # from the terminals into the element [A/unit]
    laws: Lanes  # to the violations of its own laws
    density: Float[Array, "..."]  # of its square [unit^2/Hz]


class AbstractNoisyElement(AbstractElement):
    """An element that states its noise, too; one without noise states that it has no sources."""

    @abc.abstractmethod
    def noise(self, v: Lanes, x: Lanes, temperature: Float[Array, ""]) -> tuple[NoiseSource, ...]:
        """Its sources of noise at a temperature [K], each independent of all others."""


def none(values: Lanes, count: int) -> Lanes:
    """A tuple of `count` zeros, shaped as the first of `values`."""
    return (jnp.zeros_like(values[0]),) * count
