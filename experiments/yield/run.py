"""Yield of products of 8 bits over spread, size and wire resistance.

    python -m experiments.yield.run

Weights are normal with standard deviation 0.3, clipped to one, on differential pairs of 1 to 100 uS
at half of the range, with ten draws of weights per size. Three kinds of programming are compared:

- programmed for ideal wires;
- calibrated: the same, with a gain and an offset per column calibrated on the design;
- compensated for real wires (a fixed point, with a gain per column).

Every cell of a die has its own lognormal error, and every die has four inputs of its own, uniform
in 0 to 1. A die is good if the error of every output is at most 1/256 of the largest output, half a
step of a converter of 8 bits over both signs.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

import xbarjax as xb
from xbarjax.sweeps import yields
from xbarjax.variability import Lognormal

from ..common import keep

HERE = Path(__file__).parent
SIZES, WIRES = (16, 32, 64, 128), (0.1, 1.0)  # [ohm per segment]
SPREADS = (1e-3, 2e-3, 2.5e-3, 3e-3, 4e-3, 6e-3, 1e-2)  # of ln g
ARMS = {"for ideal wires": "0.75", "calibrated": "0.5", "compensated": "0.0"}
SCALE, INPUTS, V, LIMIT = 0.5, 4, 0.2, 1 / 256
DRAWS, DIES, SAMPLES = 10, 50, 256  # draws of weights; dies per draw; inputs for a calibration


def programmed(n: int, r: float, arm: str, w: jax.Array) -> tuple[jax.Array, xb.Calibration]:
    """Conductances [S] of the pair for weights, and the digital correction from currents [A] to
    products."""
    pair = xb.DifferentialPair(g_min=1e-6, g_max=1e-4)
    build = lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r))
    if arm == "compensated":
        answer = xb.compensate(w, pair, build, scale=SCALE)
        return answer.g, xb.Calibration(1 / (answer.gain * V * answer.k), jnp.zeros(n))
    k = pair.siemens_per_weight(w, SCALE)
    g = pair.program(w, k)
    plain = xb.Calibration(jnp.full(n, 1 / (V * k)), jnp.zeros(n))
    if arm == "for ideal wires":
        return g, plain
    effective = pair.combine(jnp.stack([xb.transfer(build(one)) for one in g]))
    x = jnp.asarray(np.random.default_rng(1).uniform(0, 1, (SAMPLES, n)))
    return g, xb.calibrate(V * x @ effective, x @ w)


def sweep_of(n: int, r: float, arm: str, path: Path) -> Any:
    """Sweep over draws of weights and spreads, for one size and wire resistance."""
    pair = xb.DifferentialPair(g_min=1e-6, g_max=1e-4)
    draws = np.random.default_rng(n).normal(0, 0.3, (DRAWS, n, n))
    w = jnp.asarray(np.clip(draws, -1, 1))
    made = [programmed(n, r, arm, one) for one in w]
    g, digital = jax.tree.map(lambda *x: jnp.stack(x), *made)

    def die(settings: Any, key: Any) -> dict[str, jax.Array]:
        of_draw = jax.tree.map(lambda x: x[settings["draw"].astype(int)], (w, g, digital))
        weights, cells, correct = of_draw
        of_cells, of_inputs = jax.random.split(key)
        cells = Lognormal(settings["sigma"])(cells, of_cells)
        x = jax.random.uniform(of_inputs, (INPUTS, n))
        i = lambda v, one: xb.read(xb.Crossbar(xb.Ohmic(one), xb.Wires(r, r)), v).i_out
        found = jax.lax.map(lambda v: pair.combine(jnp.stack([i(v, one) for one in cells])), V * x)
        wanted = x @ weights
        return {"error": jnp.max(jnp.abs(correct(found) - wanted)) / jnp.max(jnp.abs(wanted))}

    plan = xb.Sweep(
        die,
        {"draw": list(range(DRAWS)), "sigma": list(SPREADS)},
        dies=DIES,
        batch=DIES,
        limits={"error": (0.0, LIMIT)},
        units={"sigma": "of ln g", "error": "of the largest product"},
    )
    return xb.sweep(plan, path)


def figure(cases: list[dict[str, Any]]) -> Figure:
    """One panel per wire resistance: mean yield over draws, with bars from least to most."""
    made = Figure(figsize=(10, 3.8), layout="constrained")
    for panel, r in zip(made.subplots(1, len(WIRES), sharey=True), WIRES, strict=True):
        for case in (c for c in cases if c["r"] == r):
            y, low, high = (100 * np.asarray(case[name]) for name in ("mean", "least", "most"))
            dash = {"compensated": "-", "calibrated": "--"}.get(case["arm"], ":")
            panel.errorbar(
                SPREADS,
                y,
                yerr=[y - low, high - y],
                color=ARMS[case["arm"]],
                marker=dict(zip(SIZES, "os^D", strict=True))[case["n"]],
                ls=dash,
                capsize=2,
                lw=1,
                label=f"{case['n']} x {case['n']}, {case['arm']}",
            )
        panel.set(xscale="log", xlabel="spread of ln g [1]", title=f"{r:g} ohm per segment")
        panel.set_xticks(SPREADS, labels=[f"{x:g}" for x in SPREADS], rotation=45)
        panel.minorticks_off()
    made.axes[0].set(ylabel="yield [%]", ylim=(-3, 103))
    made.legend(*made.axes[0].get_legend_handles_labels(), loc="outside right", fontsize=8)
    return made


def main() -> None:
    began, console = time.perf_counter(), Console()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", 2)
    cases: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for n in SIZES:
            for r in WIRES:
                for arm in ARMS:
                    found = sweep_of(n, r, arm, Path(folder) / f"{n}-{r}-{arm}")
                    stated = yields(found)
                    assert not stated["failed"].any()
                    good = stated["good"]
                    case = {"n": n, "r": r, "arm": arm, "sigma": SPREADS}
                    case |= {
                        "mean": good.mean("draw").values,
                        "least": good.min("draw").values,
                        "most": good.max("draw").values,
                        "error_median": found["error"].median(("die", "draw")).values,
                    }
                    cases.append(case)
                    words = " ".join(f"{100 * y:.1f}" for y in case["mean"])
                    console.print(f"{n} x {n}, {r} ohm, {arm}: {words} %")
    result = {"limit": LIMIT, "draws": DRAWS, "dies_a_draw": DIES, "cases": cases}
    console.print(keep(HERE, result, figure(cases), began))


if __name__ == "__main__":
    main()
