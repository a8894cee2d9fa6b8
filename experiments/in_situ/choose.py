"""Learning rates of `run`, by accuracy on images that no result is tested on.

    python -m experiments.in_situ.choose

Networks with dead devices and ideal wires are trained from a seed of their own with every rate and
judged on the last 10,000 images of the training set. `run.RATES` has the smallest rates within 0.1
points of the best.
"""

import time
from pathlib import Path

from rich.console import Console

from ..common import machine, write_json
from .learning import METHODS, in_software, train
from .network import accuracy, images
from .run import BATCH, CHIPS, SAMPLES

SEED = 100
TRIED = (0.3, 0.6, 1.0, 1.5, 2.0, 3.0)
FEW = (0.6, 1.5, 3.0)  # for parallel updates, which take longest


def main() -> None:
    console, began, found = Console(), time.perf_counter(), {}
    cases = [("64-54-10", name) for name in ("software", *CHIPS)]
    cases += [("196-128-10", name) for name in ("software", "accumulated")]
    for size, name in cases:
        data, of_size = images(size), (SAMPLES[size], BATCH[size])
        for rate in FEW if name == "parallel" else TRIED:
            if name == "software":
                net = in_software(size, rate, SEED, *of_size)
            else:
                given = (METHODS[name], rate, size, 0.0, "anywhere", SEED, *of_size)
                net = train(*given, watch=False)["net"]
            judged = accuracy(net, data["x_validation"], data["y_validation"])
            found.setdefault(f"{size}/{name}", {})[str(rate)] = judged
            console.print(f"{size}/{name}, rate {rate}: {judged:.2%}")
    seconds = time.perf_counter() - began
    made = {"accuracy": found, "machine": machine(), "seconds": seconds}
    write_json(Path(__file__).parent / "choose.json", made)


if __name__ == "__main__":
    main()
