"""Devices between two buses: any two-terminal cell."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool

from .. import cells
from ..cells import AbstractCell
from ..cells.constants import BOLTZMANN, ROOM
from .element import (
    AbstractNoisyElement,
    AbstractStaticElement,
    Lanes,
    NoiseSource,
    Pick,
    Terminal,
    terminal,
)


class Device(AbstractStaticElement, AbstractNoisyElement):
    """A cell as an element: its current flows from `a` to `b`.

    **Arguments:** `cell`: any cell, with parameters that are scalars or `(lanes,)`; `a`, `b`:
    buses. It may be a transistor with its gate voltage, or two devices in `Series`.
    """

    cell: AbstractCell
    a: Pick = eqx.field(converter=terminal)
    b: Pick = eqx.field(converter=terminal)
    unknowns: ClassVar[int] = 0
    holds: ClassVar[tuple[str, ...]] = ("a", "b")

    @property
    def terminals(self) -> dict[str, Pick]:
        return {"a": self.a, "b": self.b}

    @property
    def is_linear(self) -> bool:
        return self.cell.is_linear

    def valid(self) -> Bool[Array, "..."]:
        return self.cell.valid()

    def current(self, v: Lanes, x: Lanes) -> tuple[Lanes, Lanes]:
        i = self.cell.current(*v)
        return (i, -i), ()

    def through(self, v: Lanes, x: Lanes) -> Array:
        return self.cell.current(*v)

    def noise(self, v: Lanes, x: Lanes, temperature: Array) -> tuple[NoiseSource, ...]:
        """Thermal noise: a current of `4 k T dI/dV` in parallel, as of the cells of an array."""
        _, g_a, g_b = self.cell.linearise(*v)
        density = 2 * BOLTZMANN * temperature * (g_a + g_b)
        one = jnp.ones_like(v[0])
        return (NoiseSource((one, -one), (), density),)


def Diode(
    a: Terminal, b: Terminal, i_s: ArrayLike, n: ArrayLike = 1.0, temperature: ArrayLike = ROOM
) -> Device:
    """A diode that conducts from `a` to `b`: a `Device` with the cell `xb.Diode(i_s [A], n,
    temperature [K])`."""
    return Device(cells.Diode(i_s, n, temperature), a, b)


def AntiparallelDiodes(
    a: Terminal, b: Terminal, i_s: ArrayLike, n: ArrayLike = 1.0, temperature: ArrayLike = ROOM
) -> Device:
    """Two diodes side by side, one each way: a `Device` with the cell `xb.AntiparallelDiodes`."""
    return Device(cells.AntiparallelDiodes(i_s, n, temperature), a, b)
