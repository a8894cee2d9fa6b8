import math
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative, require_positive
from .constants import thermal_voltage
from .exponential import exp
from .memory import AbstractMemoryCell


class Diffusive(AbstractMemoryCell):
    """Diffusive device: a silver filament that grows under a voltage and dissolves by itself.

        d(diameter)/dt = a exp(-(e_grow - alpha u) / u_t)
                         - b exp(-e_shrink / u_t) / max(diameter, atom)^3,    u_t = k T / q
        1 / R_filament = pi diameter^2 / (4 gap rho(diameter))
        rho(d) = rho_0 l_free (1 - p) / (d (1 + p))

    The filament bridges a gap between stubs of diameter `d_max`. The oxide beside it in the gap
    conducts with a resistivity `rho_ox / (1 + kappa u / gap)`. The stubs are in series with both;
    `u` is the part of |v| across the gap. The resistivity of metal grows as it gets thinner, since
    electrons scatter at its surface.

    Source: W. Wang et al., IEEE Trans. Electron Devices 66, 3802 (2019),
    doi:10.1109/TED.2019.2928888, with the numbers of a Verilog-A form by T. Patni for positive
    voltages. Left out are heat, which is below a few kelvin at currents of microamperes, and the
    slow widening of the gap after the filament broke. Both polarities grow the filament alike.

    **Arguments:** scalars or `(rows, cols)`.

    - `diameter`: the state [m], 0 to `d_max` [m].
    - `a`: rate of growth [m/s]; `b`: rate of dissolution [m^4/s]; `alpha`: share of the voltage
        that lowers the barrier of growth [1]; `e_grow`, `e_shrink`: barriers [eV].
    - `atom`: smallest diameter [m]; `gap`: length of the gap [m]; `length`: of gap and stubs [m].
    - `rho_0`: resistivity of bulk metal [ohm m]; `l_free`: free path of electrons in it [m]; `p`:
        share of electrons that the surface mirrors [1].
    - `rho_ox`: resistivity of the oxide [ohm m]; `kappa`: its fall with the field [m/V].
    - `temperature`: of the device [K].

    Raises `ValueError` for a parameter that is negative or not finite.
    """

    diameter: Float[Array, "..."] = eqx.field(converter=physical("diameter"))
    a: Float[Array, "..."] = eqx.field(converter=physical("a"), default=100.0)
    b: Float[Array, "..."] = eqx.field(converter=physical("b"), default=3e-26)
    alpha: Float[Array, "..."] = eqx.field(converter=physical("alpha"), default=0.28)
    e_grow: Float[Array, "..."] = eqx.field(converter=physical("e_grow"), default=0.99)
    e_shrink: Float[Array, "..."] = eqx.field(converter=physical("e_shrink"), default=0.65)
    atom: Float[Array, "..."] = eqx.field(converter=physical("atom"), default=1e-10)
    gap: Float[Array, "..."] = eqx.field(converter=physical("gap"), default=2e-10)
    length: Float[Array, "..."] = eqx.field(converter=physical("length"), default=5e-9)
    d_max: Float[Array, "..."] = eqx.field(converter=physical("d_max"), default=2e-9)
    rho_0: Float[Array, "..."] = eqx.field(converter=physical("rho_0"), default=2e-6)
    l_free: Float[Array, "..."] = eqx.field(converter=physical("l_free"), default=2.8e-8)
    p: Float[Array, "..."] = eqx.field(converter=physical("p"), default=0.5)
    rho_ox: Float[Array, "..."] = eqx.field(converter=physical("rho_ox"), default=2e4)
    kappa: Float[Array, "..."] = eqx.field(converter=physical("kappa"), default=5.5e-8)
    temperature: Float[Array, "..."] = eqx.field(converter=physical("temperature"), default=300.0)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True
    states: ClassVar[tuple[str, ...]] = ("diameter",)

    def __check_init__(self):
        units = {"diameter": "m", "a": "m/s", "b": "m^4/s", "alpha": "", "e_grow": "eV"}
        for name, unit in (units | {"e_shrink": "eV", "p": "", "kappa": "m/V"}).items():
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)
        units = {"atom": "m", "gap": "m", "length": "m", "d_max": "m", "rho_0": "ohm m"}
        for name, unit in (units | {"l_free": "m", "rho_ox": "ohm m", "temperature": "K"}).items():
            require_positive(getattr(self, name), name, unit)

    def _filament(self, d: PerDevice) -> PerDevice:
        """Conductance times length [S m] of metal of diameter `d` [m]."""
        scattered = self.rho_0 * self.l_free * (1 - self.p) / (1 + self.p)
        return math.pi / 4 * d**3 / scattered

    def _across_gap(self, v: PerDevice) -> tuple[PerDevice, PerDevice]:
        """Voltage [V] across the gap and current [A], of the sign of `v` [V]."""
        r_stub = (self.length - self.gap) / self._filament(self.d_max)
        around = math.pi / 4 * (self.d_max**2 - self.diameter**2)
        g_ox = around / (self.rho_ox * self.gap)
        g = g_ox + self._filament(self.diameter) / self.gap
        bent = g_ox * self.kappa / self.gap  # current of the oxide per squared voltage
        # u + r_stub (g + bent u) u = |v|
        slope = 1 + r_stub * g
        size = jnp.where(v >= 0, v, -v)
        u = 2 * size / (slope + jnp.sqrt(slope**2 + 4 * r_stub * bent * size))
        i = (g + bent * u) * u
        return u, jnp.where(v >= 0, i, -i)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return self._across_gap(v_row - v_col)[1]

    def rate(self, v_row: PerDevice, v_col: PerDevice) -> tuple[PerDevice]:
        u, _ = self._across_gap(v_row - v_col)
        u_t = thermal_voltage(self.temperature)
        grows = self.a * exp((self.alpha * u - self.e_grow) / u_t)
        d = jnp.maximum(self.diameter / self.atom, 1) * self.atom
        return (grows - self.b * jnp.exp(-self.e_shrink / u_t) / d**3,)

    @property
    def bounds(self) -> tuple[tuple[PerDevice, PerDevice]]:
        return ((jnp.zeros_like(self.d_max), self.d_max),)

    def valid(self) -> DeviceMask:
        sound = (self.diameter >= 0) & (self.diameter <= self.d_max) & (self.a >= 0)
        sound &= (self.b >= 0) & (self.alpha >= 0) & (self.e_grow >= 0) & (self.e_shrink >= 0)
        sound &= (self.atom > 0) & (self.gap > 0) & (self.gap <= self.length) & (self.p >= 0)
        sound &= (self.p < 1) & (self.rho_0 > 0) & (self.l_free > 0) & (self.rho_ox > 0)
        return sound & (self.kappa >= 0) & (self.temperature > 0)
