"""How many dies compute a product to 8 bits: yield against spread, size and wire.

    python -m experiments.yield.run

Weights from a normal of deviation 0.3, clipped to one, on differential pairs of 1 to 100 uS at half
of the range, as programmed for ideal wires and compensated for real ones (a fixed point, with a
gain a column). Every cell of a die has its own lognormal error. A die is good where no output of
four inputs, uniform in 0 to 1, is off by more than 1/256 of the largest: half a step of a converter
of 8 bits over both signs.
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
from xbarjax.sweep import yields
from xbarjax.variability import Lognormal

from ..common import keep

HERE = Path(__file__).parent
SIZES, WIRES = (16, 32, 64, 128), (0.1, 1.0)  # [ohm a segment]
SPREADS = (5e-4, 1e-3, 2e-3, 2.5e-3, 3e-3, 3.5e-3, 4e-3, 5e-3)  # of ln g
TICKS = (5e-4, 1e-3, 2e-3, 3e-3, 5e-3)
SCALE, INPUTS, V, DIES, LIMIT = 0.5, 4, 0.2, 500, 1 / 256


def sweep_of(n: int, r: float, compensated: bool, path: Path) -> Any:
    """Dies of one size and wire over all spreads, as results."""
    rng, pair = np.random.default_rng(n), xb.DifferentialPair(g_min=1e-6, g_max=1e-4)
    w = jnp.asarray(np.clip(rng.normal(0, 0.3, (n, n)), -1, 1))
    x = jnp.asarray(rng.uniform(0, 1, (INPUTS, n)))
    build = lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r))
    if compensated:
        answer = xb.compensate(w, pair, build, scale=SCALE)
        g, gain, k = answer.g, answer.gain, answer.k
    else:
        k = pair.siemens_per_weight(w, SCALE)
        g, gain = pair.program(w, k), jnp.ones(n)
    wanted = x @ w

    def die(settings: Any, key: Any) -> dict[str, jax.Array]:
        made = Lognormal(settings["sigma"])(g, key)
        product = lambda v: pair.combine(jnp.stack([xb.read(build(one), v).i_out for one in made]))
        found = jax.lax.map(product, V * x) / (gain * V * k)
        return {"error": jnp.max(jnp.abs(found - wanted)) / jnp.max(jnp.abs(wanted))}

    plan = xb.Sweep(
        die,
        {"sigma": list(SPREADS)},
        dies=DIES,
        batch=DIES // 2,
        limits={"error": (0.0, LIMIT)},
        units={"sigma": "of ln g", "error": "of the largest product"},
    )
    return xb.sweep(plan, path)


def figure(cases: list[dict[str, Any]]) -> Figure:
    made = Figure(figsize=(10, 3.6), layout="constrained")
    for panel, r in zip(made.subplots(1, len(WIRES), sharey=True), WIRES, strict=True):
        for n, marker in zip(SIZES, "os^D", strict=True):
            for compensated, color in ((False, "0.6"), (True, "0.0")):
                one = next(
                    c for c in cases if (c["n"], c["r"], c["compensated"]) == (n, r, compensated)
                )
                y, low, high = (100 * np.asarray(one[name]) for name in ("good", "low", "high"))
                panel.errorbar(
                    SPREADS,
                    y,
                    yerr=[y - low, high - y],
                    color=color,
                    marker=marker,
                    ls="-" if compensated else "--",
                    capsize=2,
                    label=f"{n} x {n}, {'compensated' if compensated else 'for ideal wires'}",
                )
        panel.set(xscale="log", xlabel="spread of ln g [1]", title=f"{r:g} ohm a segment")
        panel.set_xticks(TICKS, labels=[f"{x:g}" for x in TICKS])
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
                for compensated in (False, True):
                    path = Path(folder) / f"{n}-{r}-{compensated}"
                    found = sweep_of(n, r, compensated, path)
                    stated = yields(found)
                    case = {"n": n, "r": r, "compensated": compensated, "sigma": SPREADS}
                    for name in ("good", "low", "high", "dies", "failed"):
                        case[name] = stated[name].values
                    case["error_median"] = found["error"].median("die").values
                    cases.append(case)
                    words = " ".join(f"{100 * y:.1f}" for y in case["good"])
                    console.print(f"{n} x {n}, {r} ohm, compensated {compensated}: {words} %")
                    assert not case["failed"].any()
    console.print(keep(HERE, {"limit": LIMIT, "cases": cases}, figure(cases), began))


if __name__ == "__main__":
    main()
