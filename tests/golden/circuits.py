"""Loops of crossbars and amplifiers that solve linear systems.

Amplifiers drive the word lines until the bit lines' currents balance those of sources: the inverse
of a matrix. Of a signed matrix a second array subtracts. Its word lines are driven by inverters,
or, in a balanced loop, by a second half with the same arrays and amplifiers. An amplifier is an E
source, or with a swing a B source `h tanh(A (v + offset) / h)`, whose gain a sweep raises from e^-9
times to what it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .suite import Array, Family, ammeter, number, operating_point, rounded, solve, source

# name: size, seed, and what it has: "signed", "balanced", "offset", "swing".
CIRCUITS: dict[str, tuple[int, int, str]] = {
    f"{kind.replace(' ', '_') or 'inverse'}_{n}": (n, 200 + 10 * k + n, kind)
    for k, kind in enumerate(
        ("", "signed", "offset", "swing", "signed offset swing", "balanced offset swing")
    )
    for n in (4, 8, 16)
}


def inputs(name: str) -> dict[str, Any]:
    """Conductances "g" [S], one array or two, `(arrays, n, n)`; "r_row", "r_col" [ohm], from the
    amplifiers on and to the summing nodes; "gain", "offset" [V], "swing" [V] (None: unlimited) and
    "i" [A] per column; "r_inverter" [ohm] (None: a balanced loop)."""
    n, seed, kind = CIRCUITS[name]
    rng = np.random.default_rng(seed)
    arrays = 2 if "signed" in kind or "balanced" in kind else 1
    g = rng.uniform(1e-6, 2e-5, (arrays, n, n))
    g[0] += np.diag(rng.uniform(1e-4, 2e-4, n)) * n / 4
    swing = None
    if "swing" in kind:
        swing = {4: 0.1, 8: 0.05, 16: 0.025}[n]
    return {
        "g": rounded(g, 6),
        "r_row": rounded(rng.uniform(0.5, 5, (n, n)), 6),
        "r_col": rounded(rng.uniform(0.5, 5, (n, n)), 6),
        "gain": rounded(rng.uniform(1e3, 1e4, n), 6),
        "offset": rounded(rng.uniform(-5e-3, 5e-3, n) * ("offset" in kind), 6),
        "swing": swing,
        "i": rounded(rng.uniform(-3e-5, 3e-5, n), 6),
        "r_inverter": None if "balanced" in kind else 1e4,
    }


def netlist(x: dict[str, Any]) -> str:
    """Summing nodes are e{j}, outputs x{i} and, of inverters or of the second half, y{i}. The
    second half has the summing nodes d{j}."""
    arrays, n, _ = np.shape(x["g"])
    balanced = x["r_inverter"] is None
    products = [(0, "x", "e"), (1, "y", "e")][:arrays]  # the array, its inputs, its outputs
    if balanced:
        products += [(0, "y", "d"), (1, "x", "d")]
    lines = []

    def amplifier(tag: str, minus: str, out: str, gain: float, offset: float) -> None:
        if x["swing"] is None:
            lines.append(source(f"o{tag}", f"p{tag}", offset))
            lines.append(f"e{tag} {out} 0 p{tag} {minus} {number(gain)}")
            return
        h, x_ = number(x["swing"]), f"({number(offset)}-v({minus}))"
        lines.append(f"b{tag} {out} 0 v={h}*tanh({number(gain)}*exp(v(ramp))*{x_}/{h})")

    for k, (of, drive, end) in enumerate(products):
        for i in range(n):
            for j in range(n):
                before = f"w{k}_{i}_{j - 1}" if j else f"{drive}{i}"
                after = f"b{k}_{i + 1}_{j}" if i + 1 < n else f"{end}{j}"
                r, c, g = x["r_row"][i, j], x["r_col"][i, j], x["g"][of, i, j]
                lines.append(f"rr{k}_{i}_{j} {before} w{k}_{i}_{j} {number(r)}")
                lines.append(f"rc{k}_{i}_{j} b{k}_{i}_{j} {after} {number(c)}")
                lines.append(f"rg{k}_{i}_{j} w{k}_{i}_{j} b{k}_{i}_{j} {number(1 / g)}")
    for j in range(n):
        amplifier(f"a{j}", f"e{j}", f"o{j}", x["gain"][j], x["offset"][j])
        lines.append(ammeter(f"x{j}", f"o{j}", f"x{j}"))
        lines.append(f"i{j} {f'd{j}' if balanced else 0} e{j} {number(x['i'][j])}")
        if balanced:
            amplifier(f"d{j}", f"d{j}", f"y{j}", x["gain"][j], x["offset"][j])
        elif arrays == 2:
            r = number(x["r_inverter"])
            lines += [f"rf{j} x{j} m{j} {r}", f"rb{j} m{j} y{j} {r}"]
            amplifier(f"i{j}", f"m{j}", f"y{j}", x["gain"][j], 0.0)
    if x["swing"] is None:
        return operating_point(lines)
    return operating_point([*lines, source("ramp", "ramp", 0.0)], "dc vramp -9 0 0.05")


def simulate(x: dict[str, Any]) -> dict[str, Array]:
    """Voltages [V] of outputs "x" and of summing nodes "e", and currents [A] "i" that amplifiers
    deliver."""
    n, value = len(x["i"]), solve(netlist(x))
    of = lambda form: np.array([value[form.format(k)] for k in range(n)])
    return {"x": of("v(x{})"), "e": of("v(e{})"), "i": of("i(vx{})")}


LOOPS = Family("circuits", CIRCUITS, inputs, simulate)
