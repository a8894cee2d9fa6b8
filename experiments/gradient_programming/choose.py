"""Windows of `run`, chosen on an array that no result is tested on.

    python -m experiments.gradient_programming.choose

Every method programs one array of a seed of its own with all windows, and with cells that are done
once they were found inside or that are read again. Write-verify takes what ends with the lowest
error of products. Gradient descent takes what has the lowest error where it has given as many
pulses as write-verify, for either write-verify.
"""

import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from ..common import machine, write_json
from .chips import CHIPS, DESCENTS, methods, program, weights

SEED = 100
WINDOWS = (0.02, 0.03, 0.045, 0.07, 0.1)
STEPS = 30
WIRES = (None, 2.0)  # [ohm per segment]


def main() -> None:
    console, began, found = Console(), time.perf_counter(), {}
    window = jnp.asarray(WINDOWS * 2, jnp.float32)
    closes = jnp.repeat(jnp.asarray([True, False]), len(WINDOWS))
    for name, make in CHIPS.items():
        chip = make()
        target = weights(chip, jax.random.key(SEED))
        for r in WIRES:
            wires = None if r is None else jnp.float32(r)
            limits: dict[str, float] = {}
            key = jax.random.key(SEED + 1)
            for method, all_of in methods(chip, len(target), lambda _: (window, closes)).items():
                run = lambda m: program(chip, m, target, wires, STEPS, key)  # noqa: B023
                course = eqx.filter_vmap(run)(all_of)
                pulses, error = (np.asarray(x, float) for x in course[:2])
                budgets = limits if method in DESCENTS else {"": np.inf}
                for budget, most in budgets.items():
                    at = [np.searchsorted(p, most, side="right") - 1 for p in pulses]
                    tried = [
                        {"window": float(w), "closes": bool(c), "pulses": p[k], "error": e[k]}
                        for w, c, p, e, k in zip(window, closes, pulses, error, at)
                    ]
                    best = min(tried, key=lambda x: x["error"])
                    if method not in DESCENTS:
                        limits[method] = best["pulses"]
                    setting = f"{name}/{r or 0:g}/{method}" + f"/{budget}" * (method in DESCENTS)
                    found[setting] = {"chosen": best, "tried": tried}
                    console.print(f"{setting}: {best}")
    seconds = time.perf_counter() - began
    made = {"settings": found, "machine": machine(), "seconds": seconds}
    write_json(Path(__file__).parent / "choose.json", made)


if __name__ == "__main__":
    main()
