"""Arrays whose lines settle at once, for pulses that are slow against them."""

import equinox as eqx
import jax.numpy as jnp
import lineax as lx

from .._types import Scalar
from ..cells import Ohmic
from ..crossbar import Crossbar
from ..readout import VirtualGround
from ..solvers import AutoLadder
from .settling import slowest_mode


def settled_lines(
    crossbar: Crossbar, *, solver: lx.AbstractLinearSolver = AutoLadder()
) -> tuple[Crossbar, Scalar]:
    """The array without the capacitances of its lines, and the slowest time constant [s] of what
    is left out.

    In `simulate` its lines follow the sources at once, through all resistances, and steps are those
    that the states of the devices need. What is left out: edges arrive later by about the time
    constant, and charging the lines takes energy. States after a pulse differ by the order of the
    time constant over its width.

    The time constant is that of lines that no cell helps to discharge, so that it bounds that of
    the array at any state of its cells.

    **Arguments:** as for `slowest_mode`; the cells may be nonlinear and have memory. A readout
    counts as its input resistance, and keeps capacitors of its own.

    **Errors:** those of `slowest_mode`: `ValueError` for wires without capacitance, `RuntimeError`
    for an iteration that did not converge, as with a line that is open at both ends.
    """
    bare = Ohmic(jnp.zeros(crossbar.shape))
    readout = VirtualGround(crossbar.readout.r_in, crossbar.readout.r_in_far)
    slowest = slowest_mode(Crossbar(bare, crossbar.wires, crossbar.drive, readout), solver=solver)
    wires = lambda c: (c.wires.c_row, c.wires.c_col, c.wires.c_cell)
    at_once = eqx.tree_at(wires, crossbar, (None, None, None), is_leaf=lambda x: x is None)
    return at_once, slowest
