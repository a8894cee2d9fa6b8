"""Gradient programming beside write-verify on devices with the statistics of PCM and RRAM, at equal
numbers of pulses: error of products, and accuracy of a network.

    python -m experiments.gradient_programming.run [--only products,network]

Devices move by pulses whose steps are random (`chips`). A read lets every conductance fluctuate
once per step, for both methods alike. Products go through converters of 8 bits whose full scale
fits products with random signs.

- `verify 8`, `verify 12`: write-verify, row by row, through the converter of products, and through
  one of 12 bits with the same full scale.
- `random`: gradient descent on products with independent random signs, 16 per row of cells, after
  J. Buechel et al., IEDM (2022), doi:10.1109/IEDM45625.2022.10019486.
- `orthogonal`: the same with orthogonal signs, one per row of cells: as many products as
  write-verify reads rows.

Gradient descent is cut where it has given as many pulses as write-verify. Windows are those of
`choose`, from another seed and for this number of pulses. Where write-verify gives less than one
pulse per cell, since its converter sees most cells at their targets, the cut may leave gradient
descent without any.

For white inputs the mean squared error of products is the sum of the squared errors of all cells:
what gradient descent can gain is in what reads see, converters and wires, and not in errors that
cancel.

- `products`: arrays of 128 x 64 devices for random weights, with ideal wires and 2 ohm per segment.
- `network`: 64-54-10 on MNIST, trained in software and put on arrays of 128 x 54 and 108 x 10
  devices. Targets are those for ideal wires. Differences of accuracy stand beside the published
  1.26 points, of ResNet-9 on two PCM cores.

Computations are in float32. Arrays are programmed with fluctuating reads and tested without.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ..parts import SAY, main
from . import network as net
from .chips import CHIPS, DESCENTS, VERIFIES, Course, methods, program, weights
from .choose import STEPS, WIRES

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
NETWORK_WIRES = WIRES
PUBLISHED = 1.26  # points of accuracy
LABELS = {
    "verify 8": ("write-verify, 8 bits", "o", "0.55", ":"),
    "verify 12": ("write-verify, 12 bits", "o", "0.0", "-"),
    "random": ("gradient, random signs", "s", "0.55", "--"),
    "orthogonal": ("gradient, orthogonal signs", "s", "0.0", "-."),
}


def of_array(chip: Any, name: str, r: float | None, rows: int) -> dict[str, Any]:
    """All methods with their windows, as numbers that do not trace anew. Gradient descent comes
    once for each write-verify, as `method/verify`."""
    chosen = json.loads((HERE / "choose.json").read_text())["settings"]

    def of(budget: str) -> dict[str, Any]:
        def setting(method: str) -> tuple[Any, Any]:
            at = f"{name}/{r or 0:g}/{method}" + f"/{budget}" * (method in DESCENTS)
            mine = chosen[at]["chosen"]
            return jnp.float32(mine["window"]), jnp.asarray(mine["closes"])

        return methods(chip, rows, setting)

    made = {verify: of(verify)[verify] for verify in VERIFIES}
    return made | {f"{m}/{verify}": of(verify)[m] for verify in VERIFIES for m in DESCENTS}


def products() -> list[dict[str, Any]]:
    rows = []
    for name, make in CHIPS.items():
        chip = make()
        for r in WIRES:
            wires = None if r is None else jnp.float32(r)
            for seed in SEEDS:
                of_weights, key = jax.random.split(jax.random.key(seed))
                target = weights(chip, of_weights)
                courses = {
                    method: program(chip, how, target, wires, STEPS, key)
                    for method, how in of_array(chip, name, r, len(target)).items()
                }
                case = {"chip": name, "r_ohm": r or 0.0, "seed": seed}
                for method, course in courses.items():
                    pulses, error = np.asarray(course.pulses), np.asarray(course.error)
                    one = case | {"method": method, "pulses": pulses, "error": error}
                    at = last(courses, method)
                    rows.append(one | {"last": at, "last_error": error[at]})
    return rows


def last(courses: dict[str, Course], method: str) -> int:
    """The last step: of gradient descent, that with as many pulses as write-verify gave."""
    if method in VERIFIES:
        return STEPS
    return courses[method].at(float(courses[method.split("/")[1]].pulses[-1]))


def network() -> list[dict[str, Any]]:
    rows = []
    for seed in SEEDS:
        layers, software = net.software(seed)
        for name, make in CHIPS.items():
            chip = make()
            for r in NETWORK_WIRES:
                case = {"chip": name, "r_ohm": r or 0.0, "seed": seed, "software": software}
                case["exact"] = net.exact(chip, layers, r)
                keys = dict(zip(net.LAYERS, jax.random.split(jax.random.key(seed))))
                wires = None if r is None else jnp.float32(r)
                courses: dict[str, dict[str, Course]] = {}
                for n in net.LAYERS:
                    target = net.target(chip, layers[n])
                    for method, how in of_array(chip, name, r, len(target)).items():
                        run = program(chip, how, target, wires, STEPS, keys[n], watch=False)
                        courses.setdefault(method, {})[n] = run

                for method, mine in courses.items():
                    by_layer = {n: {m: c[n] for m, c in courses.items()} for n in net.LAYERS}
                    at = {n: last(by_layer[n], method) for n in net.LAYERS}
                    g = [mine[n].g[at[n]] for n in net.LAYERS]
                    one = case | {"method": method}
                    one["pulses"] = {n: float(mine[n].pulses[at[n]]) for n in net.LAYERS}
                    one["accuracy"] = net.tested(net.holding(chip, layers, g, r))
                    rows.append(one)
    return rows


def summary(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Means and deviations over seeds: of write-verify, of gradient descent at as many pulses, and
    of the differences of accuracy, in points."""
    made = []
    for name in CHIPS:
        for r in WIRES:
            same = {"chip": name, "r_ohm": r or 0.0}
            pick = lambda part, method, same=same: [
                x
                for x in result[part]
                if x["method"] == method and all(x[k] == v for k, v in same.items())
            ]
            for verify in VERIFIES:
                one: dict[str, Any] = same | {"verify": verify}
                nets = pick("network", verify)
                for key in ("software", "exact") if nets else ():
                    one[key] = stated([x[key] for x in nets])
                one |= {"pulses": {}, "error": {}, "accuracy": {}, "points": {}}
                for method in (verify, *(f"{m}/{verify}" for m in DESCENTS)):
                    short, mine = method.split("/")[0], pick("products", method)
                    one["pulses"][short] = stated([x["pulses"][x["last"]] for x in mine])
                    one["error"][short] = stated([x["last_error"] for x in mine])
                    if not nets:
                        continue
                    reached = [x["accuracy"] for x in pick("network", method)]
                    one["accuracy"][short] = stated(reached)
                    gain = [100 * (a - b["accuracy"]) for a, b in zip(reached, nets)]
                    one["points"][short] = stated(gain)
                made.append(one)
    return made


