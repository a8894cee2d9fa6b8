"""Figures of solved, compensated and identified arrays, of Monte Carlo sweeps, and of searches in
content-addressable memories.

Every function returns a new `matplotlib.figure.Figure` and touches no global state: save it with
`figure.savefig(...)`, or leave it as the last line of a notebook cell.
"""

from .arrays import (
    compensation as compensation,
    currents as currents,
    drops as drops,
    overview as overview,
    voltages as voltages,
)
from .cam import (
    intervals as intervals,
    margins as margins,
    match_lines as match_lines,
    searches as searches,
    windows as windows,
)
from .monte_carlo import (
    die_map as die_map,
    dies as dies,
    distributions as distributions,
    yield_curves as yield_curves,
)
from .twin import (
    parameter_map as parameter_map,
    residuals as residuals,
)

__all__ = [
    "compensation",
    "currents",
    "die_map",
    "dies",
    "distributions",
    "drops",
    "intervals",
    "margins",
    "match_lines",
    "overview",
    "parameter_map",
    "residuals",
    "searches",
    "voltages",
    "windows",
    "yield_curves",
]


def __dir__() -> list[str]:
    return __all__
