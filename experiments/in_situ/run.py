"""MNIST trained in the array: pulses for outer products, for digital sums, and in an open loop,
beside the exact gradient.

    python -m experiments.in_situ.run [--only PATTERN]

Arrays have up to 128 rows and 64 columns of cells of 1 to 100 uS. Every weight is a pair of cells
in two neighbouring rows, driven by v and -v. Products and errors that are sent backwards are exact,
with wires of 1 ohm per segment or ideal ones. Conductances change by the outer product of inputs
and errors, which knows neither wires nor dead devices (`nn.in_situ.local`). The small network,
64-54-10, has the size of C. Li et al., Nat. Commun. 9, 2385 (2018),
doi:10.1038/s41467-018-04484-2: 128 x 54 and 108 x 10 devices, and 80,000 samples.

- `parallel`: stochastic trains on all rows and columns, image after image. The devices have 300
  equal steps.
- `row by row`: the mean of a batch, in whole pulses at random, on the same devices.
- `accumulated`: digital sums that give pulses from one step on. Steps shrink to a tenth over the
  window.
- `open loop`: `row by row` on the lithium ECRAM of `xb.presets`, by its mean step.
- `exact`: as `row by row`, with the exact gradient through the wires in place of the outer product.

Steps differ by 30 % between devices and between pulses (ECRAM: 10 and 30 %). Of the devices 11 %
are dead: stuck at any level of the window (`anywhere`) or at its low end (`low`). Pulses of RRAM
are of 1 V and 100 ns, with an energy of v^2 g t, and a quarter of it for half-selected devices.
Heights, widths, steps and spreads are assumed. A pulse of ECRAM takes the 1 fJ that Tang et al.
(IEEE IEDM 2018, doi:10.1109/IEDM.2018.8614551) project for 100 x 100 nm.

Rates are chosen by `choose`; the test images are used once per case, after training. In 8 places
of a training, 20 updates in a row are compared with the negative exact gradient by all
conductances: the cosine of each update (mean of 20), and of the sums of 20.

`--only` runs the cases whose name, size/method/ohm/dead/seed, matches; all others are kept.
Computations are in float32.
"""

import argparse
import fnmatch
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

import xbarjax as xb

from ..common import machine, write_figure, write_json
from .learning import METHODS, in_software, train
from .network import HIGH, LOW, SEGMENT, V_READ, accuracy, images, wired

HERE = Path(__file__).parent
SMALL, LARGE = "64-54-10", "196-128-10"
SAMPLES = {SMALL: 80_000, LARGE: 200_000}
BATCH = {SMALL: 50, LARGE: 100}
RATES = {  # the smallest within 0.1 points of the best, in choose.json
    f"{SMALL}/software": 1.5,
    f"{SMALL}/parallel": 3.0,
    f"{SMALL}/row by row": 2.0,
    f"{SMALL}/accumulated": 2.0,
    f"{SMALL}/open loop": 2.0,
    f"{SMALL}/exact": 2.0,  # that of `row by row`
    f"{LARGE}/software": 1.5,
    f"{LARGE}/accumulated": 2.0,
}
SEEDS = (0, 1, 2)
CHIPS = ("parallel", "row by row", "accumulated", "open loop")
# Test accuracies [%] in Li et al. (2018), with 11 % of the devices unresponsive, and with digital
# sums in Wu et al. (Adv. Mater. 35, 2305465, 2023, doi:10.1002/adma.202305465), a LeNet
PUBLISHED = {SMALL: 91.71, LARGE: 97.73}


def cases() -> list[tuple[str, str, float, str, int]]:
    made = [(SMALL, "software", 0.0, "none", s) for s in SEEDS]
    made += [(LARGE, "software", 0.0, "none", s) for s in SEEDS]
    for method in CHIPS:
        for seed in SEEDS[: 1 if method == "parallel" else None]:
            for r in (0.0, SEGMENT):
                made += [(SMALL, method, r, dead, seed) for dead in ("none", "anywhere")]
    made += [(SMALL, "row by row", SEGMENT, "low", s) for s in SEEDS]
    made += [(SMALL, "row by row", r, "none", 0) for r in (3.0, 10.0)]
    made += [(SMALL, "exact", r, "none", 0) for r in (SEGMENT, 3.0, 10.0)]
    made += [(LARGE, "accumulated", 0.0, dead, s) for dead in ("none", "anywhere") for s in SEEDS]
    made += [(LARGE, "accumulated", SEGMENT, dead, 0) for dead in ("none", "anywhere")]
    return made


def one(size: str, method: str, r: float, dead: str, seed: int) -> dict[str, Any]:
    """Result of one case: accuracy on the 10,000 test images, costs and angles."""
    began, data = time.perf_counter(), images(size)
    test = data["x_test"], data["y_test"]
    rate = RATES[f"{size}/{method}"]
    of_size = seed, SAMPLES[size], BATCH[size]
    if method == "software":
        found: dict[str, Any] = {"net": in_software(size, rate, *of_size)}
    else:
        found = train(METHODS[method], rate, size, r, dead, *of_size, watch=True)
    found["accuracy"] = accuracy(found.pop("net"), *test)
    stated = {"size": size, "method": method, "r": r, "dead": dead, "seed": seed, "rate": rate}
    return stated | found | {"seconds": time.perf_counter() - began}


