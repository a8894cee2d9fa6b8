"""ngspice netlists of the circuits that `read` and `solve` solve, for checks and for periphery
design."""

from .circuits import CircuitPoint as CircuitPoint
from .crossbars import OperatingPoint as OperatingPoint
from .elements import element as element
from .memory import motion as motion
from .netlist import netlist as netlist, simulate as simulate

__all__ = ["CircuitPoint", "OperatingPoint", "element", "motion", "netlist", "simulate"]


def __dir__() -> list[str]:
    return __all__
