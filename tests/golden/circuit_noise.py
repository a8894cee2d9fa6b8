"""Noise of circuits of a crossbar and amplifiers of one pole, at some frequencies.

Resistors have the thermal noise of ngspice at 300 K. An amplifier is a transconductance into a
capacitor with a buffer behind it. The conductance beside the capacitor and the output resistance
are controlled sources, which have no noise. The noise of the input voltage is that of a resistor,
behind a buffer of its own.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from .suite import TEXT, Array, Family, deck, number, rounded, run

TOLERANCES = "reltol=1e-9 abstol=1e-18 vntol=1e-13 gmin=1e-20 temp=26.85"
UNIT = 1e-13  # [F]
FOUR_KT = 4 * 1.38064852e-23 * 300  # [J] with the constant of ngspice

# name: side, seed, and whether amplifiers have feedback of their own
CIRCUITS: dict[str, tuple[int, int, bool]] = {"inverse_3": (3, 401, False), "tia_3": (3, 402, True)}


def inputs(name: str) -> dict[str, Any]:
    """`g` [S], `r_row`, `r_col` [ohm] `(n, n)`; `gain`, `gbw` [Hz], `r_out` [ohm] and `e_n`
    [V/sqrt(Hz)] of amplifiers; with feedback `r_f` [ohm], `c_f` [F] and `r_source` [ohm]; `f` [Hz]:
    the points of the rule of Gauss in the logarithm of the frequency, from `f`[0] to `f`[-1]."""
    n, seed, fed = CIRCUITS[name]
    rng = np.random.default_rng(seed)
    uniform = lambda low, high, *shape: rounded(rng.uniform(low, high, shape), 6)
    x: dict[str, Any] = {"r_row": uniform(5, 50, n, n), "r_col": uniform(5, 50, n, n)}
    x["g"] = rounded(rng.uniform(1e-6, 2e-5, (n, n)) + np.diag(uniform(1e-4, 2e-4, n)), 6)
    x |= {"gain": uniform(500, 2000, n), "gbw": uniform(5e6, 2e7, n), "r_out": uniform(20, 100, n)}
    x |= {"e_n": uniform(1e-9, 5e-9, n), "band": np.array([1e4, 1e9])}
    if fed:
        x |= {"r_f": uniform(2e3, 8e3, n), "c_f": uniform(2e-12, 8e-12, n)}
        x["r_source"] = uniform(50, 500, n)
    nodes = np.polynomial.legendre.leggauss(8)[0]
    low, high = np.log(x["band"])
    x["f"] = rounded(np.exp(low + (high - low) * (1 + nodes) / 2), 12)
    return x


def netlist(x: dict[str, Any]) -> str:
    """Summing nodes are e{j}, rows x{i}, outputs x{j} or, with feedback, o{j}."""
    n = len(x["gain"])
    out = "o" if "r_f" in x else "x"
    lines: list[str] = []
    for i, j in np.ndindex(n, n):
        w, b = f"w{i}_{j}", f"b{i}_{j}"
        before = f"w{i}_{j - 1}" if j else f"x{i}"
        after = f"b{i + 1}_{j}" if i + 1 < n else f"e{j}"
        lines.append(f"rr{i}_{j} {before} {w} {number(x['r_row'][i, j])}")
        lines.append(f"rc{i}_{j} {b} {after} {number(x['r_col'][i, j])}")
        lines.append(f"rg{i}_{j} {w} {b} {number(1 / x['g'][i, j])}")
    for j in range(n):
        w = 2 * np.pi * x["gbw"][j]
        lines += [
            f"rn{j} n{j} 0 {number(x['e_n'][j] ** 2 / FOUR_KT)}",
            f"en{j} p{j} 0 n{j} 0 1",
            f"ga{j} 0 a{j} p{j} e{j} {number(w * UNIT)}",
            f"gl{j} a{j} 0 a{j} 0 {number(w * UNIT / x['gain'][j])}",
            f"ca{j} a{j} 0 {number(UNIT)}",
            f"ea{j} q{j} 0 a{j} 0 1",
            # of 1 A per V through its own voltage: a resistor without noise
            f"go{j} q{j} {out}{j} q{j} {out}{j} {number(1 / x['r_out'][j])}",
        ]
        if "r_f" in x:
            lines.append(f"rf{j} e{j} o{j} {number(x['r_f'][j])}")
            lines.append(f"cf{j} e{j} o{j} {number(x['c_f'][j])}")
            lines.append(f"rs{j} s0 x{j} {number(x['r_source'][j])}")
    lines.append("vs s0 0 dc 0 ac 1")
    lines += [] if "r_f" in x else ["rx s0 0 1"]
    asked = [
        command
        for f in x["f"]
        for j in range(n)
        for command in (
            f"noise v({out}{j}) vs lin 1 {number(f)} {number(f)}",
            f"wrdata {TEXT} onoise_spectrum",
        )
    ]
    settings = "set wr_singlescale", "set appendwrite", "set numdgt=15"
    return deck("noise", TOLERANCES, lines, *settings, *asked)


def simulate(x: dict[str, Any]) -> dict[str, Array]:
    """Density "density" [V^2/Hz] of the outputs at the frequencies, `(len(f), n)`."""
    table = np.loadtxt(io.BytesIO(run(netlist(x), TEXT)))
    density = table[:, 1].reshape(len(x["f"]), -1) ** 2
    if not (np.isfinite(density).all() and (density > 0).all()):
        raise RuntimeError("the noise of ngspice is not finite")
    return {"density": rounded(density, 12)}


CIRCUIT_NOISE = Family("circuit_noise", CIRCUITS, inputs, simulate)
