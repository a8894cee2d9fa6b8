import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._types import (
    PerDevice,
    Values,
    as_physical,
    everywhere,
    in_dtype,
    is_concrete,
    physical,
    require_finite,
    require_nonnegative,
    widest,
)
from .perturbation import normals
from .writing import within_one

HALVINGS = 60  # of the window, enough for float64


class AbstractStep(eqx.Module):
    """Mean change of conductance by one pulse, in one direction.

    The argument of `at` is the part of the window that lies behind: 0 at the end where pulses of
    this direction start, 1 at the end where they stop.
    """

    @abc.abstractmethod
    def at(self, done: PerDevice) -> PerDevice:
        """Mean step [S], at least 0, where a part `done` (0 to 1) of the window lies behind."""


class LinearStep(AbstractStep):
    """Step that shrinks linearly with the conductance: `step (1 - slope done)`, not below 0.

    - `slope = 0` is the constant step of Gokmen and Vlasov (Front. Neurosci. 10, 333, 2016,
        10.3389/fnins.2016.00333), which stops abruptly at the end of the window.
    - `slope = 1` is a soft bound (Fusi and Abbott, Nat. Neurosci. 10, 485, 2007, 10.1038/nn1859):
        what is left of the window shrinks by the same factor with each pulse, as `exp(-n/n_0)`
        with `1/n_0 = -ln(1 - step/(g_max - g_min))`.
    - Slopes between are the linear step of IBM's AIHWKit (Rasch et al., IEEE AICAS, 2021,
        10.1109/AICAS51828.2021.9458494), which counts its slope from the weight 0 instead.

    A curve `g_min + b (1 - exp(-n/n_0))` that reaches `g_max` after `n_max` pulses has
    `slope = 1 - exp(-n_max/n_0)` and `step = b (1 - exp(-1/n_0))`.

    **Arguments:** `step`: first step [S]; `slope`: relative decrease of the step over the window
    [1]; each a number or one per device. Raises `ValueError` for a negative `step` and for a
    `slope` above 1.
    """

    step: Float[Array, "..."] = eqx.field(converter=physical("step"))
    slope: Float[Array, "..."] = eqx.field(converter=physical("slope"), default=0.0)

    def __check_init__(self):
        require_nonnegative(self.step, "step", "S", open_allowed=False)
        require_finite(self.slope, "slope", "1")
        if not everywhere(lambda slope: slope <= 1, self.slope):
            raise ValueError(f"slope is {self.slope}; it must not exceed 1, a soft bound.")

    def at(self, done: PerDevice) -> PerDevice:
        return self.step * _not_negative(1 - self.slope * done)


class ExponentialStep(AbstractStep):
    """Step with an exponential part: `step (1 + excess exp(-decay done))`, not below 0.

    - `excess > 0`, `decay > 0`: first pulses do more, as in HfO2 RRAM (Gong et al., Nat. Commun. 9,
        2018, 10.1038/s41467-018-04485-1).
    - `-1 < excess < 0`, `decay < 0`: steps fade towards the end of the window.

    This is the exponential step of IBM's AIHWKit (`ExpStepDevice`) with its redundant `a` and `b`
    eliminated: `excess = -A exp(gamma z)` at the start, `decay = -2 a gamma`, for each direction.

    **Arguments:** `step`: step without the exponential part [S]; `excess`: exponential part at the
    start of the window, as a fraction of `step` [1]; `decay`: exponent over the window [1]; each a
    number or one per device. Raises `ValueError` for a negative `step` and for others that are not
    finite.
    """

    step: Float[Array, "..."] = eqx.field(converter=physical("step"))
    excess: Float[Array, "..."] = eqx.field(converter=physical("excess"))
    decay: Float[Array, "..."] = eqx.field(converter=physical("decay"))

    def __check_init__(self):
        require_nonnegative(self.step, "step", "S", open_allowed=False)
        require_finite(self.excess, "excess", "1")
        require_finite(self.decay, "decay", "1")

    def at(self, done: PerDevice) -> PerDevice:
        return self.step * _not_negative(1 + self.excess * jnp.exp(-self.decay * done))


