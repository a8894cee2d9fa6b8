"""Judged voltages and currents of a circuit, and the `Solution` that an analysis returns."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from .._types import PerCell, PerColSegment, PerRowSegment, Scalar
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.circuit import Circuit, sensed, terminal_current
from ..kirchhoff.islands import Undetermined
from ..kirchhoff.judgement import judged, status, status_of
from ..kirchhoff.solution import Faults, Solution
from .operating_point import Point, Prepared, linear_point


class Answer(NamedTuple):
    """Voltages, currents and status of a solved circuit."""

    drop_row: PerCell  # [V]
    i_row: PerRowSegment  # [A]
    drop_col: PerCell  # [V]
    i_col: PerColSegment  # [A]
    i_cell: PerCell  # [A]
    undetermined: Undetermined
    residual: Scalar  # [A], the largest violation of Kirchhoff's current law
    status: Int[Array, ""]
    num_steps: Int[Array, ""]
    newton_steps: Int[Array, ""]
    faults: Faults | None  # None for linear cells


def answer_of(circuit: Circuit, point: Point) -> Answer:
    """Judged voltages and currents of a circuit at an operating point."""
    network, x, cut = point.network, point.x, point.undetermined
    rounding = point.rest, point.error
    said = judged(circuit, network, x, point.left, *rounding, of_vector=point.of_vector)
    cuts = cut.row, cut.col, cut.row_split, cut.col_split
    return Answer(
        x.row,
        network.i_row(x),
        x.col,
        network.i_col(x),
        point.i_cell,
        Undetermined(*cuts, said.split, said.lost),
        said.residual,
        said.status | status(point.flags),
        point.num_steps,
        point.newton_steps,
        point.faults,
    )


def solution_by(crossbar: Crossbar, bias: Bias, circuit: Circuit, prepared: Prepared) -> Solution:
    """The solution of a circuit of linear cells with a prepared network."""
    point = linear_point(circuit, prepared)
    return solution_of(crossbar, bias, circuit, answer_of(circuit, point))


def solution_of(crossbar: Crossbar, bias: Bias, circuit: Circuit, found: Answer) -> Solution:
    """The `Solution` of a solved circuit, with its outputs and its status."""
    i_out, v_col = jnp.sum(found.i_cell, axis=0), circuit.reference.v_col
    v_sense = sensed(crossbar, bias, found.i_col[-1], v_col + found.drop_col[-1])
    return Solution(
        drop_row=found.drop_row,
        drop_col=found.drop_col,
        i_cell=found.i_cell,
        i_row_segments=found.i_row,
        i_col_segments=found.i_col,
        v_row_reference=circuit.reference.v_row,
        v_col_reference=v_col,
        bias=bias,
        v_sense=v_sense,
        output=crossbar.readout.output(i_out, v_sense).astype(found.drop_col.dtype),
        undetermined=found.undetermined,
        residual=found.residual,
        status=status_of(crossbar, bias, found.undetermined, found.status),
        num_steps=found.num_steps,
        newton_steps=found.newton_steps,
        faults=found.faults,
        i_strap_row=terminal_current(circuit.branches_row, found.drop_row),
        i_strap_col=terminal_current(circuit.branches_col, found.drop_col),
        parallel=circuit.parallel,
    )
