from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import Scalar, physical, require_finite, require_positive
from ..cells.constants import ROOM, thermal_voltage
from .perturbation import AbstractPerturbation, of_finite

PerPart = Float[Array, "..."]


class Metallic(AbstractPerturbation):
    """Metallic resistance, rising with temperature:
    `r (1 + alpha (temperature - temperature_ref))`, not below 0.

    Applies to wires, and to cells in the low-resistance state whose `x` is a resistance. Nothing is
    random.

    **Arguments:** `alpha`: temperature coefficient [1/K]; `temperature`, `temperature_ref`: [K].
    Raises `ValueError` for a temperature that is not positive.
    """

    alpha: Scalar = eqx.field(converter=physical("alpha"))
    temperature: Scalar = eqx.field(converter=physical("temperature"))
    temperature_ref: Scalar = eqx.field(converter=physical("temperature_ref"), default=ROOM)

    def __check_init__(self):
        require_finite(self.alpha, "alpha", "1/K")
        require_positive(self.temperature, "temperature", "K")
        require_positive(self.temperature_ref, "temperature_ref", "K")

    def draw(self, x: Any, key: PRNGKeyArray) -> tuple[()]:
        return ()

    def apply(self, x: PerPart, drawn: tuple[()] = ()) -> PerPart:
        factor = 1 + self.alpha * (self.temperature - self.temperature_ref)
        return of_finite(lambda x: x * jnp.maximum(factor, 0).astype(x.dtype), x)


class Activated(AbstractPerturbation):
    """Thermally activated conductance, hopping over a barrier:
    `g exp(-(e_a/k) (1/temperature - 1/temperature_ref))`. Nothing is random.

    **Arguments:** `e_a`: activation energy [eV]; `temperature`, `temperature_ref`: [K]. Raises
    `ValueError` for a temperature that is not positive.
    """

    e_a: Scalar = eqx.field(converter=physical("e_a"))
    temperature: Scalar = eqx.field(converter=physical("temperature"))
    temperature_ref: Scalar = eqx.field(converter=physical("temperature_ref"), default=ROOM)

    def __check_init__(self):
        require_finite(self.e_a, "e_a", "eV")
        require_positive(self.temperature, "temperature", "K")
        require_positive(self.temperature_ref, "temperature_ref", "K")

    def draw(self, x: Any, key: PRNGKeyArray) -> tuple[()]:
        return ()

    def apply(self, x: PerPart, drawn: tuple[()] = ()) -> PerPart:
        here, there = thermal_voltage(self.temperature), thermal_voltage(self.temperature_ref)
        return x * jnp.exp(self.e_a / there - self.e_a / here).astype(x.dtype)
