"""The judgement of a solution: its violation of Kirchhoff's and Ohm's laws, the undetermined parts
of its circuit, and the status of both."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from .. import _native
from .._types import CellMask, PerCell, Scalar
from ..crossbar import Crossbar
from ..drive import Bias
from .circuit import Circuit
from .islands import Undetermined
from .network import CAP, Field, Network, Segments, Shorts, largest
from .solution import Status

MANY = 100  # shorts in series, whose violations [V] add up
ROUNDING = 64  # units of rounding
OPEN = 1e-3  # share of the span of the sources: a loop with a larger violation joins two sources


class Judged(NamedTuple):
    """The judgement of a solution by Kirchhoff's and Ohm's laws."""

    residual: Scalar  # [A], the largest violation of the current law
    status: Int[Array, ""]  # flags of a violation that is too large
    split: CellMask | None  # shorts whose current is undetermined
    lost: CellMask | None  # shorts whose law is violated


def judged(
    circuit: Circuit,
    network: Network,
    x: Field,
    left: Field,
    injected: PerCell,
    error: Scalar,
    *,
    of_vector: bool,
) -> Judged:
    """The judgement of a solution `x`, by the C++ kernel if present. It has no derivative.

    **Arguments:**

    - `left`: the violation of the laws by `x`; with `of_vector`, the right-hand side of the solve.
    - `injected`: currents [A] into both families, which set the size of rounding errors.
    - `error`: error bound [V] of weakly held nodes, 0 if there are none.
    """
    shorts, dtype, nodes = network.shorts, x.row.dtype, x.row.shape
    of_shorts = (None,) * 4
    if shorts is not None:
        of_shorts = shorts.alpha, shorts.beta, shorts.cap, shorts.open
        left = left if left.cell is not None else left._replace(cell=jnp.zeros_like(x.row))
    else:
        x, left = x._replace(cell=None), left._replace(cell=None)
    operands = lax.stop_gradient(
        (
            network.row.r,
            network.col.r,
            network.g_rc,
            None if network.symmetric else network.g_cr,
            network.shunt_row,
            network.shunt_col,
            *of_shorts,
            *left,
            *x,
            injected,
            circuit.reference.v_row,
            circuit.reference.v_col,
            circuit.e_row,
            circuit.e_col,
            circuit.sources,
            error,
        )
    )
    pure = Judge(network.parallel, of_vector)
    masks = [] if shorts is None else [(nodes, bool), (nodes, bool)]
    results = [((), dtype), ((), jnp.int32), *masks]
    if _native.available():
        flags = pure._asdict()
        found = _native.call("judge", operands, results, pure, dtype, **flags)
    else:
        found = pure(*operands)
    return Judged(*found, *((None, None) if shorts is None else ()))


class Judge(NamedTuple):
    """The judgement of `judged`, in JAX."""

    parallel: bool
    of_vector: bool

    def __call__(self, *operands: Any) -> list[Array]:
        r_row, r_col, g_rc, g_cr, shunt_row, shunt_col, alpha, beta, cap, beside = operands[:10]
        left, x = Field(*operands[10:15]), Field(*operands[15:20])
        injected, v_row, v_col, e_row, e_col, sources, error = operands[20:]
        low, high = jnp.min(sources), jnp.max(sources)
        symmetric, shorts = g_cr is None, None
        if alpha is not None:
            shorts = Shorts(alpha, beta, cap, beside)
        cells = (g_rc, g_rc if symmetric else g_cr)
        network = Network(
            Segments(r_row),
            Segments(r_col),
            *cells,
            shunt_row,
            shunt_col,
            symmetric,
            self.parallel,
            shorts=shorts,
        )
        off = network.violation(left, x) if self.of_vector else left
        residual = largest(off.row, off.col)
        i_row, i_col = network.i_row(x), network.i_col(x)
        highest = jnp.maximum(jnp.abs(low), jnp.abs(high))
        of_currents, of_voltages = _tolerance(residual.dtype)

        # The solver's own tolerance is far below this one: a miss means that the solver stopped
        # early or that the dtype is exhausted. If no current can flow, the residual is rounding of
        # the injected currents, and no voltage is left across any part that conducts.
        eps, flowing = jnp.finfo(residual.dtype).eps, largest(i_row, i_col)
        rounding = ROUNDING * eps * largest(injected)
        little = (flowing <= rounding) & (residual > 0)
        ends = v_row[None, :] if self.parallel else v_row[:, None], v_col[None]
        across = lambda: _across(network, x, ends, (e_row, e_col)) <= ROUNDING * eps * highest
        at_rest = lax.cond(little, across, lambda: jnp.asarray(False))
        rounding = jnp.where(at_rest, rounding, eps * rounding)
        holds = residual <= of_currents * flowing + rounding
        # Ohm's law in the wires, relative to the largest drop, and the error of weakly held nodes
        apart, drops = largest(off.row_segments, off.col_segments), largest(x.row, x.col)
        holds &= apart <= of_voltages * drops
        holds &= error <= of_voltages * highest
        finite = jnp.all(jnp.stack([jnp.isfinite(jnp.sum(part)) for part in jax.tree.leaves(x)]))
        said = status({Status.NOT_CONVERGED: ~holds, Status.NOT_FINITE: ~finite})
        if shorts is None:
            return [residual, said]
        none = jnp.zeros(shorts.alpha.shape, bool)
        split, lost, more = lax.cond(
            jnp.any(shorts.alpha > 0),
            lambda: _of_shorts(network, x, off, largest(i_row, i_col), high - low, highest),
            lambda: (none, none, jnp.zeros((), jnp.int32)),
        )
        return [residual, said | more, split, lost]


def _across(network: Network, x: Field, ends: tuple[Array, Array], e: tuple[Array, Array]):
    """Largest voltage [V] across any wire or cell that is not open."""
    joined = (network.g_rc > 0) | (network.g_cr > 0)
    if network.shorts is not None:
        joined |= network.shorts.alpha > 0

    def along(line: Segments, d, e, axis: int):
        across = jnp.diff(d, axis=axis, prepend=0, append=0) - line.over_alpha(e)
        return jnp.where(line.alpha > 0, across, 0)

    cells = jnp.where(joined, (ends[0] - x.row) - (ends[1] + x.col), 0)
    rows = along(network.row, x.row, e[0], network.row_axis)
    return largest(cells, rows, along(network.col, -x.col, e[1], 0))


def _of_shorts(network: Network, x: Field, off: Field, flowing: Scalar, span: Scalar, highest):
    """Masks of shorts with an undetermined current and with a violated law, and their status."""
    shorts, (of_currents, of_voltages) = network.shorts, _tolerance(x.row.dtype)
    assert shorts is not None and off.cell is not None and x.cell is not None
    held, ideal = shorts.alpha > 0, shorts.beta == 0
    # beside ideal wires, the current of a short follows from its own law alone
    gain = jnp.where(shorts.open & ~ideal, 1 / jnp.where(ideal, 1, shorts.beta), shorts.gain)
    most = jnp.maximum(flowing, largest(x.cell))
    lost = held & ~(jnp.abs(gain * off.cell) <= of_currents * most)
    # in a loop of wires closed by a short, the current follows from voltages alone, and these are
    # rounded
    drop = jnp.finfo(x.row.dtype).eps * (jnp.abs(x.row) + jnp.abs(x.col))
    lost |= held & ~(drop * shorts.cap / CAP <= of_currents / 10 * most)
    lost |= held & ~(MANY * jnp.abs(off.cell) <= of_voltages * highest)
    loop = shorts.open | (held & (shorts.cap == 0))
    joined = loop & (jnp.abs(off.cell) > OPEN * jnp.maximum(span, 0))
    split = ideal & shorts.open & ~joined
    flags = {
        Status.SPLIT: jnp.any(split),
        Status.SHORT_CIRCUIT: jnp.any(joined),
        Status.NOT_CONVERGED: jnp.any(lost & ~joined),
    }
    return split, lost, status(flags)


def status(flags: dict[Status, Array]) -> Int[Array, ""]:
    """Status flags that hold, combined into one integer."""
    said = jnp.zeros((), jnp.int32)
    for flag, holds in flags.items():
        said |= jnp.where(holds, int(flag), 0)
    return said


def status_of(
    crossbar: Crossbar, bias: Bias, undetermined: Undetermined, more: Int[Array, ""]
) -> Int[Array, ""]:
    """The status of a read: the faults of the array and its bias, and the flags `more`."""
    wires, drive, readout = crossbar.wires, crossbar.drive, crossbar.readout
    resistances = (
        wires.r_row,
        wires.r_col,
        drive.r_source,
        drive.r_source_far,
        readout.r_in,
        readout.r_in_far,
    )
    straps = [r for r in (drive.r_strap, readout.r_strap) if r is not None]
    split = jnp.concatenate([undetermined.row_split, undetermined.col_split])
    near = jnp.concatenate([bias.v_row, bias.v_col])
    far = jnp.concatenate([bias.v_row_far, bias.v_col_far])
    flags = {
        Status.FLOATING: jnp.any(undetermined.row | undetermined.col),
        Status.SPLIT: jnp.any(split),
        Status.NOT_FINITE: ~_every(lambda x: jnp.isfinite(jnp.sum(x)), jax.tree.leaves(bias)),
        Status.INVALID_CELL: ~(jnp.all(crossbar.cell.valid()) & jnp.all(readout.valid())),
        Status.INVALID_WIRE: ~(
            _every(lambda r: jnp.all(r >= 0), resistances)
            & _every(lambda r: jnp.all(r > 0), straps)
        ),
        Status.SHORT_CIRCUIT: jnp.any(split & (near != far)),
    }
    return lax.stop_gradient(status(flags) | more)


def _every(test: Callable[[Array], Array], parts: Iterable[Any]) -> Array:
    """Whether a test holds for all parts. The same object is tested once."""
    distinct = {id(x): x for x in parts}.values()
    return functools.reduce(jnp.logical_and, map(test, distinct), jnp.asarray(True))


def _tolerance(dtype) -> tuple[float, float]:
    """Tolerances of currents and of voltages, relative to the largest of each."""
    return (1e-8, 1e-9) if dtype == jnp.float64 else (1e-4, 1e-4)
