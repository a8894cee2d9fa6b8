"""ngspice netlists of the circuits that `read` solves, for checks and for periphery design."""

from .elements import element as element
from .netlist import OperatingPoint as OperatingPoint, netlist as netlist, simulate as simulate

__all__ = ["OperatingPoint", "element", "netlist", "simulate"]


def __dir__() -> list[str]:
    return __all__
