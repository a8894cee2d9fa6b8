"""Loops that solve linear systems: error over size, wires, gain and programming, with three ways to
program them; signed matrices with inverters and in balanced loops; and settling time over the
smallest eigenvalue.

    python -m experiments.closed_loops.run

A loop answers `x = -M^-T i`; `M` is the matrix that was meant, of two kinds: signed (a pair of
cells per weight, a unit diagonal, and normal weights beside it of deviation 0.4 / sqrt(n)) and
positive (one cell per weight, a unit diagonal, and uniform weights beside it up to 0.8 / sqrt(n)).
Cells have 1 to 100 uS, and the diagonal takes 0.8 of this range. Amplifiers have a gain of 1e4 and
10 MHz, wires 1 ohm per segment, where it is not said otherwise. `error` is the largest error of an
answer over 50 random inputs, relative to their largest answer; `response` is the error of the
matrix `dx/di`, relative, in the norm of Frobenius. Cells are programmed

- plain: as meant.
- bias: with one number, added to every cell that carries a weight, or multiplied with it: the
  better of the two, found by a search on the loop itself. Zhou, Long, Luo and Sun
  (arXiv:2511.09151) take more than half of the error off so, as their abstract says; how they apply
  the bias could not be verified, so that this is our reading of it.
- compensated: by `xb.compensate` of an `xb.InverseLoop`, with all column gains 1.

All these loops are stable (`growth` of the compensated ones is in the result). Uniform matrices,
whose cells have 1 to 80 uS all over, mean far more current and are less well conditioned. Loops
with them are not stable, but their operating point shows how far compensation goes.

Sweeps: size; wires, gain and errors of programming (normal, relative to the range; medians of five
draws) of the signed 32 x 32 loop; the part of the range for the diagonal of that loop, with column
gains of 1 and with free ones (gains of the inputs); and the settling time to 8 bits of symmetric
positive 8 x 8 loops against `9 ln 2 / (w lambda)`, with `w = 2 pi gbw` and `lambda` the smallest
eigenvalue of `U M`, `U` one over the conductance at each input.

Balanced loops (`r_inverter=None`) need no inverters. They take four arrays instead of two, and as
many amplifiers. The sweeps of wires and gain have the error of balanced loops that are programmed
plainly. Stability is that of 40 signed 16 x 16 matrices for each deviation of the weights beside
the diagonal (times 1 / sqrt(n), clipped to +-1), whose diagonal takes half of the range:

- difference: the share of matrices for which all eigenvalues of `U M` have a positive real part.
- inverters, balanced: the share of loops that are stable. A balanced loop has the eigenvalues of
  `U S` as well, with `S` the sum of both arrays.
- raised: balanced, with 49 uS more in both cells of each diagonal weight, which leaves `M`.
- pole: the median of the largest real part of the poles, over `2 pi gbw`.

The same for `loops.least_squares` of 40 normal 12 x 4 matrices with amplifiers of one kind.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import xbarjax as xb
from xbarjax.elements import OpAmp
from xbarjax.systems import loops
from xbarjax.variability import Programming

from ..common import keep

HERE = Path(__file__).parent
SIZES, OHMS, GAINS = (4, 8, 16, 32, 64), (0.25, 0.5, 1.0, 2.0, 4.0), (1e2, 1e3, 1e4, 1e5, 1e6)
SPREADS, SCALES, DRAWS = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2), (0.9, 0.95, 0.98, 0.99, 1.0), 5
N, OHM, GAIN, GBW, SCALE = 32, 1.0, 1e4, 1e7, 0.8
DEVIATIONS, MATRICES, SMALL = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4), 40, 16
R_INVERTER = 1e4
G_MIN, G_MAX = 1e-6, 1e-4
MAPPINGS: dict[str, Any] = {
    "signed": xb.DifferentialPair(G_MIN, G_MAX),
    "positive": xb.DigitalOffset(G_MIN, G_MAX, G_MIN),
}
WAYS = ("plain", "bias", "compensated")
EIGENVALUES, SETTLING_BITS = np.geomspace(0.03, 1, 8), 8


def meant(kind: str, n: int, dense: bool) -> Any:
    random = np.random.default_rng(n)
    if dense:
        return jnp.asarray(random.uniform(-1 if kind == "signed" else 0, 1, (n, n)))
    if kind == "signed":
        w = random.normal(0, 0.4 / np.sqrt(n), (n, n))
    else:
        w = random.uniform(0, 0.8 / np.sqrt(n), (n, n))
    np.fill_diagonal(w, 1)
    return jnp.asarray(np.clip(w, -1, 1))


@eqx.filter_jit  # so that loops that are not stable raise no error
def answers(loop: xb.Circuit) -> Any:
    """The matrix `dx/di` of a loop at its operating point."""
    return xb.response(loop, "source", "x").gain


class Case:
    """A matrix on a loop: its answers by the conductances of its cells."""

    def __init__(
        self,
        kind: str,
        n: int,
        ohm=OHM,
        gain=GAIN,
        scale=SCALE,
        dense: bool = False,
        r_inverter: float | None = R_INVERTER,
    ):
        self.kind, self.n, self.mapping = kind, n, MAPPINGS[kind]
        self.weights, self.scale = meant(kind, n, dense), scale
        self.k = self.mapping.siemens_per_weight(self.weights, scale)
        matrix = np.asarray(self.mapping.zero + self.k * self.weights)
        self.wanted = -np.linalg.inv(matrix).T
        amplifier = partial(OpAmp, gain=jnp.asarray(gain), gbw=GBW)
        wires, zero = xb.Wires(jnp.asarray(ohm), jnp.asarray(ohm)), jnp.zeros(n)
        self.loop = lambda g: loops.inverse(
            g, zero, wires=wires, amplifier=amplifier, r_inverter=r_inverter
        )

    def errors(self, g: Any, gain: Any = 1.0) -> dict[str, float]:
        seen = np.asarray(answers(self.loop(g))) * np.asarray(gain)
        i = np.random.default_rng(0).uniform(-1, 1, (self.n, 50))
        off, want = (seen - self.wanted) @ i, self.wanted @ i
        norm = np.linalg.norm(seen - self.wanted) / np.linalg.norm(self.wanted)
        return {"error": np.abs(off).max() / np.abs(want).max(), "response": float(norm)}

    def plain(self) -> Any:
        return self.mapping.program(self.weights, self.k)

    def bias(self) -> Any:
        g = self.plain()
        carries = g > G_MIN * (1 + 1e-9) if self.kind == "signed" else jnp.ones_like(g, bool)
        ways: list[Callable[[float], Any]] = [
            lambda x: g + carries * x * G_MAX,
            lambda x: G_MIN + (g - G_MIN) * (1 + x),
        ]
        found = []
        for way in ways:
            at = lambda x, way=way: jnp.clip(way(x), G_MIN, G_MAX)
            error = lambda x, at=at: self.errors(at(x))["error"]
            search: Any = scipy.optimize.minimize_scalar(
                error, bounds=(-0.02, 0.1), method="bounded", options={"maxiter": 14}
            )
            found.append((search.fun, at(search.x)))
        return min(found, key=lambda x: x[0])[1]

    def compensated(self, *, free_gain: bool = False) -> xb.Compensation:
        method = xb.FixedPoint(free_gain=free_gain)
        build = xb.InverseLoop(self.loop)
        return xb.compensate(self.weights, self.mapping, build, scale=self.scale, method=method)

    def programmed(self) -> dict[str, Any]:
        return {"plain": self.plain(), "bias": self.bias(), "compensated": self.compensated().g}

    def all_errors(self) -> dict[str, Any]:
        programmed = self.programmed()
        growth = xb.solve(self.loop(programmed["compensated"])).growth
        assert growth is not None
        return {way: self.errors(g) for way, g in programmed.items()} | {"growth": float(growth)}


def spread_errors() -> list[dict[str, Any]]:
    """Errors of the three ways, with errors of programming."""
    case, found = Case("signed", N), []
    programmed = case.programmed()
    for size in SPREADS:
        spread = Programming(jnp.asarray([size * (G_MAX - G_MIN)]), G_MAX)
        keys = [jax.random.key(k) for k in range(DRAWS if size else 1)]
        row: dict[str, Any] = {"spread": size}
        for way, g in programmed.items():
            drawn = [case.errors(spread.apply(g, spread.draw(g, key)))["error"] for key in keys]
            row[way] = {"error": float(np.median(drawn))}
        found.append(row)
    return found


def dense_errors() -> list[dict[str, Any]]:
    """The same for uniform matrices, whose cells have 1 to 80 uS; and cells at the lower bound
    that the compensated array would need below it."""
    found = []
    for kind in MAPPINGS:
        for n in SIZES[-2:]:
            case = Case(kind, n, dense=True)
            answer = case.compensated()
            row = {"kind": kind, "n": n, "condition": float(np.linalg.cond(case.wanted))}
            row |= {"plain": case.errors(case.plain()), "bias": case.errors(case.bias())}
            row |= {"compensated": case.errors(answer.g), "reached": answer.reached}
            held = np.argwhere(np.asarray(answer.after.saturated))[:, 1:]
            found.append(row | {"cells at a bound": held})
    return found


def with_balanced(ohm: float = OHM, gain: float = GAIN) -> dict[str, Any]:
    """All errors of the signed loop, and those of a balanced one that is programmed plainly."""
    case = Case("signed", N, ohm, gain, r_inverter=None)
    return Case("signed", N, ohm, gain).all_errors() | {"balanced": case.errors(case.plain())}


def balanced() -> dict[str, Any]:
    """The balanced loop at the values of all other sweeps, also compensated."""
    case = Case("signed", N, r_inverter=None)
    answer = case.compensated()
    found: dict[str, Any] = {"plain": case.errors(case.plain()), "reached": answer.reached}
    return found | {"compensated": case.errors(answer.g), "growth": growth(case.loop(answer.g))}


def growth(loop: xb.Circuit) -> Any:
    found = xb.solve(loop).growth
    assert found is not None
    return found


AMPLIFIER = partial(OpAmp, gain=GAIN, gbw=GBW)
WIRES = xb.Wires(OHM, OHM)


def growths(build: Callable[[Any, float | None], xb.Circuit], r: float | None, g: Any) -> Any:
    """The largest real part of the poles over `2 pi gbw`, of loops of many matrices."""
    one = jax.jit(lambda g: growth(build(g, r)))
    return np.asarray([float(one(each)) for each in g]) / (2 * np.pi * GBW)


def inverse_of(g: Any, r: float | None) -> xb.Circuit:
    i = jnp.zeros(g.shape[-1])
    return loops.inverse(g, i, wires=WIRES, amplifier=AMPLIFIER, r_inverter=r)


def fit_of(g: Any, r: float | None) -> xb.Circuit:
    i = jnp.zeros(g.shape[-2])
    return loops.least_squares(g, i, wires=WIRES, amplifier=AMPLIFIER, r_inverter=r)


def stability() -> list[dict[str, Any]]:
    """Shares of stable loops of random signed matrices, and medians of the slowest pole."""
    pair, found = MAPPINGS["signed"], []
    for deviation in DEVIATIONS:
        g, ideal = [], []
        for seed in range(MATRICES):
            w = np.random.default_rng(seed).normal(0, deviation / np.sqrt(SMALL), (SMALL, SMALL))
            np.fill_diagonal(w, 1)
            w = jnp.asarray(np.clip(w, -1, 1))
            g.append(pair.program(w, pair.siemens_per_weight(w, 0.5)))
            plus, minus = np.asarray(g[-1])
            values = np.linalg.eigvals((plus - minus).T / (plus + minus).sum(0)[:, None])
            ideal.append(values.real.min() > 0)
        raised = [each + 0.49 * G_MAX * jnp.eye(SMALL) for each in g]
        poles = {
            "inverters": growths(inverse_of, R_INVERTER, g),
            "balanced": growths(inverse_of, None, g),
            "raised": growths(inverse_of, None, raised),
        }
        found.append({"deviation": deviation, "difference": np.mean(ideal)} | shares(poles))
    return found


def fits() -> dict[str, Any]:
    """The same of loops for least squares."""
    pair, g = MAPPINGS["signed"], []
    for seed in range(MATRICES):
        w = jnp.asarray(np.random.default_rng(seed).normal(size=(12, 4)))
        g.append(pair.program(w, pair.siemens_per_weight(w, SCALE)))
    return shares(
        {"inverters": growths(fit_of, R_INVERTER, g), "balanced": growths(fit_of, None, g)}
    )


def shares(poles: dict[str, Any]) -> dict[str, Any]:
    return {
        way: {"stable": float(np.mean(x < 0)), "pole": float(np.median(x))}
        for way, x in poles.items()
    }


def at_bounds() -> list[dict[str, Any]]:
    """Compensation with less and less room, and which cells are at a bound."""
    found = []
    for scale in SCALES:
        case = Case("signed", N, scale=scale)
        fixed, free = case.compensated(), case.compensated(free_gain=True)
        cells = np.argwhere(np.asarray(fixed.after.saturated))
        row = {
            "scale": scale,
            "plain": case.errors(case.plain()),
            "compensated": case.errors(fixed.g),
            "free gains": case.errors(free.g, free.gain),
            "least gain": float(jnp.min(free.gain)),
            "cells at a bound": len(cells),
            "of these on the diagonal": int(np.sum(cells[:, 1] == cells[:, 2])),
        }
        found.append(row)
    return found


def settling() -> list[dict[str, Any]]:
    """Settling time [s] of the slowest answer of symmetric loops, and that of the slowest pole."""
    n, found = 8, []
    random = np.random.default_rng(0)
    basis, _ = np.linalg.qr(random.normal(size=(n, n)))
    i = jnp.asarray(random.uniform(-1e-6, 1e-6, n))

    @jax.jit
    def settled(g: Any, until: Any) -> Any:
        loop = loops.inverse(g, i, amplifier=partial(OpAmp, gain=1e6, gbw=GBW))
        return xb.settling_time(loop, i, SETTLING_BITS, bus="x", edge=1e-9, until=until)

    for least in EIGENVALUES:
        # eigenvalues from `least` to 1, with signs of the entries that a shift makes positive
        matrix = basis @ np.diag(np.geomspace(least, 1, n)) @ basis.T
        matrix += np.maximum(-matrix.min(), 0) + 0.02
        g = matrix / matrix.max() * G_MAX
        scaled = np.linalg.eigvals(g.T / g.sum(0)[:, None]).real.min()
        theory = (SETTLING_BITS + 1) * np.log(2) / (2 * np.pi * GBW * scaled)
        time_ = float(jnp.max(settled(jnp.asarray(g), 1.5 * theory)))
        found.append({"eigenvalue": scaled, "settled_s": time_, "theory_s": theory})
    return found


def table(title: str, name: str, rows: list[dict[str, Any]]) -> Table:
    made, ways = Table(title=title), [way for way in (*WAYS, "balanced") if way in rows[0]]
    for head in (name, *ways):
        made.add_column(head, justify="right")
    for row in rows:
        made.add_row(f"{row[name]:g}", *(f"{row[way]['error']:.1e}" for way in ways))
    return made


def main() -> None:
    console, began = Console(), time.perf_counter()
    result: dict[str, Any] = {}
    for kind in MAPPINGS:
        result[kind] = [{"n": n} | Case(kind, n).all_errors() for n in SIZES]
        console.print(table(f"{kind}, over size", "n", result[kind]))
    result["dense"] = dense_errors()
    for kind in MAPPINGS:
        rows = [row for row in result["dense"] if row["kind"] == kind]
        console.print(table(f"{kind}, uniform, over size", "n", rows))
    result["wires"] = [{"ohm": r} | with_balanced(ohm=r) for r in OHMS]
    console.print(table("signed, 32 x 32, over wires", "ohm", result["wires"]))
    result["gains"] = [{"gain": a} | with_balanced(gain=a) for a in GAINS]
    console.print(table("signed, 32 x 32, over gain", "gain", result["gains"]))
    result["spreads"] = spread_errors()
    console.print(table("signed, 32 x 32, over programming", "spread", result["spreads"]))
    result["balanced"], result["stability"], result["fits"] = balanced(), stability(), fits()
    result["bounds"], result["settling"] = at_bounds(), settling()
    rows = [*result["stability"], *result["bounds"], *result["settling"]]
    for row in [result["balanced"], result["fits"], *rows]:
        console.print(row)
    console.print(keep(HERE, result, draw(result), began))


STYLES = {
    "plain": {"c": "0.6", "ls": "-", "marker": "o"},
    "bias": {"c": "0.35", "ls": "--", "marker": "s"},
    "compensated": {"c": "k", "ls": "-", "marker": "^"},
    "balanced": {"c": "0.45", "ls": ":", "marker": "D", "mfc": "none"},
}
SIGNS = {
    "inverters": {"c": "k", "ls": "-", "marker": "o"},
    "balanced": {"c": "0.45", "ls": ":", "marker": "D", "mfc": "none"},
    "raised": {"c": "0.6", "ls": "--", "marker": "s"},
}


def draw(result: dict[str, Any]) -> Figure:
    figure = Figure((14.5, 6.6), layout="constrained")
    size, wires, gains, share, spreads, bounds, times, pole = figure.subplots(2, 4).flat
    error = "largest error of an answer [1]"
    ways = {way: STYLES[way] for way in WAYS}
    sweeps = ((wires, "wires", "ohm"), (gains, "gains", "gain"), (spreads, "spreads", "spread"))
    for ax, key, name in ((size, "signed", "n"), *sweeps):
        for way, style in ways.items():
            rows = [row for row in result[key] if row[name] > 0]
            x, y = [row[name] for row in rows], [row[way]["error"] for row in rows]
            ax.loglog(x, y, **style, label=way, ms=4)
    for way, style in ways.items():
        y = [row[way]["error"] for row in result["positive"]]
        label = "positive matrices" if way == "plain" else None
        size.loglog(SIZES, y, **(style | {"mfc": "none", "ls": ":"}), ms=7, label=label)
    for ax, key, name in sweeps[:2]:
        x, y = [row[name] for row in result[key]], [row["balanced"]["error"] for row in result[key]]
        ax.loglog(x, y, **STYLES["balanced"], label="balanced, plain", ms=6)
    wires.legend(fontsize=7)
    size.set(xlabel="rows = columns", ylabel=error)
    size.set_xticks(SIZES, [str(n) for n in SIZES])
    size.legend(fontsize=7)
    wires.set(xlabel="wires, 32 x 32 [ohm per segment]", ylabel=error)
    wires.set_xticks(OHMS, [f"{r:g}" for r in OHMS])
    for ax in (size, wires):
        ax.minorticks_off()
    gains.set(xlabel="amplifier gain, 32 x 32 [1]", ylabel=error)
    spreads.set(xlabel="programming error over range, 32 x 32 [1]", ylabel=error)
    rows = result["bounds"]
    styles = {
        "plain": STYLES["plain"],
        "compensated": STYLES["compensated"],
        "free gains": {"c": "k", "ls": ":", "marker": "v"},
    }
    for way, style in styles.items():
        bounds.semilogy(SCALES, [row[way]["error"] for row in rows], **style, label=way, ms=4)
    bounds.set(xlabel="part of the range for the diagonal, 32 x 32 [1]", ylabel=error)
    bounds.legend(fontsize=7)
    x = [row["eigenvalue"] for row in result["settling"]]
    for key, style, label in (
        ("theory_s", "--k", "slowest pole, 9 ln 2 time constants"),
        ("settled_s", "ok", "simulated in time"),
    ):
        times.loglog(x, [row[key] * 1e6 for row in result["settling"]], style, label=label)
    times.set(xlabel="smallest eigenvalue of U M [1]", ylabel="settling time, 8 bits [us]")
    times.legend(fontsize=7)
    for way, style in SIGNS.items():
        rows, label = result["stability"], f"balanced, {way}" if way == "raised" else way
        share.plot(DEVIATIONS, [row[way]["stable"] for row in rows], **style, label=label, ms=5)
        pole.plot(DEVIATIONS, [row[way]["pole"] for row in rows], **style, label=label, ms=5)
    beside = "deviation of weights, times sqrt(n) [1]"
    share.set(xlabel=beside, ylabel="stable signed loops, 16 x 16 [1]", ylim=(0, 1.05))
    pole.set(xlabel=beside, ylabel="slowest pole over 2 pi gbw, median [1]")
    share.legend(fontsize=7)
    for ax in figure.axes:
        ax.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
