"""Choice of the learning rate and the starting point for the published mapping, on validation
images: the last 10,000 of the 60,000 training images, on a seed that no result uses.

    python -m experiments.mnist_wires.choose

One of the two is varied at a time, around the values of `run`; everything else is as in `run`.
"""

import time
from typing import Any

import jax
from rich.console import Console

from xbarjax import nn

from ..common import machine, write_json
from .data import mnist
from .network import Data, accuracy, batches, begun, in_software, on
from .run import BATCH, HERE, RATE, STEPS, UNTILED_ZERO, ZERO, through

SEED, KEPT = 10, 50_000
RATES = {64: (3e-3, 1e-2, 3e-2), 784: (1e-2, 2e-2, 4e-2)}
ZEROS = {64: (0.05, 0.1, 0.2), 784: (0.01, 0.02, 0.04)}
USED = {64: (RATE["published"], ZERO), 784: (2 * RATE["published"], UNTILED_ZERO)}
STEPS_OF = {64: STEPS["published"], 784: STEPS["published"] // 2}  # untiled half as many, for time


def without_tests(data: Data) -> Data:
    """The training images, the last of which serve as test images."""
    x, y = data["x_train"], data["y_train"]
    return {
        "x_train": x[:KEPT],
        "y_train": y[:KEPT],
        "x_test": x[KEPT:],
        "y_test": y[KEPT:],
    }


def main() -> None:
    began, console, cases = time.perf_counter(), Console(), []
    jax.config.update("jax_num_cpu_devices", 2)
    data = without_tests(mnist())
    net = in_software(data, SEED)
    result: dict[str, Any] = {"software": accuracy(net, data), "used": USED, "cases": cases}
    for tile, (rate, zero) in USED.items():
        settings = [(r, zero) for r in RATES[tile]] + [(rate, z) for z in ZEROS[tile] if z != zero]
        for top, start in settings:
            model = on(net, lambda w, tile=tile, start=start: begun(w, tile, start))
            some = batches(data, BATCH, STEPS_OF[tile], SEED)
            model = nn.fit(through(top, STEPS_OF[tile]), model, some).model
            cases.append({"tile": tile, "rate": top, "zero": start, "right": accuracy(model, data)})
            console.print(cases[-1])
    seconds = time.perf_counter() - began
    write_json(HERE / "choice.json", result | {"machine": machine(), "seconds": seconds})
    console.print(f"{seconds:.0f} s; {HERE.name}/choice.json")


if __name__ == "__main__":
    main()
