"""Status flags in words, and the last step of every verb: its value, a warning or an error."""

import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from .._types import is_concrete
from .solution import Solution, Status

ADVICE = {
    Status.FLOATING: "has no path to any source or ground: its voltage is arbitrary (returned as"
    " 0 V) and no current flows in it",
    Status.SPLIT: "is ideal wire between two ideal terminals: the split of its current is"
    " undetermined (all is assigned to the near end); or shorts and ideal wires form a loop",
    Status.NOT_CONVERGED: "the solver stopped before Kirchhoff's law held: use float64, raise"
    " max_steps if num_steps reached it, and write ideal and open parts as exactly 0 or inf",
    Status.NOT_FINITE: "an input or a result is not finite: check v_in for NaN, row and col of a"
    " select scheme for positions outside the array, and currents for overflow of the dtype",
    Status.INVALID_CELL: "a cell, a readout or a capacitor has an impossible parameter:"
    " conductances of cells run from 0 (no cell) to inf S (a short), their other parameters are"
    " finite, and capacitances are finite and at least 0 F",
    Status.INVALID_ELEMENT: "an element of the circuit has an impossible parameter: resistances run"
    " from 0 to inf ohm, capacitances are finite and at least 0 F, gains are positive, values of"
    " sources are finite, and a swing has two finite ends and a finite gain",
    Status.INVALID_WIRE: "a resistance is negative or NaN, or a strap is 0 ohm: resistances run"
    " from 0 (ideal) to inf (open), and straps are above 0 ohm",
    Status.SHORT_CIRCUIT: "ideal wire, or a shorted cell between ideal wires, joins two ideal"
    " terminals at different voltages: give the wire, the cell or a terminal a resistance",
    Status.NEGATIVE_RESISTANCE: "a negative differential resistance at the operating point allows"
    " several solutions of Kirchhoff's laws: read the cell below the peak of its current, or fix"
    " the state of a threshold switch with ThresholdSwitch(on=...)",
    Status.OUT_OF_RANGE: "the operating point is beyond the range of the cell's model: lower the"
    " voltages, add a series resistance, or use a model that covers this point",
    Status.GATES_OFF: "no row has a gate above threshold, so only leakage flows: raise v_gate of"
    " the rows to be read",
    Status.SATURATED: "every amplifier is at an end of its swing, so outputs no longer depend on"
    " the product: lower the feedback resistance or the inputs",
    Status.OUT_OF_STEPS: "max_steps is too small to reach the last time: raise max_steps or rtol",
    Status.TIME_NOT_RISING: "ts or the corners of a waveform do not rise: put them in rising order",
    Status.SINGULAR: "the circuit has no unique solution: look for ideal sources or wires in a"
    " loop, for nodes that no current reaches (capacitors pass none at rest: transients start from"
    " their v_start), and for a matrix without an inverse",
    Status.UNSTABLE: "the loop is unstable and never reaches its operating point: look for an"
    " amplifier in positive feedback, and swap its inputs",
}


def explain(solution: Solution) -> str:
    """Advice on `solution.status`: one sentence per flag, with the first node, line or cell
    concerned. Empty for a good status."""
    sentences = []
    status = Status(int(solution.status))
    for flag, advice in ADVICE.items():
        if flag in status and flag == Status.FLOATING:
            for family, mask in (("word", solution.floating_row), ("bit", solution.floating_col)):
                nodes = np.argwhere(np.asarray(mask))
                if len(nodes):
                    more = f" (and {len(nodes) - 1} more)" if len(nodes) > 1 else ""
                    where = ", ".join(map(str, nodes[0].tolist()))
                    sentences.append(f"{family}-line node ({where}){more} {advice}")
        elif flag in status and flag == Status.SPLIT:
            for family, mask in (("word", solution.split_row), ("bit", solution.split_col)):
                lines = np.flatnonzero(np.asarray(mask))
                if len(lines):
                    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
                    sentences.append(f"{family} line {lines[0]}{more} {advice.split(';')[0]}")
            if said := _cells(solution.undetermined.cell_split):
                sentences.append(
                    f"{said} is a short that may close a loop of ideal wires and shorts:"
                    " the split of the current in such a loop is undetermined, its voltages are not"
                )
        elif flag in status and flag == Status.NOT_CONVERGED:
            sentences.append(_unsolved(solution))
        elif flag in status and flag == Status.SHORT_CIRCUIT:
            said = _cells(solution.undetermined.cell_lost)
            sentences.append(f"{said}: {advice}" if said else advice)
        elif flag in status and flag in (Status.NEGATIVE_RESISTANCE, Status.OUT_OF_RANGE):
            mask = solution.negative if flag == Status.NEGATIVE_RESISTANCE else solution.beyond
            cells = np.argwhere(np.asarray(mask))
            more = f" (and {len(cells) - 1} more)" if len(cells) > 1 else ""
            where = tuple(cells[0].tolist())
            v = float(solution.v_cell[where])
            sentences.append(f"cell {where}{more} at {v:.4g} V: {advice}")
        elif flag in status:
            sentences.append(advice)
    return "; ".join(sentences)


