"""Content-addressable memories: rows that compare themselves with a query.

A `Table` holds a box of intervals per row. Trained tree ensembles become tables by `from_forest`,
and those of X-TIME by `from_xtime`. `quantised` writes a table in levels, and `tiles` divides it
into arrays of a limited size. A `Tile` is such an array as a circuit, which `search` and `lookup`
search.
"""

from .automata import (
    Automaton as Automaton,
    accepted as accepted,
    automaton as automaton,
    states as states,
)
from .bounds import (
    AnalogCam as AnalogCam,
    Bounds as Bounds,
    bounds as bounds,
    compensated as compensated,
    stored as stored,
)
from .cell import (
    AbstractAnalogCell as AbstractAnalogCell,
    AbstractCamCell as AbstractCamCell,
    AbstractStaticCamCell as AbstractStaticCamCell,
)
from .cells import (
    Analog6T2M as Analog6T2M,
    Ternary2T2R as Ternary2T2R,
    Ternary4T2R as Ternary4T2R,
    Ternary16T as Ternary16T,
)
from .curves import Curves as Curves, Sensed as Sensed, lookup as lookup
from .expressions import from_regex as from_regex, symbols_of as symbols_of
from .forest import from_forest as from_forest
from .hashing import differences as differences, hashed as hashed
from .latched import (
    AnalogLatched as AnalogLatched,
    BothSides as BothSides,
    Race as Race,
    race as race,
)
from .levels import (
    Quantised as Quantised,
    cut_points as cut_points,
    digitise as digitise,
    quantised as quantised,
)
from .nearest import Nearest as Nearest, mismatches as mismatches, nearest as nearest
from .placing import DataLevels as DataLevels, data_levels as data_levels, placed as placed
from .search import Found as Found, search as search
from .table import (
    Table as Table,
    classify as classify,
    matches as matches,
    outputs as outputs,
    predict as predict,
)
from .ternary import (
    TernaryCam as TernaryCam,
    distances as distances,
    thermometer as thermometer,
)
from .tile import Tile as Tile
from .tiling import Tiles as Tiles, joined as joined, split as split, tiles as tiles
from .xtime import Xtime as Xtime, from_xtime as from_xtime