def stated(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1))}


def figure(result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(11, 6), layout="constrained")
    axes = made.subplots(2, 3, width_ratios=(1, 1, 1.1))
    for line, name in zip(axes, CHIPS):
        for ax, r in zip(line, WIRES):
            for method, (label, mark, color, style) in LABELS.items():
                for x in result["products"]:
                    shown = method if method in VERIFIES else f"{method}/verify 12"
                    if (x["chip"], x["r_ohm"], x["method"]) != (name, r or 0.0, shown):
                        continue
                    y, first = 100 * np.asarray(x["error"]), x["seed"] == SEEDS[0]
                    end = slice(0, x["last"] + 1)
                    ax.semilogy(x["pulses"][end], y[end], style, color=color, lw=1, marker=mark,
                                mfc="none", markevery=[-1],
                                label=label if first else None)  # fmt: skip
            wires = "ideal wires" if r is None else f"{r:g} ohm per segment"
            ax.set(xlabel="pulses of a device, mean", ylabel="error of products [%]")
            ax.set_title(f"{name}, 128 x 64, {wires}", fontsize=9)
            ticks = [10, 20, 50, 100]
            ax.set_yticks(ticks, [str(t) for t in ticks])
            ax.minorticks_off()
        ax, at = line[2], 0
        names: list[str] = []
        for r in NETWORK_WIRES:
            for verify in VERIFIES:
                for method in DESCENTS:
                    mine = next(
                        s
                        for s in result["summary"]
                        if (s["chip"], s["r_ohm"], s["verify"]) == (name, r or 0.0, verify)
                    )["points"][method]
                    label, mark, color, _ = LABELS[method]
                    ax.errorbar(at, mine["mean"], mine["std"], fmt=mark, color=color, mfc="none",
                                capsize=3, label=label if at < 2 else None)  # fmt: skip
                    at += 1
                names.append(f"{verify[7:]} bits,\n{r or 0:g} ohm")
        ax.axhline(0, color="0.8", lw=0.8, zorder=0)
        ax.axhline(PUBLISHED, color="k", ls=":", lw=0.8, label="published, ResNet-9")
        ax.set_xticks(np.arange(len(names)) * 2 + 0.5, names, fontsize=8)
        ax.set(ylabel="gain in accuracy [points]")
        ax.set_yscale("symlog", linthresh=2)
        ticks = [-100, -20, -5, -2, -1, 0, 1, 2, 5, 20, 100]
        ax.set_yticks(ticks, [str(t) for t in ticks])
        ax.minorticks_off()
        ax.set_title(f"{name}, MNIST, at the pulses of write-verify", fontsize=9)
        ax.legend(fontsize=7, loc="upper right")
    axes[0, 0].legend(fontsize=7, loc="upper right")
    return made


PARTS = {"products": products, "network": network}


def finish(result: dict[str, Any]) -> None:
    """Adds the published points beside and the summary."""
    result["published_points"] = PUBLISHED
    result["summary"] = summary(result)
    for one in result["summary"]:
        SAY(one)


if __name__ == "__main__":
    main(HERE, PARTS, figure, finish=finish, x64=False)
