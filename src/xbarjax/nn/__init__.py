"""Neural networks whose products are exact array reads, as equinox modules."""

from . import in_situ as in_situ, methods as methods
from .analog import Arrays as Arrays, tile as tile
from .convert import convert as convert
from .frozen import Frozen as Frozen, frozen as frozen
from .layers import MLP as MLP, Conv2d as Conv2d, Linear as Linear
from .methods import Hardware as Hardware
from .routes import by_matrix as by_matrix, by_reads as by_reads, cheapest as cheapest
from .tiling import Tiling as Tiling
from .training import (
    State as State,
    Training as Training,
    TrainingError as TrainingError,
    fit as fit,
    on_die as on_die,
    only as only,
    step as step,
    trainable as trainable,
    varying as varying,
    within_bounds as within_bounds,
)

__all__ = [
    "Arrays",
    "Conv2d",
    "Frozen",
    "Hardware",
    "Linear",
    "MLP",
    "State",
    "Tiling",
    "Training",
    "TrainingError",
    "by_matrix",
    "by_reads",
    "cheapest",
    "convert",
    "fit",
    "frozen",
    "in_situ",
    "methods",
    "on_die",
    "only",
    "step",
    "tile",
    "trainable",
    "varying",
    "within_bounds",
]


def __dir__() -> list[str]:
    return __all__
