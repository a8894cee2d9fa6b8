"""Circuits solved by ngspice: what they are, how they are made again, and where they are stored."""

from .circuits import LOOPS as LOOPS
from .devices import DEVICES as DEVICES
from .linear import LINEAR as LINEAR
from .readouts import READOUTS as READOUTS
from .suite import Family as Family
from .transients import TRANSIENTS as TRANSIENTS

FAMILIES = {family.name: family for family in (LINEAR, DEVICES, READOUTS, TRANSIENTS, LOOPS)}
