"""Closed loops of arrays and amplifiers that solve equations in one step.

Each function builds an `xb.Circuit`, whose answer is the voltage of its bus "x":
`xb.solve(loop).v["x"]`. Its stability, its transient, and gradients by every number in it are those
of any circuit (`xb.poles`, `xb.simulate`, `jax.grad`).

Conductances are `(rows, cols)` or `(1, rows, cols)`, or `(2, rows, cols)` for a signed matrix
`G = g[0] - g[1]`, such as `xb.DifferentialPair(...).program(weights, k)` gives. The rows of the
second array are driven with `-v`, by one of two circuits:

- Inverters, with resistors `r_inverter` [ohm]. The error of their gain adds to that of the loop,
    and their poles to its poles.
- A second loop, for `r_inverter=None`: a balanced loop. It has the same arrays and amplifiers once
    more, at buses "-x", "-e" and so on, where voltages have the opposite sign. Each half drives the
    second array of the other half. The source drives its current from "-e" into "e". Half the
    difference of "x" and "-x" is free of offsets that both halves have in common.
"""

from .equations import (
    eigenvector as eigenvector,
    inverse as inverse,
    least_squares as least_squares,
    sparse_code as sparse_code,
)
from .saturated import resting as resting

__all__ = ["eigenvector", "inverse", "least_squares", "resting", "sparse_code"]


def __dir__() -> list[str]:
    return __all__
