"""Sources of noise in an array, and what reads and circuits ask of them alike."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._types import PerCell, as_physical, everywhere
from ..cells import AbstractCell
from ..cells.junction import Junction
from ..crossbar import Crossbar
from ..kirchhoff.circuit import Circuit, at_rest, network_of
from ..kirchhoff.network import Field, Network
from ..kirchhoff.solution import Solution


def ends_of(band: tuple[float, float]) -> tuple[Array, Array]:
    """The lowest and the highest frequency [Hz] of a band."""
    low, high = (as_physical(f, "band") for f in band)
    if not everywhere(lambda low, high: (0 < low) & (low < high) & (high < np.inf), low, high):
        raise ValueError(f"band is {band} Hz; it must be two frequencies, 0 < lowest < highest.")
    return low, high


def require_no_junction(cell: AbstractCell) -> None:
    """Raises `ValueError` for cells whose noise is not that of a conductance."""
    for part in jax.tree.leaves(cell, is_leaf=_is_junction):
        if _is_junction(part):
            raise ValueError(
                f"{type(part).__name__} is a junction, whose shot noise is not modelled: replace"
                " it by a conductance."
            )


def around(circuit: Circuit, solution: Solution) -> Network:
    """The network of a circuit around its solution."""
    if circuit.cell.is_linear:
        return at_rest(circuit)
    at = circuit.voltages(solution.drop_row, solution.drop_col)
    return network_of(circuit, *circuit.cell.linearise(*at)[1:])


def of_cells(network: Network, x: Field, beside: PerCell) -> tuple[PerCell, PerCell]:
    """Transfer functions from a current in parallel with each cell, of which `beside` are those of
    cells that are no short, and from a voltage in series with each short, in the adjoint `x`."""
    shorts = network.shorts
    if shorts is None or x.cell is None:
        return beside, jnp.zeros_like(beside)
    # Norton to Thevenin: a current `i` beside a short is a voltage `beta i` in series
    of_short = shorts.alpha * x.cell
    return jnp.where(shorts.alpha > 0, shorts.beta * of_short, beside), of_short


def resistances(crossbar: Crossbar, circuit: Circuit) -> tuple[Array, Array]:
    """Noisy resistance [ohm] of each segment, 0 for an open segment."""
    row, total = circuit.row.r, circuit.col.r
    wire = jnp.broadcast_to(crossbar.wires.r_col, crossbar.shape)
    col = jnp.concatenate([jnp.zeros_like(wire[:1]), wire])  # end resistances belong to readouts
    return jnp.where(jnp.isinf(row), 0, row), jnp.where(jnp.isinf(total) | jnp.isinf(col), 0, col)


def _is_junction(part) -> bool:
    return isinstance(part, Junction)
