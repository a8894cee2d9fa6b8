"""Devices with memory by name, and the table of pulses, for `xbarjax program`."""

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..cells import VTEAM, AbstractMemoryCell, bounds_of, with_states
from .inputs import Inputs

UNITS = {"step": "1", "row": "1", "col": "1"}
UNITS |= {"v": "V", "v_gate": "V", "width": "s", "edge": "s"}


class DeviceChoice(enum.StrEnum):
    vteam = "vteam"


class Device(NamedTuple):
    """A class of devices with one state, and parameters of it."""

    kind: type[Any]
    defaults: dict[str, float]


# Classes by their names on the command line.
DEVICES: dict[DeviceChoice, Device] = {
    DeviceChoice.vteam: Device(
        VTEAM,
        {
            **{"r_on": 5e3, "r_off": 2e5, "w_on": 0.0, "w_off": 3e-9},
            **{"k_on": -3e-3, "k_off": 3e-3, "v_on": -0.4, "v_off": 0.4},
            **{"alpha_on": 3.0, "alpha_off": 3.0},
        },
    ),
}


def said_defaults() -> str:
    """The devices and the default values of their parameters."""
    said = lambda device: ", ".join(f"{name} {x:g}" for name, x in device.defaults.items())
    return "; ".join(f"{choice} ({said(device)})" for choice, device in DEVICES.items())


def device(
    choice: DeviceChoice, given: Sequence[str], inputs: Inputs, start: str, shape: tuple[int, int]
) -> AbstractMemoryCell:
    """The devices before programming: `given` are parameters as NAME=NUMBER, and `start` is the
    share of the state's range, from 0 at the lowest conductance to 1 at the highest."""
    chosen = DEVICES[choice]
    values = inputs.parameters(given, chosen.defaults, str(choice))
    share = inputs.value("--start", start)
    if share.shape not in ((), shape):
        raise ValueError(
            f"--start has shape {share.shape}, but the array is {shape}: give a number, or one per"
            " cell."
        )
    outside = ~((share >= 0) & (share <= 1))
    if outside.any():
        raise ValueError(
            f"--start is {float(share[outside][0])}; a share of the range is from 0 to 1."
        )
    (name,) = chosen.kind.states
    cell = chosen.kind(**{name: jnp.zeros(shape)}, **values)
    low, high = ends(cell)
    cell = chosen.kind(**{name: low + share * (high - low)}, **values)
    if not cell.valid().all():
        said = ", ".join(f"{key} {x:g}" for key, x in values.items())
        raise ValueError(
            f"--parameter: no {choice} has {said}: see the limits of"
            f" xbarjax.{chosen.kind.__name__}."
        )
    return cell


def ends(cell: AbstractMemoryCell) -> tuple[jax.Array, jax.Array]:
    """The states of lowest and highest conductance of devices with one state."""
    first, second = bounds_of(cell)
    v = jnp.full(cell.shape, 0.1)
    g = lambda states: with_states(cell, states).current(v, 0 * v)
    rises = g(first) <= g(second)
    return jnp.where(rises, first[0], second[0]), jnp.where(rises, second[0], first[0])


def share_of(cell: AbstractMemoryCell) -> np.ndarray:
    """States as shares of their range, as `device` takes them."""
    low, high = ends(cell)
    return np.asarray((getattr(cell, cell.states[0]) - low) / (high - low))


def pulses_text(table: np.ndarray) -> str:
    """The table of pulses as comma-separated text, with names and units in its first line. Without
    gates there is no column for them."""
    gates = np.isfinite(table["v_gate"]).any()
    names = [name for name in table.dtype.names or () if gates or name != "v_gate"]
    lines = [",".join(f"{name} [{UNITS[name]}]" for name in names)]
    lines += [",".join(str(pulse[name].item()) for name in names) for pulse in table]
    return "\n".join(lines) + "\n"
