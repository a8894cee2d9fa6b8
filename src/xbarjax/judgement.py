"""Whether a solution can be used: what of Kirchhoff's and Ohm's laws it leaves violated, what the
circuit leaves open, and the status that says so."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ._types import Scalar
from .assembly import Circuit
from .connectivity import Undetermined
from .network import CAP, Field, Network, Segments, largest
from .solution import Status
from .solvers.lines import forces

MANY = 100  # shorts in a row, whose voltages add up


def nodes_hold(circuit: Circuit, error) -> Array:
    """Whether nodes are known to within 1e-9 of the largest voltage, 1e-4 in float32: an `error`
    [V] is looked for where they hang on little."""
    return error <= _tolerance(error.dtype)[1] * _highest(circuit)


def wires_hold(off: Field, x: Field) -> Array:
    """Whether Ohm's law holds in the wires, to the same of the largest drop."""
    most = _tolerance(x.row.dtype)[1] * largest(x.row, x.col)
    return largest(off.row_segments, off.col_segments) <= most


def current_law_holds(circuit: Circuit, network: Network, x: Field, residual, currents, injected):
    """Whether the solver did its work: its own tolerance is far below this one, which it misses
    where it stopped early or the dtype is exhausted.

    Where no current may flow, the rounding of the injected ones is all there is: no voltage is
    left across anything that conducts.
    """
    eps, flowing = jnp.finfo(residual.dtype).eps, largest(*currents)
    rounding = 64 * eps * largest(injected)
    still = lambda *x: _across(*x) <= 64 * eps * _highest(circuit)
    args = lax.stop_gradient((circuit, network, x))
    little = (flowing <= rounding) & (residual > 0)
    at_rest = lax.cond(little, still, lambda *_: jnp.asarray(False), *args)
    rounding = jnp.where(at_rest, rounding, eps * rounding)
    bound = _tolerance(residual.dtype)[0] * flowing + rounding
    return residual <= lax.stop_gradient(bound)


def _across(circuit: Circuit, network: Network, x: Field) -> Scalar:
    """The largest voltage [V] across a wire or cell that conducts, however little."""
    v_row, v_col = circuit.voltages(x.row, x.col)
    joined = (network.g_rc > 0) | (network.g_cr > 0)
    if network.shorts is not None:
        joined |= network.shorts.alpha > 0

    def along(line: Segments, d, e, axis: int):
        across = jnp.diff(d, axis=axis, prepend=0, append=0) - forces(line, e)
        return jnp.where(line.alpha > 0, across, 0)

    cells = jnp.where(joined, v_row - v_col, 0)
    rows = along(network.row, x.row, circuit.e_row, network.row_axis)
    return largest(cells, rows, along(network.col, -x.col, circuit.e_col, 0))


def _highest(circuit: Circuit) -> Scalar:
    """The largest voltage [V] of terminals and references."""
    return jnp.maximum(*map(jnp.abs, circuit.span))


def of_shorts(circuit: Circuit, cut: Undetermined, network: Network, x: Field, off: Field):
    """What is open in shorts, and what is wrong with them."""
    assert network.shorts is not None
    no = jnp.asarray(False)
    flags = dict.fromkeys((Status.SPLIT, Status.SHORT_CIRCUIT, Status.NOT_CONVERGED), no)
    none = jnp.zeros(network.shorts.alpha.shape, bool)
    shorted = jnp.any(network.shorts.alpha > 0)
    split, lost, flags = lax.cond(
        shorted, _of_shorts, lambda *_: (none, none, flags), circuit, network, x, off
    )
    masks = lambda c: (c.cell_split, c.cell_lost)
    return eqx.tree_at(masks, cut, (split, lost), is_leaf=lambda x: x is None), flags


def _of_shorts(circuit: Circuit, network: Network, x: Field, off: Field):
    """Masks of shorts whose current is open, and whose law does not hold, and flags."""
    shorts, tolerance = network.shorts, _tolerance(x.row.dtype)[0]
    assert shorts is not None and off.cell is not None and x.cell is not None
    held, ideal = shorts.alpha > 0, shorts.beta == 0
    # beside ideal wires nothing but its own law says what flows in a cell
    gain = jnp.where(shorts.open & ~ideal, 1 / jnp.where(ideal, 1, shorts.beta), shorts.gain)
    i_row, i_col = network.row.alpha * x.row_segments, network.col.alpha * x.col_segments
    most = largest(i_row, i_col, x.cell)
    lost = held & ~(jnp.abs(gain * off.cell) <= tolerance * most)
    # a short that closes a loop of wires: what flows there follows from voltages alone, and those
    # are rounded
    drop = jnp.finfo(x.row.dtype).eps * (jnp.abs(x.row) + jnp.abs(x.col))
    lost |= held & ~(drop * shorts.cap / CAP <= tolerance / 10 * most)
    lost |= held & ~nodes_hold(circuit, MANY * jnp.abs(off.cell))
    low, high = circuit.span
    loop = shorts.open | (held & (shorts.cap == 0))
    joined = loop & (jnp.abs(off.cell) > 1e-3 * jnp.maximum(high - low, 0))
    split = ideal & shorts.open & ~joined
    flags = {
        Status.SPLIT: jnp.any(split),
        Status.SHORT_CIRCUIT: jnp.any(joined),
        Status.NOT_CONVERGED: jnp.any(lost & ~joined),
    }
    return split, lost, flags


def status_of(crossbar, bias, undetermined, x, more):
    wires, drive, readout = crossbar.wires, crossbar.drive, crossbar.readout
    resistances = (
        wires.r_row,
        wires.r_col,
        drive.r_source,
        drive.r_source_far,
        readout.r_in,
        readout.r_in_far,
    )
    every = lambda test, leaves: jnp.all(jnp.stack([jnp.all(test(x)) for x in leaves]))
    straps = [r for r in (drive.r_tap, readout.r_tap) if r is not None]
    finite = every(lambda x: jnp.isfinite(jnp.sum(x)), jax.tree.leaves((x, bias)))
    good_wires = every(lambda r: r >= 0, resistances)
    good_wires &= every(lambda r: r > 0, straps) if straps else True
    shorted = jnp.any(undetermined.row_split & (bias.v_row != bias.v_row_far)) | jnp.any(
        undetermined.col_split & (bias.v_col != bias.v_col_far)
    )
    flags = {
        Status.FLOATING: jnp.any(undetermined.row) | jnp.any(undetermined.col),
        Status.SPLIT: jnp.any(undetermined.row_split)
        | jnp.any(undetermined.col_split)
        | more.get(Status.SPLIT, False),
        Status.NOT_FINITE: ~finite,
        Status.INVALID_CELL: ~(jnp.all(crossbar.cell.valid()) & jnp.all(readout.valid())),
        Status.INVALID_WIRE: ~good_wires,
        Status.SHORT_CIRCUIT: shorted | more.get(Status.SHORT_CIRCUIT, False),
    }
    status = jnp.zeros((), jnp.int32)
    for flag, holds in (more | flags).items():
        status |= jnp.where(holds, int(flag), 0)
    return lax.stop_gradient(status)


def _tolerance(dtype) -> tuple[float, float]:
    """Of currents, relative to the largest, and of voltages."""
    return (1e-8, 1e-9) if dtype == jnp.float64 else (1e-4, 1e-4)
