"""Crossbars with amplifiers, floating bit lines, straps and 2T2R cells.

The arrays are those of devices.py, whose netlists are changed here, line by line: what stood at
the sense end of a bit line gives way to an amplifier or to nothing, and straps are resistors more.
An amplifier is its equations, a B source `A (v_plus - v)` or `c + h tanh((A (v_plus - v) - c) / h)`
with a feedback resistor, never an equivalent. From zero, ngspice does not find the operating point
of amplifiers that saturate: it is led there by a sweep that raises their gain, from e^-9 times to
what it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import devices
from .suite import Array, Family, collect, number, operating_point, rounded, solve, source

# name: array as in devices.py, and what is changed.
#   "tia": amplifiers of random gain, feedback and offset; "clamp": with a swing so narrow that some
#   of them saturate; "float": no sense; "load": resistors in its place; "taps": straps at random
#   nodes; "pairs": rows two by two at opposite voltages, with ideal wire between the two.
CIRCUITS: dict[str, tuple[tuple[str, int, int, int, str], str]] = {
    "tia": (("ohmic", 8, 8, 101, "-0.2..0.2"), "tia"),
    "tia_32": (("ohmic", 32, 32, 102, "-0.2..0.2"), "tia"),
    "tia_sinh": (("sinh", 8, 8, 103, "-1..1"), "tia"),
    "clamp": (("ohmic", 8, 8, 104, "-0.2..0.2"), "tia clamp"),
    "clamp_32": (("ohmic", 32, 32, 105, "-0.2..0.2"), "tia clamp"),
    "clamp_sinh": (("sinh", 8, 8, 106, "-1..1"), "tia clamp"),
    "clamp_ekv": (("ekv_row some_off", 8, 8, 107, "0..0.3"), "tia clamp"),
    "clamp_along": (("ekv_col", 8, 8, 108, "along 0.15..0.25"), "tia clamp"),
    "clamp_taps": (("ohmic", 9, 6, 109, "-0.2..0.2"), "tia clamp taps_row"),
    "float": (("ohmic", 8, 8, 110, "-0.2..0.2"), "float"),
    "float_32": (("ohmic", 32, 32, 111, "-0.2..0.2"), "float"),
    "float_sinh": (("sinh", 8, 8, 112, "-1..1"), "float"),
    "load": (("ohmic", 8, 8, 113, "-0.2..0.2"), "load"),
    "taps_row": (("ohmic", 8, 8, 114, "-0.2..0.2"), "taps_row"),
    "taps_col": (("ohmic", 8, 8, 115, "-0.2..0.2"), "taps_col"),
    "taps_32": (("ohmic", 32, 32, 116, "-0.2..0.2"), "taps_row taps_col"),
    "taps_sinh": (("sinh", 7, 9, 117, "-1..1 wires"), "taps_row taps_col"),
    "taps_along": (("ekv_row", 8, 8, 118, "along 0.15..0.25"), "taps_row taps_col"),
    "pairs": (("ohmic", 16, 8, 119, "-0.2..0.2"), "pairs"),
    "pairs_32": (("ohmic", 32, 32, 120, "-0.2..0.2"), "pairs"),
    "pairs_ekv": (("ekv_row", 8, 8, 121, "0..0.3"), "pairs"),
}


def inputs(name: str) -> dict[str, Any]:
    """Those of devices.py, and "tia": "r_f", "gain", "v_plus", "v_low" and "v_high" (columns
    each), "r_tap_row" and "r_tap_col" (rows, cols), from nodes to near terminals; None or inf where
    there is none."""
    array, change = CIRCUITS[name]
    x = devices.circuit(*array)
    changes = change.split()
    rows, cols = x["r_col"].shape[0] - 1, x["r_col"].shape[1]
    rng = np.random.default_rng(array[3] + 1000)
    uniform = lambda low, high, shape: rounded(rng.uniform(low, high, shape), 6)
    x |= {"tia": None, "r_tap_row": None, "r_tap_col": None}
    if "tia" in changes:
        largest = 0.2 if "ohmic" in array[0] else 1.0
        tia = {"r_f": uniform(1e3, 5e3, cols), "gain": uniform(1e2, 1e4, cols)}
        tia |= {"v_plus": uniform(-5e-3, 5e-3, cols), "v_low": None, "v_high": None}
        if "clamp" in changes:
            tia["v_high"] = uniform(0.05, 0.2, cols) * largest
            tia["v_low"] = -uniform(0.05, 0.2, cols) * largest
        x["tia"] = tia
        x["r_col"][-1] -= 100.0  # no more resistance than the lead-out's
        x["r_col"] = rounded(x["r_col"], 6)
    if "float" in changes:
        x["r_col"][-1] = np.inf
    if "load" in changes:
        x["r_col"][-1] += uniform(1e4, 1e6, cols)
    for key in ("row", "col"):
        if f"taps_{key}" in changes:
            r = uniform(0.5, 20, (rows, cols))
            x[f"r_tap_{key}"] = np.where(rng.random((rows, cols)) < 0.15, r, np.inf)
    if "pairs" in changes:
        x["v_row_near"][1::2] = -x["v_row_near"][::2]
        x["v_row_far"] = x["v_row_near"]
        x["r_col"][1:-1:2] = 0.0
    return x


def netlist(x: dict[str, Any]) -> str:
    """That of devices.py, with `o{j}` the output of amplifier j."""
    lines = devices.elements(x)
    for j in range(x["r_col"].shape[1]) if x["tia"] else ():
        value: dict[str, Any] = {k: None if v is None else float(v[j]) for k, v in x["tia"].items()}
        lines.remove(source(f"_n{j}", f"n{j}", x["v_col_near"][j]))
        v_out = f"({number(value['gain'])})*(({number(value['v_plus'])})-V(n{j}))"
        if value["v_low"] is not None and value["v_high"] is not None:
            center = (value["v_high"] + value["v_low"]) / 2
            half = (value["v_high"] - value["v_low"]) / 2
            # ngspice rounds constants of B sources to 11 digits; a sum of two has more
            c, h = (f"({f:.9f}+({y - f:.10e}))" for y in (center, half) for f in (round(y, 9),))
            v_out = f"{c}+{h}*tanh(({v_out}*exp(9*(V(slow)-1))-{c})/{h})"
        lines += [f"ramp{j} n{j} o{j} {number(value['r_f'])}", f"bamp{j} o{j} 0 V={v_out}"]
    for key, node, end in (("row", "w", "s"), ("col", "b", "n")):
        if x[f"r_tap_{key}"] is not None:
            for (i, j), r in np.ndenumerate(x[f"r_tap_{key}"]):
                line = j if key == "col" or x["along"] else i
                if r < np.inf:
                    lines.append(f"rtap{node}{i}_{j} {node}{i}_{j} {end}{line} {number(r)}")
    if x["tia"] and x["tia"]["v_low"] is not None:
        return operating_point([*lines, source("slow", "slow", 0)], "dc vslow 0 1 0.015625")
    return operating_point(lines)


def simulate(x: dict[str, Any]) -> dict[str, Array]:
    rows, cols = x["r_col"].shape[0] - 1, x["r_col"].shape[1]
    value = solve(netlist(x))
    outputs = {
        "v_row": collect(value, "v(w{}_{})", rows, cols),
        "v_col": collect(value, "v(b{}_{})", rows, cols),
        "i_out": collect(value, "i(vg{}_{})", rows, cols).sum(0),
    }
    if x["tia"]:
        outputs["output"] = collect(value, "v(o{1})", 1, cols)[0]
        outputs["v_sense"] = collect(value, "v(n{1})", 1, cols)[0]
    return {k: rounded(v, 15) for k, v in outputs.items()}


READOUTS = Family("readouts", CIRCUITS, inputs, simulate)
