"""What a crossbar would show in given reads, which are a `Measured` of the next module."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from .._types import is_concrete
from ..analyses.read import read
from ..crossbar import Crossbar
from ..kirchhoff.circuit import in_one_dtype, sensed as input_voltage
from ..kirchhoff.solution import one_or_nan
from ..solvers import Solver, linear_of
from .terminal_admittance import ENDS, NONE, Few, admittance

# What can be sensed, by its name in a `Solution`, and its unit.
UNITS = {
    "i_in": "A",
    "i_in_near": "A",
    "i_in_far": "A",
    "i_out": "A",
    "i_out_near": "A",
    "i_out_far": "A",
    "v_sense": "V",
    "output": "V or A",
}

# The resistance at each end, by part and field.
PLACES = {
    "row": ("drive", "r_source"),
    "row_far": ("drive", "r_source_far"),
    "col": ("readout", "r_in"),
    "col_far": ("readout", "r_in_far"),
}


def resistance(crossbar: Crossbar, end: str) -> Any:
    """Resistance [ohm] at an end of the lines."""
    part, field = PLACES[end]
    return getattr(getattr(crossbar, part), field)


def is_fixed(crossbar: Crossbar, end: str) -> bool:
    """Whether the kind of drive or readout settles how an end is connected."""
    part, field = PLACES[end]
    return field not in {f.name for f in dataclasses.fields(getattr(crossbar, part))}


class _Connected(eqx.Module):
    """The crossbar with some numbers put in, and those ends open that were open in the reads."""

    put: Callable[[Crossbar, Any], Crossbar]
    open_ends: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, crossbar: Crossbar, values: Any) -> Crossbar:
        crossbar = self.put(crossbar, values)
        for end in self.open_ends:
            if is_fixed(crossbar, end):
                continue  # open, or refused by `identify`
            place = lambda c, end=end: resistance(c, end)
            crossbar = eqx.tree_at(place, crossbar, jnp.full_like(place(crossbar), jnp.inf))
        return crossbar


def by_admittance(crossbar: Crossbar, measured: Any) -> bool:
    """Whether the reads follow from the admittance between the ends of all lines."""
    strapped = crossbar.drive.r_strap is not None or crossbar.readout.r_strap is not None
    linear = crossbar.cell.is_linear and crossbar.cell.is_reciprocal and crossbar.readout.is_linear
    voltages = {"v_sense", "output"} & set(measured.sensed)
    floating = "col" in measured.open_ends and bool(voltages)
    return linear and not strapped and not floating and not crossbar.wires.parallel


def ends_of(crossbar: Crossbar, measured: Any) -> tuple[str, ...]:
    """The ends at which current may flow: those that are not open, on all of their lines."""
    is_open = lambda r: is_concrete(r) and bool(np.all(np.isinf(np.asarray(r))))
    return tuple(
        end
        for end in ENDS
        if end not in measured.open_ends and not is_open(resistance(crossbar, end))
    )


def predicted(
    crossbar: Crossbar,
    measured: Any,
    solver: Solver,
    ends: tuple[str, ...] | None = None,
    few: Few = NONE,
) -> tuple[dict[str, Array], Int[Array, ""]]:
    """What is sensed, `(reads, lines)` by name, and the status of all reads. Unusable reads are
    NaN. The numbers in `few` are put into the crossbar."""
    ends = ends_of(crossbar, measured) if ends is None else ends
    few = Few(few.values, _Connected(few.put, measured.open_ends))
    return _predicted(crossbar, few, measured, solver, ends)


@eqx.filter_jit
def _predicted(crossbar: Crossbar, few: Few, measured: Any, solver: Solver, ends: tuple[str, ...]):
    base, crossbar = crossbar, few.into(crossbar)
    bias = measured.bias(crossbar)
    names = tuple(measured.sensed)
    if not by_admittance(crossbar, measured):
        found = jax.vmap(lambda bias: read(crossbar, bias, solver=solver))(bias)
        good = one_or_nan(found.status, bias.v_row.dtype)[:, None]
        seen = {name: good * getattr(found, name) for name in names}
        return seen, jnp.bitwise_or.reduce(found.status)
    crossbar, bias = in_one_dtype(crossbar, bias)
    y, status = admittance(base, linear_of(solver), ends, few)
    volts = {"row": bias.v_row, "row_far": bias.v_row_far, "col": bias.v_col}
    volts["col_far"] = bias.v_col_far
    i = jnp.concatenate([volts[end] for end in ends], axis=1) @ y
    widths = np.cumsum([volts[end].shape[1] for end in ends])[:-1]
    into = dict(zip(ends, jnp.split(i, widths, axis=1)))
    of = lambda end: into.get(end, jnp.zeros_like(volts[end]))
    seen = {
        "i_in_near": of("row"),
        "i_in_far": of("row_far"),
        "i_out_near": -of("col"),
        "i_out_far": -of("col_far"),
    }
    seen["i_in"] = seen["i_in_near"] + seen["i_in_far"]
    seen["i_out"] = seen["i_out_near"] + seen["i_out_far"]
    if {"v_sense", "output"} & set(names):
        at = lambda bias, near: input_voltage(crossbar, bias, near, bias.v_col)
        seen["v_sense"] = jax.vmap(at)(bias, seen["i_out_near"])
        seen["output"] = jax.vmap(crossbar.readout.output)(seen["i_out"], seen["v_sense"])
    return {name: seen[name] for name in names}, status
