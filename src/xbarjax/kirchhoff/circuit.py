"""The circuit of a biased crossbar, and its linearisation: a network with a right-hand side."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Shaped

from .._types import (
    Inner,
    PerCell,
    PerCol,
    Values,
    as_physical,
    described,
    in_dtype,
    require_enough,
    require_finite,
    widest,
)
from ..cells import AbstractCell, gated, has_gate
from ..crossbar import Crossbar, require_crossbar
from ..drive import Bias
from ..readout import require_linear, require_static
from .islands import Undetermined
from .network import Field, Network, Segments
from .solution import Solution


class Reference(eqx.Module):
    """Reference voltages [V] of lines, from which drops are counted.

    The reference of a line is the voltage of the first of these terminals:

    - its near terminal, if the near end or a strap connects to it;
    - its far terminal;
    - a terminal of the other line family.

    Straps lead to the near terminal, so no current flows through a strap at zero drop."""

    v_row: Float[Array, " lines"]
    v_col: PerCol


class Branches(eqx.Module):
    """Linear branches from every node of a line family to a terminal or to ground.

    Straps lead to the near terminal of the line, companion models of capacitors to ground. The
    branch current `i - g drop` [A] flows out of a row node or into a column node, like the current
    of a cell."""

    g: PerCell  # [S]
    i: PerCell | None = None  # [A] at zero drop; None: 0
    to_terminal: bool = eqx.field(static=True, default=True)

    def flow(self, drop: PerCell) -> PerCell:
        """Branch currents [A] at drops [V]."""
        return -self.g * drop if self.i is None else self.i - self.g * drop


class Circuit(eqx.Module):
    """A biased array in one dtype, ready for Kirchhoff's law.

    Wires are linear. An end segment has an electromotive force `e` [V] if its terminal differs from
    the reference of the line. Cells give currents [A] at the node voltages [V] of `voltages`."""

    cell: AbstractCell
    row: Segments
    col: Segments
    e_row: Float[Array, "..."]
    e_col: Float[Array, "..."]
    reference: Reference
    free_row: Array  # mask of lines without a terminal
    free_col: Array
    branches_row: tuple[Branches, ...]
    branches_col: tuple[Branches, ...]
    sources: Float[Array, " sources"]  # voltages [V] of terminals and references
    parallel: bool = eqx.field(static=True)

    def voltages(self, a: PerCell, w: PerCell) -> tuple[PerCell, PerCell]:
        """Node voltages [V] at drops [V]."""
        return self.of_row(self.reference.v_row) - a, self.reference.v_col[None] + w

    @property
    def rest(self) -> tuple[PerCell, PerCell]:
        """Node voltages [V] at zero drops."""
        shape, of = self.cell.shape, self.reference
        v_row = jnp.broadcast_to(self.of_row(of.v_row), shape)
        return v_row, jnp.broadcast_to(of.v_col[None], shape)

    def of_row(self, x: Shaped[Array, " lines"]) -> Array:
        """Per-line values of the row family, in a shape that broadcasts to the cells."""
        return x[None, :] if self.parallel else x[:, None]

    def tangents(
        self, a: PerCell, w: PerCell, guess: Inner
    ) -> tuple[tuple[PerCell, PerCell, PerCell], Inner]:
        """Cell currents [A] and small-signal conductances [S] at drops [V], as `linearise` returns
        them, and voltages [V] of nodes inside the cells, searched for from a `guess`."""
        v = self.voltages(a, w)
        inner = self.cell.inner(*v, guess)
        return self.cell.linearise(*v, inner), inner

    def guess_from(self, start: Solution) -> Field:
        """Unknowns of this circuit in its dtype, at a solution of another circuit of this shape."""
        start = in_dtype(start, self.row.r.dtype)
        return Field(
            self.of_row(self.reference.v_row) - start.v_row,
            self.row.over_alpha(start.i_row_segments),
            start.v_col - self.reference.v_col[None],
            self.col.over_alpha(start.i_col_segments),
        )


def bias_of(crossbar: Crossbar, v_in: Values | Bias) -> Bias:
    """The bias of a read: `v_in` itself if it is a `Bias`, else `v_in` [V] at both ends of every
    word line (or source line) and the readout's reference at both ends of every bit line.

    Raises `TypeError` for another kind of input, `ValueError` for a shape that does not fit the
    array or for voltages that are not finite."""
    require_crossbar(crossbar)
    require_static(crossbar.readout)
    (rows, cols), lines = crossbar.shape, crossbar.lines
    if isinstance(v_in, Bias):
        fits: dict[str, list] = dict.fromkeys(("v_row", "v_row_far"), [(lines,)])
        fits |= dict.fromkeys(("v_col", "v_col_far"), [(cols,)])
        fits["v_gate"] = [(rows,), (rows, 1), (1, cols), (rows, cols), ()]  # () of None
        for name, shapes in fits.items():
            got = jnp.shape(getattr(v_in, name)) if getattr(v_in, name) is not None else ()
            if got not in shapes:
                raise ValueError(
                    f"bias.{name} has shape {got}, but the array is {rows} x {cols}: it must be"
                    f" {' or '.join(map(str, shapes[:4]))}."
                )
        return v_in
    if isinstance(v_in, eqx.Module):
        raise TypeError(
            f"v_in is {described(v_in)}; pass voltages [V], one per line, or an xb.Bias."
        )
    v_in = as_physical(v_in, "v_in", whole=True)
    if jnp.shape(v_in) != (lines,):
        many, line = ("columns", "source") if crossbar.wires.parallel else ("rows", "word")
        raise ValueError(
            f"v_in has shape {jnp.shape(v_in)}, but the array has {lines} {many}: it must"
            f" be ({lines},), one voltage per {line} line (batches go through jax.vmap)."
        )
    require_finite(v_in, "v_in", "V")
    v_col = crossbar.readout.voltage(cols).astype(v_in.dtype)
    return Bias(v_in, v_in, v_col, v_col)


def circuit_of(crossbar: Crossbar, bias: Bias) -> Circuit:
    """The circuit of a biased array, in its working dtype."""
    dtype = working_dtype(crossbar, bias.v_row, bias.v_row_far)
    rows, cols = crossbar.shape
    drive, readout, parallel = crossbar.drive, crossbar.readout, crossbar.wires.parallel
    axis, lines = (0, cols) if parallel else (1, rows)
    wire = lambda r: jnp.broadcast_to(r, (rows, cols)).astype(dtype)
    end = lambda r, n, axis: jnp.expand_dims(jnp.broadcast_to(r, (n,)).astype(dtype), axis)
    first = jnp.expand_dims(jnp.arange((rows, cols)[axis]) == 0, 1 - axis)
    last = (jnp.arange(rows) == rows - 1)[:, None]
    near = jnp.where(first, end(drive.r_source, lines, axis), 0)
    far = end(drive.r_source_far, lines, axis)
    row = Segments(jnp.concatenate([wire(crossbar.wires.r_row) + near, far], axis))
    near = jnp.where(last, end(readout.r_in, cols, 0), 0)
    far = end(readout.r_in_far, cols, 0)
    col = Segments(jnp.concatenate([far, wire(crossbar.wires.r_col) + near], axis=0))

    # A free end has no voltage, so the other end is the reference. A line with two free ends takes
    # its reference from the other family, so that a line at rest carries no current.
    straps = lambda r: () if r is None else (Branches(1 / wire(r)),)
    branches_row, branches_col = straps(drive.r_strap), straps(readout.r_strap)
    strapped = lambda straps, axis: jnp.any(straps[0].g > 0, axis) if straps else False
    near, far = jnp.take(row.alpha, 0, axis) > 0, jnp.take(row.alpha, -1, axis) > 0
    row_ends = near | strapped(branches_row, axis), far
    col_ends = (col.alpha[-1] > 0) | strapped(branches_col, 0), col.alpha[0] > 0
    near, far = bias.v_row.astype(dtype), bias.v_row_far.astype(dtype)
    v_row = jnp.where(row_ends[0], near, far)
    v_col = jnp.where(col_ends[0], bias.v_col.astype(dtype), bias.v_col_far.astype(dtype))
    held_row, held_col = row_ends[0] | row_ends[1], col_ends[0] | col_ends[1]
    rest_row, rest_col = _one(v_col, held_col), _one(v_row, held_row)
    v_row, v_col = jnp.where(held_row, v_row, rest_row), jnp.where(held_col, v_col, rest_col)
    along = lambda x: jnp.expand_dims(x, axis)
    inner = jnp.zeros((rows - 1, cols) if parallel else (rows, cols - 1), dtype)
    e_row = jnp.concatenate([along(v_row - near), inner, along(far - v_row)], axis)
    near, far = bias.v_col.astype(dtype), bias.v_col_far.astype(dtype)
    inner = jnp.zeros((rows - 1, cols), dtype)
    e_col = jnp.concatenate([(v_col - far)[None], inner, (near - v_col)[None]], axis=0)
    forces = row.alpha * e_row, col.alpha * e_col

    cell = at_gates(crossbar.cell, bias.v_gate)
    reference, free = Reference(v_row, v_col), (~held_row, ~held_col)
    far_row = jnp.where(row_ends[1], bias.v_row_far.astype(dtype), v_row)
    far_col = jnp.where(col_ends[1], bias.v_col_far.astype(dtype), v_col)
    sources = lax.stop_gradient(jnp.concatenate([v_row, v_col, far_row, far_col]))
    lines = row, col, *forces, reference, *free, branches_row, branches_col
    return Circuit(in_dtype(cell, dtype), *lines, sources, parallel)


def network_of(circuit: Circuit, g_row: PerCell, g_col: PerCell) -> Network:
    """The network of a circuit with cells of `g_row = dI/dv_row`, `g_col = -dI/dv_col` [S]."""
    shunts = conductance(circuit.branches_row), conductance(circuit.branches_col)
    flags = circuit.cell.is_reciprocal, circuit.parallel
    return Network(circuit.row, circuit.col, g_col, g_row, *shunts, *flags)


def at_rest(circuit: Circuit) -> Network:
    """The network of a circuit of linear cells. Conductances are taken at 1 V, where a short gives
    inf and not NaN."""
    shape, dtype = circuit.cell.shape, circuit.row.r.dtype
    _, g_row, g_col = circuit.cell.linearise(jnp.ones(shape, dtype), jnp.zeros(shape, dtype))
    return network_of(circuit, g_row, g_col)


def right_hand_side(circuit: Circuit, network: Network, cut: Undetermined) -> tuple[Field, PerCell]:
    """The right-hand side of a network of linear cells, and the cell currents [A] at zero drops,
    which are injected into both families.

    The injected current is 0 in islands and in shorts. A short has the voltage across it on the
    right-hand side instead."""
    v_row, v_col = circuit.rest
    still = jnp.zeros_like(v_row)
    beside = circuit.cell.linearise(still, still)[0]  # [A] of companion models at 0 V
    shorts, dark, cell = network.shorts, cut.row | cut.col, None
    if shorts is not None:
        held = shorts.alpha > 0
        force = jnp.where(shorts.beta > 0, beside, 0) * shorts.beta
        dark, cell = dark | held, jnp.where(held, v_row - v_col + force, 0)
    i_rest = network.g_rc * (v_row - v_col)  # no rounding at equal voltages
    if not network.symmetric:
        i_rest += (network.g_cr - network.g_rc) * v_row
    i_rest = jnp.where(dark, 0, i_rest + jnp.where(dark, 0, beside))
    return injecting(circuit, i_rest, cell), i_rest


def injecting(circuit: Circuit, i_rest: PerCell, cell: PerCell | None = None) -> Field:
    """A right-hand side with currents `i_rest` [A] out of row nodes into column nodes, and
    electromotive forces `cell` [V] in shorts."""
    row, col = (rest_current(x) for x in (circuit.branches_row, circuit.branches_col))
    row = i_rest if row is None else i_rest + row
    col = i_rest if col is None else i_rest + col
    return Field(row, circuit.e_row, col, circuit.e_col, cell)


def conductance(branches: tuple[Branches, ...]) -> PerCell | None:
    """Total conductance [S] of the branches of each node; None without branches."""
    return _total([one.g for one in branches])


def rest_current(branches: tuple[Branches, ...]) -> PerCell | None:
    """Total current [A] of the branches of each node at zero drop; None without current sources."""
    return _total([one.i for one in branches if one.i is not None])


def terminal_current(branches: tuple[Branches, ...], drop: PerCell) -> PerCell | None:
    """Total current [A] of the branches of each node that lead to terminals: out of the terminal of
    a row, into the terminal of a column. None without such branches."""
    return _total([-one.flow(drop) for one in branches if one.to_terminal])


def _total(parts: list[PerCell]) -> PerCell | None:
    return functools.reduce(jnp.add, parts) if parts else None


def at_gates(cell: AbstractCell, v_gate: Array | None) -> AbstractCell:
    """Cells at the gate voltages [V] of a bias. Raises `ValueError` for cells without a gate."""
    if v_gate is None:
        return cell
    if not has_gate(cell):
        raise ValueError(
            f"bias.v_gate is given, but {type(cell).__name__} has no gate: leave v_gate out, or put"
            " a transistor in series with the cell."
        )
    return gated(cell, v_gate[:, None] if v_gate.ndim == 1 else v_gate)


def _one(v: Array, of: Array) -> Array:
    """First voltage [V] of a mask, 0 V if the mask is empty. A mean would round, and equal
    voltages must cancel."""
    return jnp.where(jnp.any(of), v[jnp.argmax(of)], 0)


def in_one_dtype(crossbar: Crossbar, bias: Bias) -> tuple[Crossbar, Bias]:
    """An array and its bias, with every number in the working dtype of a read."""
    dtype = working_dtype(crossbar, bias.v_row, bias.v_row_far)
    return in_dtype(crossbar, dtype), in_dtype(bias, dtype)


def alone_in_one_dtype(crossbar: Crossbar) -> Crossbar:
    """An array, with every number in the dtype of its arrays."""
    return in_dtype(crossbar, working_dtype(crossbar))


def working_dtype(crossbar: Crossbar, *inputs: Array):
    """The dtype of a read: the widest of all arrays in the circuit and of the inputs. Scalars take
    this dtype. Raises `TypeError` for a dtype below float32."""
    parts = (crossbar.cell, crossbar.wires, crossbar.drive, crossbar.readout)
    leaves = [x for part in parts for x in _arrays(part) if jnp.ndim(x) > 0]
    dtype = widest(*leaves, *inputs)
    require_enough(dtype, "a part of the crossbar")
    return dtype


def _arrays(tree) -> list[Array]:
    return [x for x in jax.tree.leaves(tree) if eqx.is_array_like(x)]


def sensed(crossbar: Crossbar, bias: Bias, i_near: PerCol, v_end: PerCol) -> PerCol:
    """Input voltages [V] of the readouts below the last row, at currents `i_near` [A] into them and
    voltages `v_end` [V] of the last nodes. An open input takes no current and is at `v_end`."""
    r_in = crossbar.readout.r_in
    opened = jnp.isinf(r_in)
    behind = bias.v_col + jnp.where(opened, 0, r_in) * i_near
    return jnp.where(opened, v_end, behind).astype(v_end.dtype)


def linear_only(crossbar: Crossbar, verb: str) -> None:
    """Raises `ValueError` for an array with nonlinear cells or readouts, which has no matrix."""
    require_crossbar(crossbar)
    if not crossbar.cell.is_linear:
        raise ValueError(
            f"{verb} needs linear cells, and {type(crossbar.cell).__name__} is not, so no"
            " matrix describes the array: use jax.vmap(read) for many inputs, or jax.jacobian of a"
            " read."
        )
    require_linear(crossbar.readout, verb)
