from .converters import (
    AbstractConverter as AbstractConverter,
    Adc as Adc,
    Flash as Flash,
    Ramp as Ramp,
    Sar as Sar,
)
from .virtual_ground import VirtualGround as VirtualGround
