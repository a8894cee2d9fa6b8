"""Errors of pulse-width encoding by the capacitance of lines.

    python -m experiments.pwm_distortion.run

Arrays are 32 x 32, with 2.5 ohm and 0.5 fF per segment, conductances uniform in 1 to 100 uS,
drivers of 200 ohm and sense inputs of 100 ohm. Codes have four bits at 0.2 V. The charge of a
column is that of the same array without capacitors, less the charge still in the array when the
window closes. Two results:

- the lost charge of a pulse over its position (the delay, by two solves per row, and simulated in
  time for some rows);
- the error of products, if the window closes at the last edge or eight of the slowest time
  constants later, for Ohmic cells and for `sinh` cells of 10 /V, whose mean current over an edge is
  not the current at the mean voltage.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

import xbarjax as xb

from ..common import keep

HERE = Path(__file__).parent
N, R, C, R_SOURCE, R_IN = 32, 2.5, 0.5e-15, 200.0, 100.0
V, BITS, EDGE, B = 0.2, 4, 2e-12, 10.0
LSBS = (4e-12, 10e-12, 30e-12, 100e-12, 300e-12)  # [s]
SEED = 0


def array(capacitors: bool, b: float) -> xb.Crossbar:
    g = jnp.asarray(np.random.default_rng(SEED).uniform(1e-6, 1e-4, (N, N)))
    c = C if capacitors else None
    cell = xb.Sinh(g, b) if b else xb.Ohmic(g)
    wires = xb.Wires(R, R, c_row=c, c_col=c)
    return xb.Crossbar(cell, wires, xb.Drive(R_SOURCE), xb.VirtualGround(R_IN))


def by_position(console: Console) -> dict[str, Any]:
    """Delays [s] of every input at every output, checked against simulated pulses of some rows."""
    x = array(True, 0.0)
    delays = jax.vmap(lambda v: xb.elmore_delay(x, v))(V * jnp.eye(N))
    width, checks = 100e-12, []
    for row in (0, N // 2, N - 1):
        v = V * jnp.eye(N)[row]
        wave = xb.waveform.step(v, EDGE)
        ts = np.array([0.0, width])
        s = xb.simulate(x, wave, ts, rtol=1e-6, max_steps=4096)
        i = xb.read(x, v).i_out
        lacks = (i * (width - EDGE / 2) - s.q_out[-1]) / i
        worst = float(jnp.max(jnp.abs(lacks - delays[row])) / jnp.max(delays))
        checks.append({"row": row, "error": worst})
        assert worst < 2e-2, worst
    console.print("by position: done")
    return {"delays_s": delays, "checks": checks}


def charges(x: xb.Crossbar, wave: xb.Waveform, ts: Any) -> Any:
    return xb.simulate(x, wave, ts, rtol=1e-5, max_steps=8192).q_out


def products(console: Console) -> list[dict[str, Any]]:
    """Errors of products, relative to their rms."""
    codes = np.random.default_rng(SEED + 1).integers(0, 2**BITS, N)
    tau = float(xb.slowest_mode(array(True, 0.0)))
    rms = lambda x: float(jnp.sqrt(jnp.mean(x**2)))
    found = []
    for lsb in LSBS:
        wave = xb.waveform.pwm(codes, V, lsb, EDGE)
        last = float(np.max(codes)) * lsb + EDGE
        ts = np.array([0.0, last, last + 8 * tau])
        row: dict[str, Any] = {"lsb_s": lsb, "slowest_s": tau}
        for b, name in ((0.0, "ohmic"), (B, "sinh")):
            got, want = (charges(array(c, b), wave, ts) for c in (True, False))
            for k, window in ((1, "at the edge"), (2, "later")):
                row[f"{name}, {window}"] = rms(got[k] - want[k]) / rms(want[k])
        found.append(row)
        console.print(*(f"{k} {x:.3g}" for k, x in row.items()))
    return found


def draw(result: dict[str, Any]) -> Figure:
    figure = Figure((9.5, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = left.imshow(np.asarray(result["by_position"]["delays_s"]) * 1e12, cmap="Greys")
    figure.colorbar(image, label="delay: lost charge over current [ps]")
    left.set(xlabel="column of the output", ylabel="row of the input")
    styles = {"ohmic": "k", "sinh": "0.55"}
    for name, color in styles.items():
        for window, style in (("at the edge", "o-"), ("later", "s--")):
            y = [x[f"{name}, {window}"] for x in result["products"]]
            x = [x["lsb_s"] * 1e12 for x in result["products"]]
            right.loglog(x, y, style, color=color, label=f"{name}, window closes {window}")
    right.set(xlabel="pulse length per step of the code [ps]", ylabel="rms error of the charge")
    right.legend(fontsize=7)
    right.grid(alpha=0.3)
    return figure


def main() -> None:
    console, began = Console(), time.perf_counter()
    result = {"by_position": by_position(console), "products": products(console)}
    console.print(keep(HERE, result, draw(result), began))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