class PowerStep(AbstractStep):
    """Step that shrinks as a power of what is left of the window: `step (1 - done)^power`.

    `power = 1` is a soft bound, as that of `LinearStep`. Source: Fusi and Abbott, Nat. Neurosci.
    10, 485, 2007, 10.1038/nn1859; for analog RRAM, Frascaroli et al., Sci. Rep. 8, 2018,
    10.1038/s41598-018-25376-x. With a power below 1 a step ends with an infinite slope,
    which counts as 0 in derivatives at the end itself, where devices stay.

    **Arguments:** `step`: first step [S]; `power`: [1], at least 0; each a number or one per
    device. Raises `ValueError` for negative ones.
    """

    step: Float[Array, "..."] = eqx.field(converter=physical("step"))
    power: Float[Array, "..."] = eqx.field(converter=physical("power"), default=1.0)

    def __check_init__(self):
        require_nonnegative(self.step, "step", "S", open_allowed=False)
        require_nonnegative(self.power, "power", "1", open_allowed=False)

    def at(self, done: PerDevice) -> PerDevice:
        left = 1 - done
        finite = (left > 0) | (self.power >= 1)
        share = jnp.where(finite, left, 1) ** self.power
        return self.step * jnp.where(finite, share, jnp.where(self.power > 0, 0, 1))


class PulseResponse(eqx.Module):
    """Response of analog devices to pulses of fixed height, between `g_min` and `g_max`.

    One pulse in direction `d` (1 up, -1 down) does

        g <- g + d strength (s + (cycle s + cycle_floor + cycle_slope (g - g_min)) xi),

    with `s = up.at(x)` or `down.at(1 - x)`,

    `x = (g - g_min)/(g_max - g_min)` and a fresh standard normal `xi` per pulse, and leaves the
    device between `g_min` and `g_max`. Unequal steps up and down make the response asymmetric.
    `pulsed` gives pulses to devices.

    What pulses change is a hidden conductance. A read sees `hidden + write_noise xi'`, not below 0,
    with an `xi'` that is new each time the device is pulsed (write noise).

    Devices differ where the numbers are arrays. The spread from device to device is a perturbation
    of them, drawn once per die:

        spread = Chain(
            At(lambda r: r.strength, Spread(0.3), shape=(rows, cols)),
            At(lambda r: r.g_max, Spread(0.1), shape=(rows, cols)),
        )
        die = spread(response, key)

    `OpenLoopWrite` takes a train of many small linear steps as one, towards a target.

    The forms are those of the pulsed devices of IBM's AIHWKit (Rasch et al., IEEE AICAS, 2021,
    10.1109/AICAS51828.2021.9458494), in siemens and counted from the ends of the window.

    **Arguments:**

    - `up`, `down`: mean steps (`LinearStep`, `ExponentialStep`, `PowerStep`), which may differ.
    - `g_min`, `g_max`: ends of the window [S].
    - `cycle`: deviation of a pulse from its mean step, as a fraction of this step [1].
    - `cycle_floor`: part of the deviation that does not shrink with the step [S].
    - `write_noise`: deviation of the apparent from the hidden conductance [S].
    - `strength`: effect of a pulse as a fraction of the nominal one [1]: 0 for a stuck device, or
        what wires leave of a pulse (`schemes.pulse_strength`).
    - `cycle_slope`: part of the deviation that grows with the conductance, as a fraction of
        `g - g_min` [1].

    A pulse takes a device from beyond an end of its window to this end. A device whose window is
    closed (`g_min` at or above `g_max`) does not move. Raises `ValueError` for a `g_min` that is
    not below `g_max` everywhere, and for negative deviations or strengths.
    """

    up: AbstractStep
    down: AbstractStep
    g_min: Float[Array, "..."] = eqx.field(converter=physical("g_min"))
    g_max: Float[Array, "..."] = eqx.field(converter=physical("g_max"))
    cycle: Float[Array, "..."] = eqx.field(converter=physical("cycle"), default=0.0)
    cycle_floor: Float[Array, "..."] = eqx.field(converter=physical("cycle_floor"), default=0.0)
    write_noise: Float[Array, "..."] = eqx.field(converter=physical("write_noise"), default=0.0)
    strength: Float[Array, "..."] = eqx.field(converter=physical("strength"), default=1.0)
    cycle_slope: Float[Array, "..."] = eqx.field(converter=physical("cycle_slope"), default=0.0)

    def __check_init__(self):
        for name, unit in (
            ("g_min", "S"),
            ("g_max", "S"),
            ("cycle", "1"),
            ("cycle_floor", "S"),
            ("write_noise", "S"),
            ("strength", "1"),
            ("cycle_slope", "1"),
        ):
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)
        if not everywhere(lambda low, high: low < high, self.g_min, self.g_max):
            raise ValueError(f"g_min is {self.g_min} S; it must lie below g_max, {self.g_max} S.")

    def steps(self, g: PerDevice) -> tuple[PerDevice, PerDevice]:
        """Mean steps [S] of one pulse up and one pulse down from conductances `g` [S]; their ratio
        is the asymmetry."""
        self = in_dtype(self, g.dtype)
        done = _done(self, g)
        return self.strength * self.up.at(done), self.strength * self.down.at(1 - done)

    @property
    def symmetry_point(self) -> PerDevice:
        """Conductance [S] at which a pulse up and a pulse down cancel on average.

        Many alternating pulses end there if steps shrink towards their end of the window. It is the
        end of the window that they end at if one direction is stronger everywhere, and the middle
        of the window if both are alike everywhere.
        """
        return _symmetry_point(self)


