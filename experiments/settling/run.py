"""Settling time of an array over size, bits and amplifier bandwidth.

    python -m experiments.settling.run

Arrays have conductances uniform in 1 to 100 uS, 0.5 fF of capacitance to ground at every node of
both line families (wires and devices), and inputs uniform in 0 to 0.2 V. The settling time is
counted from the beginning of an edge of 1 ps until the slowest output stays within half a step of
`b` bits of the largest output. Three sweeps:

- size, for wires of 0.5, 2.5 and 10 ohm and drivers of 50 ohm and 1 kohm, sensed at 100 ohm;
- bits, compared with the estimate by the slowest mode alone, `(b + 1) ln 2` of its time constants;
- bandwidth of an amplifier of 1 kohm, with a feedback capacitor `sqrt(C / (pi r_f gbw))` for the
  capacitance `C` of a line.
"""

import math
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

import xbarjax as xb

from ..common import keep

HERE = Path(__file__).parent
SIZES = (16, 32, 64, 128)
R_WIRES = (0.5, 2.5, 10.0)  # [ohm per segment]
R_SOURCES = (50.0, 1000.0)  # [ohm]
BITS = (2, 4, 6, 8, 10)
BANDWIDTHS = (1e9, 3e9, 1e10, 3e10, 1e11, 1e12)  # [Hz] gain-bandwidth products
C, R_IN, R_F, GAIN, EDGE = 0.5e-15, 100.0, 1e3, 1e4, 1e-12
SEED = 0


def array(n: int, r: float, r_source: float, readout: Any = None) -> tuple[xb.Crossbar, Any]:
    random = np.random.default_rng(SEED)
    g = jnp.asarray(random.uniform(1e-6, 1e-4, (n, n)))
    wires = xb.Wires(r, r, c_row=C, c_col=C)
    readout = xb.VirtualGround(R_IN) if readout is None else readout
    return xb.Crossbar(xb.Ohmic(g), wires, xb.Drive(r_source), readout), random.uniform(0, 0.2, n)


def settled(x: xb.Crossbar, v: Any, bits: int, until: float) -> float:
    """Settling time [s] of the slowest output."""
    times = xb.settling_time(x, v, bits, edge=EDGE, until=until, max_steps=8192)
    found = float(jnp.max(times))
    assert math.isfinite(found), f"not settled within {until} s"
    return found


def main() -> None:
    console, began = Console(), time.perf_counter()
    sizes = []
    for n in SIZES:
        for r in R_WIRES:
            for r_source in R_SOURCES:
                x, v = array(n, r, r_source)
                tau = float(xb.slowest_mode(x))
                row = {"n": n, "r": r, "r_source": r_source, "slowest_s": tau}
                row["delay_s"] = float(jnp.max(xb.elmore_delay(x, v)))
                row["elmore_s"] = (r_source + r) * n * C + r * C * n * (n - 1) / 2
                row["settled_s"] = settled(x, v, 8, EDGE + 12 * tau)
                sizes.append(row)
        console.print(f"sizes, {n} x {n}: done")
    x, v = array(64, 2.5, 50.0)
    tau = float(xb.slowest_mode(x))
    bits = [{"bits": b, "settled_s": settled(x, v, b, EDGE + 12 * tau)} for b in BITS]
    for row in bits:
        row["slowest_mode_s"] = EDGE + (row["bits"] + 1) * math.log(2) * tau
    console.print("bits: done")
    amplifiers = []
    for gbw in BANDWIDTHS:
        c_f = math.sqrt(64 * C / (math.pi * R_F * gbw))
        x, v = array(64, 2.5, 50.0, xb.Tia(R_F, GAIN, gbw=gbw, c_f=c_f))
        until = EDGE + 30 * (R_F * c_f + 1 / (2 * math.pi * gbw)) + 20 * tau
        amplifiers.append({"gbw": gbw, "c_f": c_f, "settled_s": settled(x, v, 8, until)})
    result = {"sizes": sizes, "bits": bits, "amplifiers": amplifiers}
    console.print(keep(HERE, result, draw(result), began))
    for row in [*sizes, *bits, *amplifiers]:
        console.print("  ", *(f"{k} {x:.4g}" for k, x in row.items()))


def draw(result: dict[str, Any]) -> Figure:
    figure = Figure((11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    marks = {0.5: "o", 2.5: "s", 10.0: "^"}
    for r in R_WIRES:
        for r_source in R_SOURCES:
            rows = [x for x in result["sizes"] if (x["r"], x["r_source"]) == (r, r_source)]
            n, t = ([x[k] for x in rows] for k in ("n", "settled_s"))
            style = {"ls": "-", "c": "black"} if r_source == 50.0 else {"ls": "--", "c": "0.55"}
            label = f"{r:g} ohm, driver {r_source:g} ohm"
            left.loglog(n, np.array(t) * 1e12, marker=marks[r], label=label, **style)
    left.set(xlabel="rows = columns", ylabel="settling time, 8 bits [ps]", xticks=SIZES)
    left.set_xticklabels(map(str, SIZES))
    left.minorticks_off()
    left.legend(fontsize=7)
    at = [x["bits"] for x in result["bits"]]
    for key, label, style in (
        ("settled_s", "simulated in time", "o-k"),
        ("slowest_mode_s", "edge and (b + 1) ln 2 slowest time constants", "--k"),
    ):
        middle.plot(at, [x[key] * 1e12 for x in result["bits"]], style, label=label)
    middle.set(xlabel="bits", ylabel="settling time, 64 x 64 [ps]", ylim=(0, None))
    middle.legend(fontsize=7)
    at = [x["gbw"] * 1e-9 for x in result["amplifiers"]]
    right.loglog(at, [x["settled_s"] * 1e12 for x in result["amplifiers"]], "o-k")
    right.set(xlabel="gain-bandwidth product [GHz]", ylabel="settling time, 8 bits [ps]")
    for ax in (left, middle, right):
        ax.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    import jax

    jax.config.update("jax_enable_x64", True)
    main()
