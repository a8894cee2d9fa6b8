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
from .diffusive import Diffusive as Diffusive
from .dynamic import DynamicMemristor as DynamicMemristor
from .ecram import Ecram as Ecram
from .jart import JartVCM as JartVCM
from .junction import (
    AntiparallelDiodes as AntiparallelDiodes,
    BackToBackDiodes as BackToBackDiodes,
    Diode as Diode,
    Schottky as Schottky,
)
from .linear_ion_drift import LinearIonDrift as LinearIonDrift
from .memory import (
    AbstractMemoryCell as AbstractMemoryCell,
    bounds_of as bounds_of,
    has_memory as has_memory,
    in_stage as in_stage,
    states_after as states_after,
    states_of as states_of,
    with_states as with_states,
)
from .messaris import Messaris as Messaris
from .mosfet import Level1Mosfet as Level1Mosfet, Mosfet as Mosfet, PChannel as PChannel
from .ohmic import Ohmic as Ohmic
from .parallel import Parallel as Parallel
from .polynomial import Polynomial as Polynomial
from .poole_frenkel import PooleFrenkel as PooleFrenkel
from .rectifying import Rectifying as Rectifying
from .series import Series as Series
from .sinh import Sinh as Sinh
from .stanford import StanfordPKU as StanfordPKU
from .team import TEAM as TEAM
from .thermal import ThermalSwitch as ThermalSwitch
from .threshold import ThresholdSwitch as ThresholdSwitch
from .vteam import VTEAM as VTEAM
from .yakopcic import Yakopcic as Yakopcic
