"""Chips for identification: many reads of one crossbar, whose currents at the drivers and at the
sense ends are what an instrument would see. Noise and converters are added where they are read.

A chip has parasitics that no model of a few numbers has. Every wire segment has a resistance of its
own, and so has the contact of every driver; in the chip of nonlinear cells every cell has a contact
of its own too. The netlists are those of devices.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import hadamard

from . import devices
from .suite import Array, Family, collect, rounded, solve

# name: rows and columns, seed, and for each set of reads its voltage [V] and gate voltage [V].
CIRCUITS: dict[str, tuple[int, int, list[tuple[float, float | None]]]] = {
    "ohmic": (16, 1, [(0.2, None)]),
    "sinh": (8, 2, [(0.1, None), (0.5, None)]),
    "transistors": (8, 3, [(0.1, 1.8), (0.4, 1.2)]),
}
SPREAD = 0.1  # of wire segments and of contacts of cells, relative


def inputs(name: str) -> dict[str, Any]:
    """The chip and its reads. "cell" is as in devices.py, without gate voltages; "r_row" and
    "r_col" (rows, cols) are segments towards the driver and towards the sense end, "r_contact"
    (rows,) contacts of the drivers; there is nothing at the far ends. "v_row" (reads, rows) and
    "v_col" (reads, cols) are the voltages of drivers and of sense ends, "v_gate" (reads,) those of
    all gates, or None.

    In each set of reads first the rows have plus or minus one voltage, as in the rows of a Hadamard
    matrix with random signs per line, while the columns are at 0 V; then the columns."""
    n, seed, sets = CIRCUITS[name]
    rng = np.random.default_rng(seed)

    def around(mean: float, *shape: int) -> Array:
        return rounded(mean * (1 + SPREAD * rng.standard_normal(shape)), 6)

    g = rounded(rng.uniform(1e-6, 1e-4, (n, n)), 6)
    cell: dict[str, Any] = {"kind": "ohmic", "g": g}
    if name == "sinh":
        contact = {"kind": "ohmic", "g": around(1 / 500, n, n)}
        cell = {"kind": "series", "a": contact, "b": {"kind": "sinh", "g": g, "b": 3.0}}
    elif name == "transistors":
        # 1 um / 0.18 um, as in devices.py
        fet = {"kind": "level1", "beta": 1.11111e-3, "v_t": 0.45, "lam": 0.05}
        cell = {"kind": "series", "a": fet | {"gamma": 0.45, "phi": 0.8}, "b": cell}
    chip = {"r_row": around(1.0, n, n), "r_col": around(1.5, n, n)}
    chip["r_contact"] = rounded(rng.uniform(5, 15, n), 6)
    v_row, v_col, v_gate = [], [], []
    for v, gate in sets:
        for side in (v_row, v_col):
            side.append(v * hadamard(n) * rng.choice([-1.0, 1.0], n))
            (v_col if side is v_row else v_row).append(np.zeros((n, n)))
            v_gate += n * [gate]
    reads = {"v_row": np.concatenate(v_row), "v_col": np.concatenate(v_col)}
    gates = None if None in v_gate else np.array(v_gate)
    return {"cell": cell, **chip, **reads, "v_gate": gates}


def of_read(x: dict[str, Any], read: int) -> dict[str, Any]:
    """The chip in one read, as a circuit of devices.py."""
    rows, cols = x["r_row"].shape
    r_row = np.hstack([x["r_row"], np.full((rows, 1), np.inf)])
    r_row[:, 0] += x["r_contact"]
    cell = x["cell"]
    if x["v_gate"] is not None:
        cell = cell | {"a": cell["a"] | {"v_gate": float(x["v_gate"][read])}}
    return {
        "along": False,
        "cell": cell,
        "r_row": r_row,
        "r_col": np.vstack([np.full((1, cols), np.inf), x["r_col"]]),
        "v_row_near": x["v_row"][read],
        "v_row_far": x["v_row"][read],
        "v_col_near": x["v_col"][read],
        "v_col_far": x["v_col"][read],
    }


def simulate(x: dict[str, Any]) -> dict[str, Array]:
    """Currents [A] out of the drivers and into the sense ends, (reads, lines), checked by
    Kirchhoff's law of the whole array."""
    rows, cols = x["r_row"].shape
    i_in, i_out = [], []
    for read in range(len(x["v_row"])):
        value = solve(devices.netlist(of_read(x, read)))
        i_in.append(collect(value, "i(vr{}_0)", rows, 1)[:, 0])
        i_out.append(collect(value, f"i(vc{{1}}_{rows})", 1, cols)[0])
        if abs(i_in[-1].sum() - i_out[-1].sum()) > 1e-12 * np.abs(i_out[-1]).max():
            raise RuntimeError("the currents into and out of the array do not balance")
    return {"i_in": rounded(i_in, 15), "i_out": rounded(i_out, 15)}


CHIPS = Family("chips", CIRCUITS, inputs, simulate)