def _cells(mask: Array | None) -> str:
    """First cell of a mask and the number of further ones, in words; empty for an empty mask."""
    at = np.argwhere(np.asarray(mask)) if mask is not None else []
    more = f" (and {len(at) - 1} more)" if len(at) > 1 else ""
    return f"cell ({', '.join(map(str, at[0].tolist()))}){more}" if len(at) else ""


def _unsolved(solution: Solution) -> str:
    """Advice on a solution that did not converge."""
    stopped = "the solver stopped before Kirchhoff's law held"
    steps = f"a larger max_steps if this limit stopped the solver ({int(solution.num_steps)} steps)"
    if said := _cells(solution.undetermined.cell_lost):
        return (
            f"{stopped}: {said} conducts so much better than the wires beside it that rounding"
            " loses its current; make the cell a short (inf S), give these wires a resistance, or"
            f" use {steps}"
        )
    if solution.drop_row.dtype == jnp.float32:
        return f"{stopped}: use float64, or {steps}"
    if int(solution.newton_steps):
        return f"{stopped}: use {steps}, or pass the solution of a similar circuit as start"
    return (
        f"{stopped}: use {steps}; otherwise conductances and resistances lie further apart than"
        " float64 resolves, so write open parts and shorts as exactly 0 or inf"
    )


def general(status: Status) -> str:
    """Advice on the errors of a status, without the parts concerned."""
    return "; ".join(ADVICE[flag] for flag in ADVICE if flag in status and flag.is_error)


def raise_if_bad(
    status: Status, solution: Any = None, words: Callable[[Status], str] | None = None
) -> None:
    """Raises the error of a concrete status: `RuntimeError` for `NOT_CONVERGED` alone, `ValueError`
    for faults of the input. The error's attribute `solution` holds the solution. `words` gives the
    message in place of `explain`."""
    faults = [flag for flag in ADVICE if flag in status and flag.is_error]
    if faults:
        if words is not None:
            said = words(status)
        else:
            said = general(status) if solution is None else explain(solution)
        error = (RuntimeError if faults == [Status.NOT_CONVERGED] else ValueError)(said)
        error.solution = solution  # pyright: ignore[reportAttributeAccessIssue]
        raise error


def finish(
    value: Any, status: Int[Array, "*batch"], said: Callable[[Status], str] | None = None
) -> Any:
    """The value of a verb, checked against its status.

    - Concrete values raise the errors of `raise_if_bad`, a batch as a whole. `said` gives their
        message, where it knows more than the general advice.
    - A single concrete `Solution` also warns of floating nodes, of gates that are all off and of
        amplifiers that all saturate.
    - Traced values are returned unchecked: a `Solution` carries its status."""
    solution = value if isinstance(value, Solution) else None
    if not is_concrete(status if solution is None else solution):
        return value
    known = Status(int(np.bitwise_or.reduce(np.asarray(status), axis=None)))
    single = solution if solution is not None and solution.status.ndim == 0 else None
    raise_if_bad(known, single if said is None else value, said)
    if single is not None and known & (Status.FLOATING | Status.GATES_OFF | Status.SATURATED):
        warnings.warn(explain(single), stacklevel=3)
    return value
