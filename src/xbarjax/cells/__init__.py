from .cell import (
    AbstractCell as AbstractCell,
    AbstractGatedCell as AbstractGatedCell,
    AbstractNestedCell as AbstractNestedCell,
    AbstractRangedCell as AbstractRangedCell,
    conducts as conducts,
    gated as gated,
    has_gate as has_gate,
    in_range as in_range,
)
from .compact import VTEAM as VTEAM, StanfordPKU as StanfordPKU, Yakopcic as Yakopcic
from .junction import (
    AntiparallelDiodes as AntiparallelDiodes,
    BackToBackDiodes as BackToBackDiodes,
    Diode as Diode,
    Schottky as Schottky,
)
from .mosfet import Level1Mosfet as Level1Mosfet, Mosfet as Mosfet
from .ohmic import Ohmic as Ohmic
from .polynomial import Polynomial as Polynomial
from .poole_frenkel import PooleFrenkel as PooleFrenkel
from .rectifying import Rectifying as Rectifying
from .series import Series as Series
from .sinh import Sinh as Sinh
from .threshold import ThresholdSwitch as ThresholdSwitch
