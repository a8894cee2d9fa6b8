"""Circuits solved by ngspice: what they are, how they are made again, and where they are stored."""

from .cam import CAM as CAM
from .chips import CHIPS as CHIPS
from .circuit_noise import CIRCUIT_NOISE as CIRCUIT_NOISE
from .circuits import LOOPS as LOOPS
from .circuits_in_time import LOOPS_IN_TIME as LOOPS_IN_TIME
from .devices import DEVICES as DEVICES
from .linear import LINEAR as LINEAR
from .memristors import MEMRISTORS as MEMRISTORS
from .readouts import READOUTS as READOUTS
from .suite import Family as Family
from .switching import SWITCHING as SWITCHING
from .transients import TRANSIENTS as TRANSIENTS

EVERY = (
    LINEAR,
    DEVICES,
    READOUTS,
    TRANSIENTS,
    SWITCHING,
    MEMRISTORS,
    LOOPS,
    LOOPS_IN_TIME,
    CIRCUIT_NOISE,
    CHIPS,
    CAM,
)
FAMILIES = {family.name: family for family in EVERY}
