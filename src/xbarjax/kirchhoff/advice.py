"""Advice on a status, in words, and the end of every verb: an error, a warning, or its value."""

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
    " 0 V) and it carries no current",
    Status.SPLIT: "is ideal wire between two ideal terminals: how its current splits between them"
    " is open (the near end is given all of it); or shorted cells and ideal wires share a current",
    Status.NOT_CONVERGED: "the solver stopped before Kirchhoff's law held: use float64 instead of"
    " float32, a larger max_steps where num_steps came to it, and inf or 0 for conductances and"
    " resistances that are meant to be ideal or open",
    Status.NOT_FINITE: "an input or a result is not finite: look for NaN in v_in, for a row or"
    " column of a scheme outside of the array, or for currents beyond the range of the dtype",
    Status.INVALID_CELL: "a cell has a parameter that none can have: conductances run from 0 (no"
    " cell) to inf S (a short), others are finite; or an amplifier or a capacitor has such a one",
    Status.INVALID_WIRE: "a resistance is negative or NaN: resistances run from 0 (ideal) to inf"
    " (open)",
    Status.SHORT_CIRCUIT: "ideal wire, or a shorted cell between ideal wires, joins two ideal"
    " terminals at different voltages: give the wire, the cell or a terminal a resistance",
    Status.NEGATIVE_RESISTANCE: "has a negative differential resistance where it is read, so that"
    " Kirchhoff's laws may have several solutions: read it below its peak, or give a switch its"
    " state (ThresholdSwitch(on=...)) and read it there",
    Status.OUT_OF_RANGE: "is beyond the range of its model: lower the voltages, put resistance in"
    " series, or use a model that holds there",
    Status.GATES_OFF: "no row has a gate above threshold, so that only leakage flows: raise v_gate"
    " of the rows that are to be read",
    Status.SATURATED: "every amplifier is at an end of its swing, so that outputs do not depend on"
    " the product any more: lower the feedback resistance or the inputs",
    Status.OUT_OF_STEPS: "max_steps were not enough to come to the last time: raise it, or rtol",
    Status.TIME_NOT_RISING: "times or the corners of a line do not rise: time runs forward only",
    Status.SINGULAR: "the circuit determines no unique solution: look for ideal sources or wires in"
    " a loop, for nodes that no current reaches, and for a matrix without an inverse",
    Status.UNSTABLE: "the loop is unstable, so that its operating point is never reached: look for"
    " an amplifier in positive feedback, and change the signs of its inputs",
}


def explain(solution: Solution) -> str:
    """A sentence about `solution.status`, with the first node concerned; empty when good."""
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
                    f"{said} is a short in a loop of ideal wires and shorts, perhaps:"
                    " how its current splits with theirs is then open (voltages are not)"
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
            sentences.append(f"cell {where}{more}, at {v:.4g} V, {advice}")
        elif flag in status:
            sentences.append(advice)
    return "; ".join(sentences)


def _cells(mask: Array | None) -> str:
    """The first cell of a mask, and how many more there are; empty of none."""
    at = np.argwhere(np.asarray(mask)) if mask is not None else []
    more = f" (and {len(at) - 1} more)" if len(at) > 1 else ""
    return f"cell ({', '.join(map(str, at[0].tolist()))}){more}" if len(at) else ""


def _unsolved(solution: Solution) -> str:
    """Advice on a solution that did not converge."""
    stopped = "the solver stopped before Kirchhoff's law held"
    steps = f"a larger max_steps where that is what it stopped at ({int(solution.num_steps)} steps)"
    if said := _cells(solution.undetermined.cell_lost):
        return (
            f"{stopped}: {said} conducts so much better than the wires beside it that its current"
            " is lost in rounding; make it inf S, a short, or give those wires a resistance, or use"
            f" {steps}"
        )
    if solution.drop_row.dtype == jnp.float32:
        return f"{stopped}: use float64, or {steps}"
    if int(solution.newton_steps):
        return f"{stopped}: use {steps}, or start= from the solution of a circuit that is near"
    return (
        f"{stopped}: use {steps}; else conductances and resistances lie further apart than float64"
        " can tell: make those inf that are meant to be open or shorts, and 0 their opposites"
    )


def general(status: Status) -> str:
    """Advice on the faults of a status."""
    return "; ".join(ADVICE[flag] for flag in ADVICE if flag in status and flag.is_error)


def raise_if_bad(
    status: Status, solution: Any = None, words: Callable[[Status], str] | None = None
) -> None:
    """Raises what a status of concrete values calls for: `ValueError` for the input's faults,
    `RuntimeError` for the solver's. The solution comes along as an attribute of the error."""
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
    """The value of a verb, if its status allows it.

    Concrete values raise what the status calls for, that of a batch as a whole; a single `Solution`
    also warns of nodes that float, of gates that are all off and of amplifiers that all saturate.
    Traced values are returned as they are, and their status beside them. `said` has the sentence of
    an error, where the general one can be bettered."""
    solution = value if isinstance(value, Solution) else None
    if not is_concrete(status if solution is None else solution):
        return value
    known = Status(int(np.bitwise_or.reduce(np.asarray(status), axis=None)))
    single = solution if solution is not None and solution.status.ndim == 0 else None
    raise_if_bad(known, single if said is None else value, said)
    if single is not None and known & (Status.FLOATING | Status.GATES_OFF | Status.SATURATED):
        warnings.warn(explain(single), stacklevel=3)
    return value
