"""Content-addressable memories: rows that compare themselves with a query."""

from .bounds import (
    Bounds as Bounds,
    DataLevels as DataLevels,
    bounds as bounds,
    compensated as compensated,
    data_levels as data_levels,
    stored as stored,
)
from .cells import (
    AbstractCamCell as AbstractCamCell,
    Analog6T2M as Analog6T2M,
    Ternary2T2R as Ternary2T2R,
    Ternary4T2R as Ternary4T2R,
    Ternary16T as Ternary16T,
)
from .curves import Curves as Curves, Sensed as Sensed, lookup as lookup
from .search import Found as Found, search as search
from .tile import Tile as Tile
