"""Netlist elements of the readouts."""

import functools
from typing import NamedTuple

from ..readout import AbstractReadout, Tia
from .elements import GROUND, constant


class Input(NamedTuple):
    """The input of a readout as netlist elements."""

    r: float  # series resistance [ohm] before node `col_k`
    lines: list[str]  # elements from node `col_k` to ground; `v_col_k` carries the input current


@functools.singledispatch
def sense(readout: AbstractReadout, k: int, v: float, r: float) -> Input:
    """The input of the readout of column `k`, whose parameters are Python floats. By default it is
    a voltage source `v` [V] behind a resistance `r` [ohm]; other readout classes register their
    own."""
    del readout
    return Input(r, [f"v_col_{k} col_{k} {GROUND} {v!r}"])


@sense.register
def _(readout: Tia, k: int, v: float, r: float) -> Input:
    if r == 0 or readout.gain == float("inf"):
        return Input(r, [f"v_col_{k} col_{k} {GROUND} {v!r}"])
    gain, v_plus = constant(readout.gain), constant(v * (1 + 1 / readout.gain))
    v_out = f"{gain}*({v_plus}-V(neg_{k}))"
    if readout.v_low is not None and readout.v_high is not None:
        center = constant((readout.v_high + readout.v_low) / 2)
        half = constant((readout.v_high - readout.v_low) / 2)
        v_out = f"{center}+{half}*tanh(({v_out}-{center})/{half})"
    return Input(
        0.0,
        [
            f"v_col_{k} col_{k} neg_{k} 0",
            f"r_f_{k} neg_{k} amp_{k} {readout.r_f!r}",
            f"b_amp_{k} amp_{k} {GROUND} V={v_out}",
        ],
    )