class Pulsed(eqx.Module):
    """Devices after pulses.

    Time after training acts on `g` as on any conductances: `Drift`, `Relaxation`, and
    `equivalent_time` for retention at another temperature. `count` wears devices by `Endurance`.

    **Attributes:**

    - `g`: apparent conductances [S], which reads see.
    - `hidden`: conductances [S] that pulses change. They differ from `g` by the write noise.
    - `count`: pulses, in both directions, that each device has received.
    """

    g: Float[Array, "..."]
    hidden: Float[Array, "..."]
    count: Int[Array, "..."]


def pulsed(
    response: PulseResponse,
    devices: Pulsed | Values,
    pulses: Values,
    key: PRNGKeyArray | None = None,
    *,
    most: int | None = None,
) -> Pulsed:
    """Devices after trains of pulses, applied one by one.

    Under one key, the first pulses of a longer train are those of a shorter one.

    **Arguments:**

    - `response`: what a pulse does, in numbers for all devices or arrays of the devices' shape.
    - `devices`: conductances [S], of any shape, or the outcome of earlier pulses.
    - `pulses`: whole number of pulses per device, positive up, negative down, of the devices' shape
        or one for all. A device without pulses keeps all its numbers.
    - `key`: randomness of this train, fresh for each. Without a key, pulses are mean pulses without
        write noise.
    - `most`: largest number of pulses per device, if known in advance. The loop then has a fixed
        length, and reverse derivatives (`jax.grad`). Without `most` the loop ends with the longest
        train and has forward derivatives alone (`jax.jvp`, `jax.jacfwd`).

    **Returns:** a `Pulsed`.

    **Errors:** `TypeError` for pulses that are no whole numbers. `ValueError` for shapes that do
    not fit and for more pulses than `most`; traced devices with more pulses than `most` become NaN.
    """
    if not isinstance(devices, Pulsed):
        g = as_physical(devices, "devices")
        g = jnp.asarray(g, g.dtype)  # no weak dtype, which would trace the next train anew
        devices = Pulsed(g, g, jnp.zeros(g.shape, int))
    counts = as_counts(pulses)
    shape = devices.hidden.shape
    if counts.ndim and counts.shape != shape:
        raise ValueError(
            f"pulses has shape {counts.shape}; it must be {shape}, as the devices, or one number."
        )
    for leaf in jax.tree.leaves(response):
        if jnp.ndim(leaf) and jnp.shape(leaf) != shape:
            raise ValueError(
                f"response holds an array of shape {jnp.shape(leaf)}, but the devices have shape"
                f" {shape}: spread it over as many devices."
            )
    counts = jnp.broadcast_to(counts, shape).astype(int)
    if most is not None:
        if not (isinstance(most, int) and most >= 0):
            raise ValueError(f"most is {most}; it must be a whole number, at least 0.")
        if is_concrete(counts) and np.abs(np.asarray(counts)).max(initial=0) > most:
            raise ValueError(
                f"a device receives {np.abs(np.asarray(counts)).max()} pulses, more than most ="
                f" {most}: raise most."
            )
    return _pulsed(response, devices, counts, key, most)


