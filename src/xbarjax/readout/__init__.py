from .converters import (
    AbstractConverter as AbstractConverter,
    Adc as Adc,
    Flash as Flash,
    Ramp as Ramp,
    Sar as Sar,
)
from .mirror import Conveyor as Conveyor, mirror_mismatch as mirror_mismatch
from .readout import (
    AbstractClampedReadout as AbstractClampedReadout,
    AbstractReadout as AbstractReadout,
    is_linear as is_linear,
)
from .tia import Tia as Tia
from .virtual_ground import VirtualGround as VirtualGround
from .voltage import VoltageSense as VoltageSense, normalised as normalised
