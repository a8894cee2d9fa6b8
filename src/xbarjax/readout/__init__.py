from .ammeter import Ammeter as Ammeter
from .converters import (
    AbstractConverter as AbstractConverter,
    Adc as Adc,
    Flash as Flash,
    Ramp as Ramp,
    Sar as Sar,
)
from .integrator import Integrator as Integrator, reset_noise as reset_noise
from .mirror import CurrentConveyor as CurrentConveyor, mirror_mismatch as mirror_mismatch
from .readout import (
    AbstractClampedReadout as AbstractClampedReadout,
    AbstractIdealReadout as AbstractIdealReadout,
    AbstractNearReadout as AbstractNearReadout,
    AbstractReadout as AbstractReadout,
    AbstractReadoutInTime as AbstractReadoutInTime,
    Memory as Memory,
    require_linear as require_linear,
    require_static as require_static,
)
from .sampling import (
    Cco as Cco,
    SampleHold as SampleHold,
    share_charge as share_charge,
    turns as turns,
)
from .tia import Tia as Tia
from .virtual_ground import VirtualGround as VirtualGround
from .voltage import VoltageSense as VoltageSense, normalised as normalised
