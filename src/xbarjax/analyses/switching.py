"""Threshold switches between reads: their state is data, and a read determines the next state."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .._types import Values
from ..cells import Series, ThresholdSwitch
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.advice import finish
from ..kirchhoff.circuit import bias_of
from ..kirchhoff.solution import Solution
from ..solvers import AutoLadder
from .read import _read


def switched(crossbar: Crossbar, solution: Solution) -> Crossbar:
    """The array with its threshold switches in their state after a read.

    **Errors:** `ValueError` for cells without a threshold switch.
    """
    cell = crossbar.cell
    if not isinstance(cell, (Series, ThresholdSwitch)):
        raise ValueError(
            f"switched needs threshold switches, and {type(cell).__name__} has no state: use"
            " ThresholdSwitch, alone or in Series."
        )
    cell = cell.switched(solution.v_row, solution.v_col)
    return Crossbar(cell, crossbar.wires, crossbar.drive, crossbar.readout)


def settle_switches(
    crossbar: Crossbar, v_in: Values | Bias, *, max_rounds: int = 20
) -> tuple[Crossbar, Solution]:
    """Stable state of threshold switches: read and switch in turn until no switch changes.

    In each round all switches above their threshold turn on, and all switches below their holding
    current turn off. The transient in between is not modelled.

    **Returns:** the array in its last state, and its read there. The states have no gradient; the
    last read has a gradient.

    **Errors:** those of `read`. If switches still change after `max_rounds`, concrete values raise
    `ValueError`, and traced ones have the status `OUT_OF_RANGE`.
    """
    bias = bias_of(crossbar, v_in)
    crossbar = _settled(crossbar, bias, max_rounds)
    solution = _read(crossbar, bias, AutoLadder(), None)
    return crossbar, finish(solution, solution.status)


@eqx.filter_jit
def _settled(crossbar: Crossbar, bias: Bias, max_rounds: int) -> Crossbar:
    def next_state(crossbar: Crossbar) -> Crossbar:
        return switched(crossbar, _read(crossbar, bias, AutoLadder(), None))

    # a scalar state becomes one state per cell
    shapes = eqx.filter_eval_shape(next_state, crossbar)
    full = jax.tree.map(lambda x, s: jnp.broadcast_to(x, s.shape), crossbar, shapes)

    def one(carry):
        old, _, k = carry
        new = next_state(old)
        same = [jnp.all(x == y) for x, y in zip(*map(jax.tree.leaves, (new, old)))]
        return new, jnp.all(jnp.stack(same)), k + 1

    start = (lax.stop_gradient(full), jnp.asarray(False), 0)
    found, *_ = lax.while_loop(lambda c: ~c[1] & (c[2] < max_rounds), one, start)
    # only the states are new: all other leaves keep their gradient
    return jax.tree.map(lambda x, y: jnp.where(x == y, x, lax.stop_gradient(y)), full, found)
