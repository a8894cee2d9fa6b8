"""The JART VCM v1b model of memristors that switch by oxygen vacancies."""

import math
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_finite, require_positive
from .cell import AbstractRangedCell
from .constants import BOLTZMANN, CHARGE, thermal_voltage
from .exponential import exp, expm1, sinhc
from .memory import AbstractMemoryCell

PLANCK = 6.62607015e-34  # [J s]
VACUUM = 8.8541878128e-12  # [F/m]
ELECTRON = 9.1093837015e-31  # [kg]
RICHARDSON = 6.01e5  # [A/(m K)^2]
CHARGES = 2  # of a vacancy
NEAREST = 0.999  # share of the barrier of a jump that a field takes away, at most
MAX_STEPS = 100  # of the search for the voltage of the contact
LEAST, FIRST = -80.0, -7.0  # logarithms: its least share of |v|; start, from the linear one


class JartVCM(AbstractMemoryCell, AbstractRangedCell):
    """JART VCM v1b, deterministic: oxygen vacancies in a disc at a Schottky contact.

    The contact, the disc, the plug and the line are in series, at one temperature T:

        v = v_s + i (r_disc + r_plug + r_s + r_0 (1 + alpha r_0 i^2 r_th_line))
        T = t_0 + i (v_s + i (r_disc + r_plug)) r_th,    r_th scaled by `scaling` for v > 0

    A negative voltage brings vacancies into the disc (SET); the contact tunnels. A positive one
    takes them out (RESET); the contact emits over its barrier, which the image force lowers. The
    concentration N of vacancies obeys

        dN/dt = -+ (N_plug + N) a nu / (2 l_disc) exp(-w / k T) 2 sinh(pi gamma q e_a / 2 k T) F
        w = q e_a (sqrt(1 - gamma^2) + gamma asin gamma),    gamma = 2 a E / (pi e_a)
        F = 1 - (N / n_max)^10 (SET),  1 - (n_min / N)^10 (RESET)

    in the field E of the disc (SET), or of contact, disc and plug (RESET). The state is the
    logarithm of N: N spans three decades, and the conductance follows its relative changes.

    For v > 0 several voltages of the contact may obey these equations, since its barrier rises
    steeply where its lowering ends. The least one is taken, which follows from that at 0 V without
    a jump.

    Source: C. Bengel et al., IEEE Trans. Circuits Syst. I 67, 4618 (2020),
    doi:10.1109/TCSI.2020.3018502, with the numbers of the deterministic model of its authors.

    **Arguments:** scalars or `(rows, cols)`.

    - `log_n`: the state, natural logarithm of N [1/m^3], between those of `n_min` and `n_max`.
    - `n_min`, `n_max`, `n_plug`: concentrations [1/m^3], least and most in the disc, and in the
        plug.
    - `radius`: of the filament [m]; `l_cell`: length of disc and plug [m]; `l_disc`: of the disc.
    - `phi`: barrier of the contact [V]; `phi_n`: from Fermi level to conduction band [V]; `eps`,
        `eps_phi`: relative permittivities of the oxide, at rest and for the image force [1].
    - `mobility`: of electrons [m^2/Vs]; `r_s`: resistance of the TiOx [ohm]; `r_0`: of the line
        [ohm], with `alpha` [1/K] and `r_th_line` [K/W].
    - `a`: length of a jump [m]; `nu`: attempts [1/s]; `e_a`: barrier of a jump [eV].
    - `r_th`: thermal resistance in a SET [K/W]; `scaling`: its share in a RESET [1]; `t_0`:
        temperature around the device [K].

    A field beyond 0.999 of the barrier (gamma) is flagged as out of range. Raises `ValueError` for
    a parameter that is not positive, and for a state that is not finite.
    """

    log_n: Float[Array, "..."] = eqx.field(converter=physical("log_n"))
    n_min: Float[Array, "..."] = eqx.field(converter=physical("n_min"), default=8e23)
    n_max: Float[Array, "..."] = eqx.field(converter=physical("n_max"), default=2e27)
    n_plug: Float[Array, "..."] = eqx.field(converter=physical("n_plug"), default=2e27)
    radius: Float[Array, "..."] = eqx.field(converter=physical("radius"), default=4.5e-8)
    l_cell: Float[Array, "..."] = eqx.field(converter=physical("l_cell"), default=3e-9)
    l_disc: Float[Array, "..."] = eqx.field(converter=physical("l_disc"), default=4e-10)
    phi: Float[Array, "..."] = eqx.field(converter=physical("phi"), default=0.18)
    phi_n: Float[Array, "..."] = eqx.field(converter=physical("phi_n"), default=0.1)
    eps: Float[Array, "..."] = eqx.field(converter=physical("eps"), default=17.0)
    eps_phi: Float[Array, "..."] = eqx.field(converter=physical("eps_phi"), default=5.5)
    mobility: Float[Array, "..."] = eqx.field(converter=physical("mobility"), default=4e-6)
    r_s: Float[Array, "..."] = eqx.field(converter=physical("r_s"), default=650.0)
    r_0: Float[Array, "..."] = eqx.field(converter=physical("r_0"), default=719.2437)
    alpha: Float[Array, "..."] = eqx.field(converter=physical("alpha"), default=3.92e-3)
    r_th_line: Float[Array, "..."] = eqx.field(converter=physical("r_th_line"), default=90471.47)
    a: Float[Array, "..."] = eqx.field(converter=physical("a"), default=2.5e-10)
    nu: Float[Array, "..."] = eqx.field(converter=physical("nu"), default=2e13)
    e_a: Float[Array, "..."] = eqx.field(converter=physical("e_a"), default=1.35)
    r_th: Float[Array, "..."] = eqx.field(converter=physical("r_th"), default=1.572e7)
    scaling: Float[Array, "..."] = eqx.field(converter=physical("scaling"), default=0.27)
    t_0: Float[Array, "..."] = eqx.field(converter=physical("t_0"), default=293.0)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True
    states: ClassVar[tuple[str, ...]] = ("log_n",)

    def __check_init__(self):
        require_finite(self.log_n, "log_n", "")
        for name, unit in _UNITS.items():
            require_positive(getattr(self, name), name, unit)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return (v_row - v_col) * _inside(self, v_row - v_col).g

    def filament_temperature(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        """Temperature [K] of the filament at terminal voltages [V]."""
        return _inside(self, v_row - v_col).temperature

    def rate(self, v_row: PerDevice, v_col: PerDevice) -> tuple[PerDevice]:
        v = v_row - v_col
        u_t = thermal_voltage(_inside(self, v).temperature)
        gamma = jnp.minimum(self._lowering(v), NEAREST)
        bent = jnp.sqrt(1 - gamma**2) + gamma * jnp.arcsin(gamma)
        x = math.pi / 2 * gamma * self.e_a / u_t
        # exp(-w) 2 sinh(x), where both may be large
        jumps = exp(x - self.e_a * bent / u_t) * -expm1(-2 * x)
        share = jnp.where(v < 0, self.log_n - jnp.log(self.n_max), jnp.log(self.n_min) - self.log_n)
        left = -jnp.expm1(10 * share)
        plug = 1 + jnp.exp(jnp.log(self.n_plug) - self.log_n)
        size = plug * self.a * self.nu / (2 * self.l_disc) * jumps * left
        return (jnp.where(v < 0, size, -size),)

    @property
    def bounds(self) -> tuple[tuple[PerDevice, PerDevice]]:
        return ((jnp.log(self.n_min), jnp.log(self.n_max)),)

    def valid(self) -> DeviceMask:
        low, high = self.bounds[0]
        sound = (self.log_n >= low) & (self.log_n <= high) & (self.l_disc <= self.l_cell)
        for name in _UNITS:
            sound &= getattr(self, name) > 0
        return sound

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return self._lowering(v_row - v_col) < NEAREST

    def _lowering(self, v: PerDevice) -> PerDevice:
        """`gamma`, the share of the barrier of a jump that the field takes away."""
        inside = _inside(self, v)
        i = jnp.abs(v) * inside.g
        r_disc, r_plug = _filament(self)
        reset = (inside.v_contact + i * (r_disc + r_plug)) / self.l_cell
        field = jnp.where(v < 0, i * r_disc / self.l_disc, reset)
        return CHARGES * self.a * field / (math.pi * self.e_a)


_UNITS = {"n_min": "1/m^3", "n_max": "1/m^3", "n_plug": "1/m^3", "radius": "m", "l_cell": "m"}
_UNITS |= {"l_disc": "m", "phi": "V", "phi_n": "V", "eps": "", "eps_phi": "", "mobility": "m^2/Vs"}
_UNITS |= {"r_s": "ohm", "r_0": "ohm", "alpha": "1/K", "r_th_line": "K/W", "a": "m", "nu": "1/s"}
_UNITS |= {"e_a": "eV", "r_th": "K/W", "scaling": "", "t_0": "K"}


class _Inside(NamedTuple):
    """Inner quantities of a device at a voltage."""

    g: PerDevice  # [S], current per voltage
    v_contact: PerDevice  # [V], size
    temperature: PerDevice  # [K]
    contact: PerDevice  # [S], current of the contact per voltage of the device


def _inside(cell: JartVCM, v: PerDevice) -> _Inside:
    return _inside_at(_share_of_contact(cell, v), cell, v)


def _filament(cell: JartVCM) -> tuple[PerDevice, PerDevice]:
    """Resistances [ohm] of disc and plug."""
    carried = CHARGES * CHARGE * jnp.exp(cell.log_n), CHARGES * CHARGE * cell.n_plug  # [C/m^3]
    area = math.pi * cell.radius**2
    r = lambda length, charge: length / charge / (cell.mobility * area)
    return r(cell.l_disc, carried[0]), r(cell.l_cell - cell.l_disc, carried[1])


def _inside_at(y: PerDevice, cell: JartVCM, v: PerDevice) -> _Inside:
    """Inner quantities with the share `exp(y)` of the voltage at the contact. Kirchhoff's law holds
    where the currents through the contact and through the rest agree."""
    u = jnp.where(v >= 0, v, -v)
    rest = -jnp.expm1(y)  # share of the voltage
    r_disc, r_plug = _filament(cell)
    r = r_disc + r_plug + cell.r_s + cell.r_0
    hot = cell.alpha * cell.r_th_line * cell.r_0**2
    # i r + hot i^3 = rest u: the real root, as its part of rest u / r
    square = 6.75 * hot / r * (rest * u / r) ** 2
    g = rest / r * _cubic(square)
    v_contact = jnp.exp(y) * u
    power = u * g * (v_contact + u * g * (r_disc + r_plug))
    temperature = cell.t_0 + power * cell.r_th * jnp.where(v < 0, 1, cell.scaling)
    contact = jnp.exp(y) * _of_contact(cell, v_contact, v < 0, temperature)
    return _Inside(g, v_contact, temperature, contact)


def _cubic(square: PerDevice) -> PerDevice:
    """`3 sinh(asinh(q) / 3) / q` of `q^2`, 1 at 0."""
    small = square < 1e-4
    q = jnp.sqrt(jnp.where(small, 1, square))
    series = 1 - square * (4 / 27) * (1 - square * (4 / 9))
    return jnp.where(small, series, 3 * jnp.sinh(jnp.arcsinh(q) / 3) / q)


def _of_contact(cell: JartVCM, v: PerDevice, to_set: DeviceMask, temperature: PerDevice):
    """Conductance [S], current per voltage, of the contact at a voltage of size `v` [V]."""
    u_t = thermal_voltage(temperature)
    area = RICHARDSON * math.pi * cell.radius**2
    # image-force lowering
    above = cell.phi - cell.phi_n - jnp.where(to_set, -v, v)
    vacuum = CHARGE / (VACUUM * cell.eps_phi)
    n = jnp.exp(cell.log_n)
    fourth = jnp.where(above > 0, above, 1) * CHARGES / (8 * math.pi**2) * (n * vacuum) * vacuum**2
    phi = jnp.maximum(cell.phi - jnp.where(above > 0, jnp.sqrt(jnp.sqrt(fourth)), 0), 0)
    emitted = area * temperature**2 * jnp.exp(-phi / u_t) * _expc(v / u_t) / u_t
    # thermionic field emission; energies by q in volts
    of_one = PLANCK / (4 * math.pi) / math.sqrt(ELECTRON * VACUUM)
    w_00 = of_one * jnp.sqrt(CHARGES * n / cell.eps)
    x = w_00 / u_t
    tail = jnp.tanh(x)
    per_volt = (1 - tail / x) / u_t
    size = jnp.where(to_set, v, 1)  # without a barrier the root has no slope at 0 V
    height = jnp.sqrt(math.pi * w_00 * (size + phi * (1 - tail**2)))
    scale = area * temperature * (CHARGE / BOLTZMANN) * height * jnp.exp(-phi * tail / w_00)
    tunnelled = scale * per_volt * _expc(v * per_volt)
    return jnp.where(to_set, tunnelled, emitted)


def _expc(x: PerDevice) -> PerDevice:
    """`(exp(x) - 1) / x`, 1 at 0."""
    half = x / 2
    return exp(half) * sinhc(half)


def _law(y: PerDevice, cell: JartVCM, v: PerDevice) -> PerDevice:
    """Logarithm of the current through the contact per that through the rest."""
    inside = _inside_at(y, cell, v)
    return jnp.log(inside.contact) - jnp.log(inside.g)


@eqx.filter_custom_jvp
def _share_of_contact(cell: JartVCM, v: PerDevice) -> PerDevice:
    """Logarithm of the contact's share of the voltage: the least one that obeys the law. A search
    upwards, at most twice as far at a time, then Newton's method inside a bracket."""
    shape = jnp.broadcast_shapes(cell.shape, v.shape)
    v = jnp.broadcast_to(v, shape)
    tol = 1e-14 if v.dtype == jnp.float64 else 1e-6
    ones = jnp.ones_like(v)

    def step(carry):
        y, below, above, last, k = carry
        off, slope = jax.jvp(lambda y: _law(y, cell, v), (y,), (ones,))
        off = jnp.where(jnp.isnan(off), jnp.inf, off)  # without current through the rest
        below, above = jnp.where(off <= 0, y, below), jnp.where(off >= 0, y, above)
        found = above <= 0
        newton = jnp.where((slope > 0) & jnp.isfinite(off), -off / slope, jnp.inf)
        new = y + newton
        good = (new >= below) & (new <= above) & (jnp.abs(newton) <= 0.5 * last)
        upwards = jnp.minimum(y + jnp.clip(newton, 0.05, math.log(2)), 0)
        inside = jnp.where(good, new, (below + above) / 2)
        new = jnp.where(found, inside, upwards)
        done = found & (last <= tol)
        moved = jnp.where(found, jnp.abs(new - y), jnp.inf)
        return jnp.where(done, y, new), below, above, jnp.where(done, last, moved), k + 1

    def unfinished(carry):
        *_, last, k = carry
        return jnp.any(last > tol) & (k < MAX_STEPS)

    # the share of a linear contact among linear resistors is close to, or above, the one sought
    at = _inside_at(jnp.full_like(v, LEAST), cell, 0 * v + jnp.where(v < 0, -1e-6, 1e-6))
    linear = LEAST + jnp.log(at.g) - jnp.log(at.contact)
    start = jnp.clip(linear + FIRST, LEAST, -1.0)
    low, high = jnp.full_like(v, LEAST), jnp.full_like(v, 1.0)
    return lax.while_loop(unfinished, step, (start, low, high, jnp.full_like(v, jnp.inf), 0))[0]


@_share_of_contact.def_jvp
def _(primals, tangents):
    cell, v = primals
    y = _share_of_contact(cell, v)
    _, moved = eqx.filter_jvp(lambda cell, v: _law(y, cell, v), primals, tangents)
    _, slope = jax.jvp(lambda y: _law(y, cell, v), (y,), (jnp.ones_like(y),))
    return y, -moved / slope
