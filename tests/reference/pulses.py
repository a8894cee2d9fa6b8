"""Pulses given to devices one by one in NumPy, in the weights that IBM's AIHWKit documents its
pulsed devices in: a weight lies between `low` < 0 and `high` > 0, and a step is `dw` at weight 0 or
where the model says. `d` is 1 up and -1 down."""

from collections.abc import Callable

import numpy as np

Step = Callable[[np.ndarray, int], np.ndarray]


def linear(dw: float, gammas: tuple[float, float], low: float, high: float) -> Step:
    """`dw (1 - gamma w/bound)`, with the bound in whose direction the pulse goes."""
    return lambda w, d: dw * (1 - gammas[d < 0] * w / (high if d > 0 else low))


def exponential(
    dw: tuple[float, float],
    factors: tuple[float, float],
    gammas: tuple[float, float],
    a: float,
    b: float,
    low: float,
    high: float,
) -> Step:
    """`dw max(1 - A exp(d gamma z), 0)` with `z = 2 a w/(high - low) + b`."""

    def step(w, d):
        z = 2 * a * w / (high - low) + b
        k = int(d < 0)
        return dw[k] * np.maximum(1 - factors[k] * np.exp(d * gammas[k] * z), 0)

    return step


def power(dw: tuple[float, float], powers: tuple[float, float], low: float, high: float) -> Step:
    """`dw omega^gamma`, with the part `omega` of the range that is left."""

    def step(w, d):
        omega = (high - w) / (high - low)
        return dw[0] * omega ** powers[0] if d > 0 else dw[1] * (1 - omega) ** powers[1]

    return step


def train(
    step: Step,
    w: np.ndarray,
    pulses: np.ndarray,
    low: float,
    high: float,
    cycle: float = 0.0,
    floor: float = 0.0,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Weights after `pulses` (signed counts) from `w`, device after device, pulse after pulse."""
    after = np.array(w, float)
    for at in np.ndindex(after.shape):
        d = int(np.sign(pulses[at]))
        for _ in range(abs(int(pulses[at]))):
            mean = step(after[at], d)
            kick = 0.0 if rng is None else (cycle * mean + floor) * rng.normal()
            after[at] = min(max(after[at] + d * (mean + kick), low), high)
    return after
