"""Training in the array: desired changes of conductances become pulses, and devices move as they
do.

A chip learns in two steps. It finds a desired change of every conductance, and gives pulses for it.

- The desired change is a learning rate times the negative gradient of a loss. `jax.grad` of a model
    has the exact gradient, through wires. A chip knows only the inputs of a product and the errors
    at its outputs, and changes conductances by their outer product. `local(model)` has this
    gradient: `jax.grad` of both models, side by side, shows what the chip misses.
- `parallel` gives pulses to all rows and columns at once, for the outer product of two vectors.
    `row_by_row` gives each row the pulses of any matrix, in an open loop. `accumulated` adds up
    desired changes digitally, and gives pulses where the sum exceeds a threshold.

The number of pulses follows from one nominal step for all devices. No device is read.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._types import (
    PerDevice,
    Scalar,
    Values,
    as_physical,
    described,
    everywhere,
    in_dtype,
    physical,
    require_nonnegative,
    require_positive,
)
from ..variability import Pulsed, PulseResponse, pulsed
from .local import cosine as cosine, holding as holding, local as local
from .trains import (
    AbstractTrains as AbstractTrains,
    Deterministic as Deterministic,
    Stochastic as Stochastic,
)

Rounding: TypeAlias = Callable[[PerDevice, PRNGKeyArray], PerDevice]


class AbstractPulseEnergy(eqx.Module):
    """Energy of the pulses of an update."""

    @abc.abstractmethod
    def of(
        self, g: PerDevice, full: Int[Array, "..."], half: Int[Array, "..."]
    ) -> Float[Array, "..."]:
        """Energy [J] of `full` pulses and `half` half-selected ones, in devices of a mean
        conductance `g` [S]."""


class ThroughDevice(AbstractPulseEnergy):
    """Pulses through the devices: `v^2 g width` [J] for each, and a quarter of it for a pulse on
    the row or the column alone, at half the voltage. `g` is the mean of the conductances before and
    after the update; currents of selectors, drivers and wires are not counted.

    **Arguments:** `v`: height [V] of pulses up and down; `width`: [s].
    """

    v: Scalar = eqx.field(converter=physical("v", whole=True))
    width: Scalar = eqx.field(converter=physical("width"))

    def __check_init__(self):
        require_positive(self.v, "v", "V")
        require_positive(self.width, "width", "s")

    def of(self, g, full, half):
        self = in_dtype(self, g.dtype)
        return self.v**2 * self.width * g * (full.astype(g.dtype) + half.astype(g.dtype) / 4)


class PerPulse(AbstractPulseEnergy):
    """The same energy for each pulse, as for a pulse on the gate of an ECRAM device. Half-selected
    pulses count nothing.

    **Arguments:** `energy`: [J].
    """

    energy: Scalar = eqx.field(converter=physical("energy"))

    def __check_init__(self):
        require_nonnegative(self.energy, "energy", "J", open_allowed=False)

    def of(self, g, full, half):
        return in_dtype(self, g.dtype).energy * full.astype(g.dtype)


class Update(eqx.Module):
    """Devices after an update, and what it took.

    **Attributes:** arrays have the shape of the devices.

    - `devices`: a `Pulsed`, the state for the next update.
    - `up`, `down`: pulses given, also to devices that do not respond.
    - `half`: pulses of the row or the column alone.
    - `energy`: [J], 0 if no `energy` was given.
    - `slots`: time of the update, in pulses, per array.
    - `rest`: desired change [S] that `accumulated` keeps for later updates, else 0.
    """

    devices: Pulsed
    up: Int[Array, "..."]
    down: Int[Array, "..."]
    half: Int[Array, "..."]
    energy: Float[Array, "..."]
    slots: Int[Array, "..."]
    rest: Float[Array, "..."]


def parallel(
    response: PulseResponse,
    devices: Pulsed,
    x: Values,
    delta: Values,
    step: Any,
    key: PRNGKeyArray,
    *,
    trains: AbstractTrains | None = None,
    energy: AbstractPulseEnergy | None = None,
) -> Update:
    """Devices of one array after pulses on all rows and columns at once, for the desired change
    `x delta^T` [S].

    A device moves where a pulse of its row meets one of its column. Pulses that meet none leave
    half the voltage on the other devices of the line, which this counts (`half`) and which moves
    no device. Every line fires its train once per update; a driver that gives the two signs one
    after the other fires some of them twice.

    **Arguments:**

    - `response`: what a pulse does, in numbers for all devices or arrays `(rows, cols)`.
    - `devices`: a `Pulsed` of shape `(rows, cols)`.
    - `x`, `delta`: factors of the desired change, `(rows,)` and `(cols,)`, of units whose product
        is [S], such as a rate times inputs, and errors with the sign of the desired change.
    - `step`: nominal step [S] of one pulse, one number for all devices.
    - `key`: of trains and devices.
    - `trains`: `Stochastic(length)` (default) or `Deterministic(length)`.
    - `energy`: of a pulse, `ThroughDevice` or `PerPulse`.

    **Errors:** `ValueError` for shapes that do not fit and a step that is not positive.
    """
    x, delta = as_physical(x, "x", whole=True), as_physical(delta, "delta", whole=True)
    shape = _shape(devices)
    if len(shape) != 2:
        raise ValueError(
            f"devices have the shape {shape}; parallel updates one array, (rows, cols): use"
            " eqx.filter_vmap for more."
        )
    for name, values, size in (("x", x, shape[0]), ("delta", delta, shape[1])):
        if values.shape != (size,):
            raise ValueError(
                f"{name} has shape {values.shape}, but the devices are {shape}: it must be"
                f" ({size},)."
            )
    step = _step(step, devices)
    x, delta = x.astype(step.dtype), delta.astype(step.dtype)
    return _parallel(response, devices, x, delta, step, key, trains or Stochastic(), energy)


@eqx.filter_jit
def _parallel(response, devices, x, delta, step, key, trains, energy) -> Update:
    of_trains, of_devices = jax.random.split(key)
    both, rows, cols, slots = trains.counts(jnp.abs(x) / step, jnp.abs(delta), of_trains)
    sign = (jnp.sign(x)[:, None] * jnp.sign(delta)[None]).astype(int)
    half = rows[:, None] + cols[None] - 2 * both
    return _given(response, devices, sign * both, of_devices, half, slots, energy)


def nearest(pulses: PerDevice, key: PRNGKeyArray) -> PerDevice:
    """The nearest whole numbers. Changes of less than half a step are lost."""
    return jnp.round(pulses)


def dithered(pulses: PerDevice, key: PRNGKeyArray) -> PerDevice:
    """Whole numbers next to `pulses`, at random, such that their mean is `pulses`."""
    return jnp.floor(pulses + jax.random.uniform(key, pulses.shape, pulses.dtype))


def row_by_row(
    response: PulseResponse,
    devices: Pulsed,
    change: PerDevice,
    step: Any,
    key: PRNGKeyArray,
    *,
    rounding: Rounding = nearest,
    energy: AbstractPulseEnergy | None = None,
) -> Update:
    """Devices after pulses for any desired change, in an open loop: `change / step` pulses each,
    rounded. Rows are written one after the other through their selectors, all columns at once, so
    that no device is half-selected.

    **Arguments:** as those of `parallel`, and

    - `devices`: of any shape `(..., rows, cols)`; arrays are written at the same time.
    - `change`: desired change [S], of the shape of the devices.
    - `rounding`: `nearest` or `dithered`.

    **Errors:** `ValueError` for shapes that do not fit and a step that is not positive.
    """
    step, change = _step(step, devices), _change(change, devices)
    return _row_by_row(response, devices, change.astype(step.dtype), step, key, rounding, energy)


@eqx.filter_jit
def _row_by_row(response, devices, change, step, key, rounding, energy) -> Update:
    of_rounding, of_devices = jax.random.split(key)
    pulses = rounding(change / step, of_rounding).astype(int)
    return _by_rows(response, devices, pulses, of_devices, energy)


def accumulated(
    response: PulseResponse,
    devices: Pulsed,
    change: PerDevice,
    rest: PerDevice,
    step: Any,
    key: PRNGKeyArray,
    *,
    threshold: Any = None,
    energy: AbstractPulseEnergy | None = None,
) -> Update:
    """Devices after a mixed-precision update: desired changes are added to a digital sum per
    device. Where the sum reaches the threshold, the device gets its whole number of steps, and the
    sum keeps the rest. The chip writes as in `row_by_row`, without a read.

    Source: S. R. Nandakumar et al., Front. Neurosci. 14, 406, 2020, doi:10.3389/fnins.2020.00406,
    with PCM; Y. Wu et al., Adv. Mater. 35, 2305465, 2023, doi:10.1002/adma.202305465, with
    bulk-switching RRAM.

    **Arguments:** as those of `row_by_row`, and

    - `rest`: sums [S] kept from the update before, zeros at the beginning.
    - `threshold`: smallest sum [S] that gives pulses; by default one step.

    **Returns:** an `Update` with the new `rest`: `rest + change = pulses step + new rest`.

    **Errors:** `ValueError` for shapes that do not fit, a step that is not positive, and a
    threshold below the step.
    """
    step, change = _step(step, devices), _change(change, devices)
    rest = _change(rest, devices, "rest").astype(step.dtype)
    threshold = step if threshold is None else as_physical(threshold, "threshold")
    threshold = threshold.astype(step.dtype)
    if not everywhere(lambda threshold, step: threshold >= step, threshold, step):
        raise ValueError(
            f"threshold is {threshold} S, below the step of {step} S: a sum must reach one step"
            " before it gives a pulse."
        )
    change = change.astype(step.dtype)
    return _accumulated(response, devices, change, rest, step, key, threshold, energy)


@eqx.filter_jit
def _accumulated(response, devices, change, rest, step, key, threshold, energy) -> Update:
    total = rest + change
    pulses = jnp.where(jnp.abs(total) >= threshold, jnp.trunc(total / step), 0)
    made = _by_rows(response, devices, pulses.astype(int), key, energy)
    return dataclasses.replace(made, rest=total - pulses * step)


def _by_rows(response, devices, pulses, key, energy) -> Update:
    """Pulses row after row: a row takes as long as its longest train up and its longest down."""
    up, down = jnp.maximum(pulses, 0), jnp.maximum(-pulses, 0)
    slots = jnp.sum(jnp.max(up, -1) + jnp.max(down, -1), -1)
    return _given(response, devices, pulses, key, jnp.zeros_like(pulses), slots, energy)


def _given(response, devices, pulses, key, half, slots, energy) -> Update:
    after = pulsed(response, devices, pulses, key)
    g = (devices.hidden + after.hidden) / 2
    spent = jnp.zeros_like(g) if energy is None else energy.of(g, jnp.abs(pulses), half)
    up, down = jnp.maximum(pulses, 0), jnp.maximum(-pulses, 0)
    return Update(after, up, down, half, spent, slots, jnp.zeros_like(g))


def _shape(devices: Any) -> tuple[int, ...]:
    if not isinstance(devices, Pulsed):
        raise TypeError(
            f"devices is {described(devices)}; pass a Pulsed, such as"
            " variability.pulsed(response, g, 0) before the first update."
        )
    return devices.hidden.shape


def _step(step: Any, devices: Any) -> Scalar:
    _shape(devices)
    step = as_physical(step, "step")
    require_positive(step, "step", "S")
    if step.ndim:
        raise ValueError(f"step has shape {step.shape}; give one nominal step [S] for all devices.")
    return step.astype(devices.hidden.dtype)


def _change(change: Any, devices: Any, name: str = "change") -> PerDevice:
    change, shape = as_physical(change, name), _shape(devices)
    if change.shape != shape:
        raise ValueError(f"{name} has shape {change.shape}; it must be that of devices, {shape}.")
    return change
