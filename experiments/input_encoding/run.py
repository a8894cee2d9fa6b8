"""Errors and costs of input encodings.

    python -m experiments.input_encoding.run

A number of 6 bits is applied to a word line as one voltage, as slices of bits, as a pulse whose
length is the number, or as a number of pulses. In a linear array all of them give the same product.
They differ in three ways:

1. Nonlinear cells: `I = (G / b) sinh(b v)` distorts a number encoded as a voltage, but only scales
   voltages that are on or off.
2. Conversion: the outputs of slices are converted one by one, and their rounding errors add up with
   the weights of the slices; pulses are converted once, after an integrator has summed them.
3. Time, and the number of conversions.

Errors are errors of products, after a gain and an offset per column that are fitted on half of the
inputs and tested on the other half, relative to the rms of the products.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import xbarjax as xb
from xbarjax import encoding

from ..common import keep

HERE = Path(__file__).parent
N, BITS, V_MAX, R_WIRE = 32, 6, 0.4, 0.3
BS = (0.0, 0.5, 1.0, 2.0, 4.0)  # [1/V] b of the sinh cells
ADC_BITS = (4, 6, 8, 10)
INPUTS, SEED = 64, 0

ENCODINGS: dict[str, Any] = {
    "amplitude": lambda x: encoding.amplitude(x, encoding.Dac(BITS, V_MAX)),
    "slices of 2 bits": lambda x: encoding.sliced(x, V_MAX, BITS, (2, 2, 2)),
    "slices of 1 bit": lambda x: encoding.sliced(x, V_MAX, BITS, (1,) * BITS),
    "pulse width": lambda x: encoding.pulse_width(x, V_MAX, BITS),
    "pulse number": lambda x: encoding.pulse_number(x, V_MAX, BITS),
}
INTEGRATED = ("pulse width", "pulse number")  # summed before conversion


def data() -> tuple[Any, Any]:
    random = np.random.default_rng(SEED)
    g = jnp.asarray(random.uniform(1e-6, 1e-4, (N, N)))
    return g, jnp.asarray(random.uniform(0, 1, (INPUTS, N)))


@eqx.filter_jit
def outputs(crossbar: xb.Crossbar, kind: str, x: Any) -> tuple[Any, Any]:
    """Output currents [A] of all phases of all inputs, `(inputs, phases, cols)`, and the weights of
    the phases."""

    def one(x):
        phases = ENCODINGS[kind](x)
        if crossbar.cell.is_linear:
            return phases.v @ effective, phases.weight
        return lax.map(lambda v: xb.read(crossbar, v).i_out, phases.v), phases.weight

    effective = xb.transfer(crossbar) if crossbar.cell.is_linear else None
    i, weights = lax.map(one, x)
    return i, weights[0]


def error(products: Any, want: Any) -> float:
    """Relative error of products after a gain and an offset per column, on the held-out half."""
    half = INPUTS // 2
    fit = xb.calibrate(products[:half], want[:half])
    missed = fit(products[half:]) - want[half:]
    return float(jnp.linalg.norm(missed) / jnp.linalg.norm(want[half:]))


def run(console: Console) -> dict[str, Any]:
    g, x = data()
    code = jnp.round((2**BITS - 1) * x) / (2**BITS - 1)
    want = V_MAX * code @ g
    bent, rounded, took = [], [], {}
    for kind in ENCODINGS:
        for b in BS:
            crossbar = xb.Crossbar(xb.Sinh(g, b) if b else xb.Ohmic(g), xb.Wires(R_WIRE, R_WIRE))
            i, weight = outputs(crossbar, kind, x)
            product = jnp.einsum("p,npc->nc", weight, i)
            bent.append({"encoding": kind, "b": b, "error": error(product, want)})
            if b:
                continue
            once = kind in INTEGRATED
            took[kind] = {"slot": int(weight.size), "conversion": 1 if once else int(weight.size)}
            for bits in ADC_BITS:
                adc = xb.Adc(bits, 0.0, jnp.max(product if once else i))
                coded = adc(product) if once else jnp.einsum("p,npc->nc", weight, adc(i))
                rounded.append({"encoding": kind, "bits": bits, "error": error(coded, want)})
        console.print(f"{kind}: done")
    return {"nonlinear": bent, "converters": rounded, "took": took}


def show(result: dict, console: Console) -> None:
    parts = (
        ("nonlinear", "cells, (G / b) sinh(b v), b in 1/V", [f"b = {b:g}" for b in BS]),
        ("converters", "converters, linear cells", [f"{bits} bits" for bits in ADC_BITS]),
    )
    for part, title, columns in parts:
        table = Table(title=f"Error of products by {title}")
        for name in ("encoding", *columns):
            table.add_column(name, justify="right", no_wrap=True)
        for kind in ENCODINGS:
            errors = (f"{row['error']:.1e}" for row in result[part] if row["encoding"] == kind)
            table.add_row(kind, *errors)
        console.print(table)


def draw(result: dict) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    styles = ("o-", "v--", "^-.", "s:", "D-")
    for kind, style in zip(ENCODINGS, styles):
        counts = (f"{n} {what}{'s' * (n > 1)}" for what, n in result["took"][kind].items())
        label = f"{kind}: {', '.join(counts)}"
        of = lambda part, x, kind=kind: [
            (row[x], 100 * row["error"]) for row in result[part] if row["encoding"] == kind
        ]
        left.semilogy(*zip(*of("nonlinear", "b")), style, color="0.1", ms=5, mfc="w", label=label)
        right.semilogy(*zip(*of("converters", "bits")), style, color="0.1", ms=5, mfc="w")
    left.set_xlabel("nonlinearity of the cells b [1/V]")
    left.set_ylabel("error of products [% of their rms]")
    right.set_xlabel("bits of the output converter, linear cells")
    right.set_xticks(ADC_BITS)
    figure.legend(fontsize=7, loc="outside right")
    return figure


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    console, start = Console(), time.perf_counter()
    result = run(console)
    result["given"] = {
        "rows": N,
        "cols": N,
        "g_siemens": "uniform in 1e-6 to 1e-4",
        "bits": BITS,
        "v_max_volt": V_MAX,
        "wire_ohm": R_WIRE,
        "inputs": INPUTS,
        "seed": SEED,
    }
    show(result, console)
    console.print(keep(HERE, result, draw(result), start))


if __name__ == "__main__":
    main()
