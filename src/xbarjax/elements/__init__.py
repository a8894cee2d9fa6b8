"""Elements of circuits (`xb.Circuit`): arrays, resistors, sources, amplifiers and devices between
named buses."""

from .array import Array as Array
from .device import AntiparallelDiodes as AntiparallelDiodes, Device as Device, Diode as Diode
from .element import (
    AbstractElement as AbstractElement,
    AbstractNoisyElement as AbstractNoisyElement,
    AbstractStaticElement as AbstractStaticElement,
    NoiseSource as NoiseSource,
    Pick as Pick,
    terminal as terminal,
)
from .opamp import OpAmp as OpAmp
from .passive import Capacitor as Capacitor, Resistor as Resistor, Switch as Switch
from .sources import CurrentSource as CurrentSource, VoltageSource as VoltageSource

__all__ = [
    "AbstractElement",
    "AbstractNoisyElement",
    "AbstractStaticElement",
    "AntiparallelDiodes",
    "Array",
    "Capacitor",
    "CurrentSource",
    "Device",
    "Diode",
    "NoiseSource",
    "OpAmp",
    "Pick",
    "Resistor",
    "Switch",
    "VoltageSource",
    "terminal",
]


def __dir__() -> list[str]:
    return __all__
