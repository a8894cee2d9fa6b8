"""Monte Carlo sweeps over many dies: a grid of settings, sharded over devices, resumable, stored.

Reading and writing stores needs `pip install -e '.[sweep]'` (xarray and Zarr).
"""

from .die import Die as Die
from .plan import Sweep as Sweep
from .rare import FailureRate as FailureRate, failure_rate as failure_rate
from .run import results as results, sweep as sweep
from .statistics import (
    good as good,
    limits_of as limits_of,
    sensitivity as sensitivity,
    soft_yield as soft_yield,
    worst as worst,
    yields as yields,
)

__all__ = [
    "Die",
    "FailureRate",
    "Sweep",
    "failure_rate",
    "good",
    "limits_of",
    "results",
    "sensitivity",
    "soft_yield",
    "sweep",
    "worst",
    "yields",
]


def __dir__() -> list[str]:
    return __all__