def times() -> dict[str, float]:
    """Time [s] of the forward pass of a batch in the first array, 128 x 54, by reads and by its
    matrix, without compiling: medians of 9."""
    rng = np.random.default_rng(0)
    g = jnp.asarray(rng.uniform(LOW, HIGH, (128, 54)), jnp.float32)
    v = jnp.asarray(V_READ * rng.random((BATCH[SMALL], 128)), jnp.float32)
    array = wired(SEGMENT)
    ways = {
        "reads": jax.jit(lambda g: jax.vmap(lambda v: xb.read(array(g), v).i_out)(v)),
        "matrix": jax.jit(lambda g: v @ xb.transfer(array(g))),
    }
    found = {}
    for name, way in ways.items():
        taken = []
        for _ in range(10):
            began = time.perf_counter()
            jax.block_until_ready(way(g))
            taken.append(time.perf_counter() - began)
        found[name] = float(np.median(taken[1:]))
    return found


def figure(kept: dict[str, Any]) -> Figure:
    made = Figure(figsize=(11, 3.9), layout="constrained")
    left, middle, right = made.subplots(1, 3, width_ratios=(1.2, 1, 1))
    of = lambda **want: [r for r in kept.values() if all(r[k] == x for k, x in want.items())]
    settings = [
        ("ideal wires", 0.0, "none", "o", "0.6"),
        (f"{SEGMENT:.0f} ohm per segment", SEGMENT, "none", "s", "0.6"),
        ("11 % dead", 0.0, "anywhere", "o", "0.0"),
        (f"11 % dead, {SEGMENT:.0f} ohm", SEGMENT, "anywhere", "s", "0.0"),
    ]
    shown = [(SMALL, m, m) for m in CHIPS] + [(LARGE, "accumulated", "accumulated,\n196-128-10")]
    for k, (label, r, dead, mark, color) in enumerate(settings):
        at, y = [], []
        for n, (size, method, _) in enumerate(shown):
            mine = [100 * (1 - x["accuracy"]) for x in of(size=size, method=method, r=r, dead=dead)]
            at += [n + 0.16 * (k - 1.5)] * len(mine)
            y += mine
        left.plot(at, y, mark, color=color, mfc="none", label=label)
    for size, style in ((SMALL, "-"), (LARGE, "--")):
        mine = of(size=size, method="software")
        if mine:
            error = 100 * (1 - np.mean([x["accuracy"] for x in mine]))
            left.axhline(error, color="0.7", ls=style, lw=0.8, label=f"software, {size}", zorder=0)
    published = 100 - PUBLISHED[SMALL]
    left.axhline(published, color="k", ls=":", lw=0.8, label="Li et al. (measured, 11 % dead)")
    left.set_xticks(range(len(shown)), [label for *_, label in shown], fontsize=7)
    left.set(ylabel="test error [%]", ylim=(0, None), xlim=(-0.5, len(shown) - 0.5))
    left.legend(fontsize=6.5)

    steps = {
        "wanted": ("outer product", "k-o"),
        "alive": ("... on devices that live", "k--s"),
        "pulses": ("... in whole pulses", "k:^"),
        "moved": ("as devices moved", "k-.x"),
    }
    mine = of(size=SMALL, method="row by row", r=SEGMENT, dead="anywhere", seed=0)
    for name, (label, style) in steps.items():
        for found in mine:
            y = [a["sum"][name] for a in found["angles"]]
            middle.plot(np.asarray(found["at"]) / 1e3, y, style, mfc="none", label=label)
    middle.set(xlabel="samples [thousands]", ylabel="cosine with the exact gradient")
    middle.set_title("row by row, 11 % dead, 1 ohm, sums of 20 updates", fontsize=8)
    middle.set_ylim(0, 1.03)
    middle.legend(fontsize=7)

    for method, style in zip(CHIPS, ("k-o", "k--s", "k:^", "k-.x")):
        for found in of(size=SMALL, method=method, r=SEGMENT, dead="anywhere", seed=0):
            y = [a["one"]["moved"] for a in found["angles"]]
            right.plot(np.asarray(found["at"]) / 1e3, y, style, mfc="none", label=method)
    right.set(xlabel="samples [thousands]", ylabel="cosine with the exact gradient")
    right.set_title("devices moved in one update, 11 % dead, 1 ohm", fontsize=8)
    right.set_ylim(0, 1.03)
    right.legend(fontsize=7)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="MNIST trained in the array")
    parser.add_argument("--only", default="*", metavar="PATTERN")
    given, console, path = parser.parse_args(), Console(), HERE / "result.json"
    for case in cases():
        name = "/".join(map(str, case))
        if not fnmatch.fnmatch(name, given.only):
            continue
        found = one(*case)
        kept = json.loads(path.read_text()) if path.exists() else {"cases": {}}
        kept["cases"] = kept["cases"] | {name: found | {"machine": machine()}}
        kept.setdefault("times", times())
        write_json(path, kept)
        cost = found.get("cost", {"up": 0, "down": 0, "energy": 0})
        console.print(
            f"{name}: {found['accuracy']:.2%}, {cost['up'] + cost['down']:.3g} pulses,"
            f" {cost['energy']:.3g} J, {found['seconds']:.0f} s"
        )
    made = figure(json.loads(path.read_text())["cases"])
    write_figure(made, HERE / "figure.svg")
    write_figure(made, HERE / "figure.png")


if __name__ == "__main__":
    main()
