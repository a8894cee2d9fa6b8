from .cell import (
    AbstractCell as AbstractCell,
    AbstractGatedCell as AbstractGatedCell,
    AbstractRangedCell as AbstractRangedCell,
    in_range as in_range,
    linearise as linearise,
)
from .ohmic import Ohmic as Ohmic
