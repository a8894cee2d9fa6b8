"""The measured cells as one array with unknown numbers, and its twins.

The array has one row, driven at the read voltage, and a column for each cell, whose end is an
ammeter behind the shunt. Wires are ideal. All models are nested in the last two:

    I = (g / b) sinh(b v_film),    v = v_film + I (r_s + 560 ohm),    shown = I + offset.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb

from ..device_fit.data import Curves
from ..device_fit.models import R_SHUNT

B_STD = 1.0  # [1/V] known before of each b: device_fit, spread of cells fitted alone (middle third)
OFFSET_STD = 3e-7  # [A] known before of each offset: device_fit, spread of the read at 0 V
OFFSET_LOW = -1e-5  # [A] else an offset that starts above 0 stays there
G_LEAST, G_S_START = 1e-6, 2.5e-4  # [S] of first guesses

Numbers = dict[str, list[float]]  # values with deviations, by name


class Model(NamedTuple):
    """A cell of conductance `g` [S] with first guesses of its other numbers, and what is free."""

    name: str
    cell: Callable[[Any], xb.AbstractCell]
    g: Callable[[Any], Any]  # of a cell
    b: Callable[[Any], Any] | None = None
    g_s: Callable[[Any], Any] | None = None
    each: str = ""  # "b" or "offset", if each cell has its own


_series = lambda g: xb.Series(xb.Sinh(g, 1.0), xb.Ohmic(G_S_START))
_parts = (lambda c: c.first.g), (lambda c: c.first.b), (lambda c: c.second.g)
OHMIC_SERIES = Model(
    "Ohmic + r_s",
    lambda g: xb.Series(xb.Ohmic(g), xb.Ohmic(G_S_START)),
    lambda c: c.first.g,
    g_s=lambda c: c.second.g,
)
SHARED = (
    Model("Ohmic", xb.Ohmic, lambda c: c.g),
    Model("Sinh", lambda g: xb.Sinh(g, 1.0), lambda c: c.g, lambda c: c.b),
    Model("Sinh + r_s", _series, *_parts),
)
OWN = (
    Model("Sinh + r_s, offset of each", _series, *_parts, each="offset"),
    Model("Sinh + r_s, b of each", _series, *_parts, each="b"),
)


def first_guess(model: Model, c: Curves, offset: float = 0.0) -> xb.Crossbar:
    """The array before identification. Conductances are those of the highest voltage."""
    g = np.maximum((c.i[:, -1] - c.i[:, 0].mean()) / c.v[-1], G_LEAST)[None]
    return xb.Crossbar(
        model.cell(g), xb.Wires(0.0, 0.0), xb.Drive(0.0), xb.Ammeter(R_SHUNT, offset=offset)
    )


def reads(c: Curves, sigma: np.ndarray, used: Any = True) -> xb.Measured:
    """All curves as reads of one array; `used` picks the voltages, others are NaN."""
    shown = np.where(np.broadcast_to(used, c.v.shape)[:, None], c.i.T, np.nan)
    return xb.Measured(c.v[:, None], {"output": shown}, sigma[:, None])


def unknowns(model: Model) -> list[xb.Unknown]:
    """Conductances of the cells, the numbers that they share, and the offset."""
    of_cell = lambda pick: lambda c: pick(c.cell)
    free = [xb.Unknown(of_cell(model.g))]
    if model.b is not None:
        of = of_cell(model.b)
        free.append(xb.Unknown(of, sigma=B_STD) if model.each == "b" else xb.Unknown(of, "array"))
    if model.g_s is not None:
        free.append(xb.Unknown(of_cell(model.g_s), "array"))
    offset = lambda c: c.readout.offset
    if model.each == "offset":
        return [*free, xb.Unknown(offset, sigma=OFFSET_STD, low=OFFSET_LOW)]
    return [*free, xb.Unknown(offset, "array")]


def identified(model: Model, c: Curves, measured: xb.Measured, b: float, **options: Any) -> xb.Twin:
    """The twin of training cells: all numbers in one identification, `b` beginning as given.

    What each cell has of its own is known before to be around a mean: its offset around the mean of
    the reads at 0 V, its `b` around the given one."""
    offset = c.i[:, 0].mean() if model.each == "offset" else 0.0
    guess = first_guess(model, c, offset)
    if model.b is not None:
        guess = _with(guess, model.b, b)
    return xb.identify(measured, guess, unknowns(model), **options)


def of_others(model: Model, c: Curves, measured: xb.Measured, found: Numbers) -> xb.Twin:
    """The twin of held-out cells, of which only what each has of its own is free. Shared numbers
    are those found on training cells; so are the means of what is each cell's own."""
    guess = first_guess(model, c, found["offset_A"][0])
    if model.b is not None:
        guess = _with(guess, model.b, found["b_per_V"][0])
    if model.g_s is not None:
        guess = _with(guess, model.g_s, 1 / found["r_s_ohm"][0])
    free = unknowns(model)
    return xb.identify(measured, guess, [free[0]] + [f for f in free[1:] if f.sigma is not None])


def _with(crossbar: xb.Crossbar, pick: Callable[[Any], Any], value: float) -> Any:
    place = lambda c: pick(c.cell)
    return eqx.tree_at(place, crossbar, jnp.full_like(place(crossbar), value))


class Shown(NamedTuple):
    """Currents [A] that the ammeters of an array show at row voltages, `(voltages, cells)`."""

    v: tuple[float, ...]

    def __call__(self, crossbar: xb.Crossbar) -> Any:
        v = jnp.asarray(self.v)[:, None]
        return jax.vmap(lambda v: xb.read(crossbar, v).output)(v)


class Shared(NamedTuple):
    """The numbers that cells share, or their means over cells."""

    model: Model

    def __call__(self, crossbar: Any) -> dict[str, Any]:
        found = {"offset_A": jnp.mean(crossbar.readout.offset)}
        if self.model.b is not None:
            found["b_per_V"] = jnp.mean(self.model.b(crossbar.cell))
        if self.model.g_s is not None:
            found["r_s_ohm"] = 1 / jnp.mean(self.model.g_s(crossbar.cell))
        return found


def numbers(model: Model, twin: xb.Twin) -> Numbers:
    """The numbers that cells share, or their means over cells, with deviations."""
    of = Shared(model)
    std = twin.std_of(of)
    return {name: [float(x), float(std[name])] for name, x in of(twin.crossbar).items()}
