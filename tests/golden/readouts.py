"""Write the golden circuits with amplifiers, floating bit lines, straps and 2T2R cells.

    cd tests && python -m golden.readouts            # all circuits
    cd tests && python -m golden.readouts tia taps   # those of these names

The arrays are those of golden.devices, whose netlists are changed here, line by line: what stood at
the sense end of a bit line gives way to an amplifier or to nothing, and straps are resistors more.
An amplifier is its equations, a B source `A (v_plus - v)` or `c + h tanh((A (v_plus - v) - c) / h)`
with a feedback resistor, never an equivalent. From zero, ngspice does not find the operating point
of amplifiers that saturate: it is led there by a sweep that raises their gain, from e^-9 times to
what it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden import devices
from golden.make import load as load, save, version

HERE = Path(__file__).with_suffix("")

# name: array as in golden.devices, and what is changed.
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
    """Those of golden.devices, and "tia": "r_f", "gain", "v_plus", "v_low" and "v_high" (columns
    each), "r_tap_row" and "r_tap_col" (rows, cols), from nodes to near terminals; None or inf where
    there is none."""
    array, change = CIRCUITS[name]
    x = devices.circuit(*array)
    changes = change.split()
    rows, cols = x["r_col"].shape[0] - 1, x["r_col"].shape[1]
    rng = np.random.default_rng(array[3] + 1000)
    uniform = lambda low, high, shape: devices._round(rng.uniform(low, high, shape), 6)
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
        x["r_col"] = devices._round(x["r_col"], 6)
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
    """That of golden.devices, with `o{j}` the output of amplifier j."""
    lines = devices.netlist(x, "out.raw").splitlines()
    at = lines.index(".control")
    more: list[str] = []
    for j in range(x["r_col"].shape[1]) if x["tia"] else ():
        value = {k: None if v is None else float(v[j]) for k, v in x["tia"].items()}
        lines.remove(f"v_n{j} n{j} 0 {x['v_col_near'][j]:.17g}")
        at -= 1
        v_out = f"({value['gain']:.17g})*(({value['v_plus']:.17g})-V(n{j}))"
        if value["v_low"] is not None and value["v_high"] is not None:
            center = (value["v_high"] + value["v_low"]) / 2
            half = (value["v_high"] - value["v_low"]) / 2
            # ngspice rounds constants of B sources to 11 digits; a sum of two has more
            c, h = (f"({f:.9f}+({y - f:.10e}))" for y in (center, half) for f in (round(y, 9),))
            v_out = f"{c}+{h}*tanh(({v_out}*exp(9*(V(slow)-1))-{c})/{h})"
        more += [f"ramp{j} n{j} o{j} {value['r_f']:.17g}", f"bamp{j} o{j} 0 V={v_out}"]
    for key, node, end in (("row", "w", "s"), ("col", "b", "n")):
        if x[f"r_tap_{key}"] is not None:
            for (i, j), r in np.ndenumerate(x[f"r_tap_{key}"]):
                line = j if key == "col" or x["along"] else i
                if r < np.inf:
                    more.append(f"rtap{node}{i}_{j} {node}{i}_{j} {end}{line} {r:.17g}")
    if x["tia"] and x["tia"]["v_low"] is not None:
        lines[lines.index("op")] = "dc vslow 0 1 0.015625"
        more.append("vslow slow 0 0")
    return "\n".join([*lines[:at], *more, *lines[at:]]) + "\n"


def simulate(x: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    rows, cols = x["r_col"].shape[0] - 1, x["r_col"].shape[1]
    value = devices.run(netlist(x))
    each = lambda form: np.array(
        [[value[form.format(i, j)] for j in range(cols)] for i in range(rows)]
    )
    outputs = {"v_row": each("v(w{}_{})"), "v_col": each("v(b{}_{})")}
    outputs["i_out"] = each("i(vg{}_{})").sum(0)
    if x["tia"]:
        outputs["output"] = np.array([value[f"v(o{j})"] for j in range(cols)])
        outputs["v_sense"] = np.array([value[f"v(n{j})"] for j in range(cols)])
    return outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="circuits to write (default: all)")
    HERE.mkdir(exist_ok=True)
    for name in parser.parse_args().names or CIRCUITS:
        x = inputs(name)
        outputs = {k: devices._round(v, 15) for k, v in simulate(x).items()}
        record = {"name": name, "ngspice": version(), "inputs": x, "outputs": outputs}
        save(HERE / f"{name}.json", record)


if __name__ == "__main__":
    main()