def as_counts(pulses: Values) -> Int[Array, "..."]:
    """`pulses` as an integer array; raises `TypeError` for anything but whole numbers."""
    counts = jnp.asarray(pulses if isinstance(pulses, jax.Array) else np.asarray(pulses))
    if not jnp.issubdtype(counts.dtype, jnp.integer):
        raise TypeError(
            f"pulses is an array of {counts.dtype}; it must hold whole numbers, positive up and"
            " negative down, such as pulses.round().astype(int)."
        )
    return counts


@eqx.filter_jit
def _pulsed(response, devices: Pulsed, pulses, key, most: int | None) -> Pulsed:
    g = devices.hidden
    response = in_dtype(response, g.dtype)
    of_pulses, of_write = (None, None) if key is None else jax.random.split(key)
    count, up = jnp.abs(pulses), pulses > 0

    def pulse(k, g):
        xi = None if of_pulses is None else normals(g, jax.random.fold_in(of_pulses, k))
        return _pulse(response, g, up, jnp.asarray(k, count.dtype) < count, xi)

    hidden = lax.fori_loop(0, jnp.max(count, initial=0) if most is None else most, pulse, g)
    if most is not None:
        hidden = jnp.where(count > most, jnp.nan, hidden)
    seen = hidden
    if of_write is not None:
        seen = _not_negative(hidden + response.write_noise * normals(g, of_write))
    seen = jnp.where((count > 0) & _movable(response), seen, devices.g)
    room = jnp.iinfo(devices.count.dtype).max - devices.count
    return Pulsed(seen, hidden, devices.count + jnp.minimum(count, room))


def _pulse(response, g, up, fires, xi):
    """Conductances [S] after one pulse in the direction `up` where it `fires`."""
    moves = fires & _movable(response)
    done = _done(response, g)
    # a step that is not taken may have no slope, which must not reach the gradient
    rise = response.up.at(jnp.where(moves & up, done, 0.5))
    fall = response.down.at(jnp.where(moves & ~up, 1 - done, 0.5))
    step = jnp.where(up, rise, fall)
    if xi is not None:
        grown = response.cycle_slope * (g - response.g_min)
        step = step + (response.cycle * step + response.cycle_floor + grown) * xi
    step = response.strength * step
    after = g + jnp.where(up, step, -step)
    after = jnp.where(after > response.g_max, response.g_max, after)
    after = jnp.where(after < response.g_min, response.g_min, after)
    return jnp.where(moves, after, g)


@eqx.filter_jit
def _symmetry_point(response: PulseResponse):
    leaves = jax.tree.leaves(response)
    response = in_dtype(response, widest(*leaves))
    fixed = lax.stop_gradient(response)
    shape = jnp.broadcast_shapes(*map(jnp.shape, leaves))
    window = jnp.zeros(shape, response.g_min.dtype), jnp.ones(shape, response.g_min.dtype)
    excess = lambda response, x: response.up.at(x) - response.down.at(1 - x)

    def halve(_, window):
        low, high = window
        middle = (low + high) / 2
        more = excess(fixed, middle)
        return jnp.where(more >= 0, middle, low), jnp.where(more <= 0, middle, high)

    low, high = lax.fori_loop(0, HALVINGS, halve, window)
    x = jnp.where(low == 0, 0, jnp.where(high == 1, 1, (low + high) / 2))
    # derivative of the solution: one step of Newton's method from there, with its slope held
    slope = jax.jvp(lambda x: excess(fixed, x), (x,), (jnp.ones_like(x),))[1]
    inside = (low > 0) & (high < 1) & (slope != 0)
    change = jnp.where(inside, excess(response, x) - excess(fixed, x), 0)
    x = x - change / jnp.where(inside, slope, 1)
    return response.g_min + x * (response.g_max - response.g_min)


def _movable(response: PulseResponse):
    return (response.g_max > response.g_min) & (response.strength > 0)


def _done(response: PulseResponse, g):
    """Part of the window below `g`, from 0 to 1."""
    width = response.g_max - response.g_min
    return within_one((g - response.g_min) / jnp.where(width > 0, width, 1))


def _not_negative(x):
    return jnp.where(x < 0, 0, x)
