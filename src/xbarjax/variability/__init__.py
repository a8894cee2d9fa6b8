"""Perturbations of circuits by fabrication, programming, time and reading, `(x, key) -> x`.

Each perturbation acts on an array, of conductances or of segment resistances, and is a pytree of
physical numbers. `Chain` applies several in order; `At` applies one to a leaf of a circuit. A die
is a chain applied to a `Crossbar` under a key, and thousands of dies are its `jax.vmap` over keys.
"""

from .ageing import (
    ClippedLog as ClippedLog,
    Drift as Drift,
    Relaxation as Relaxation,
    equivalent_time as equivalent_time,
    logarithmic as logarithmic,
)
from .correlated import Correlated as Correlated
from .defects import Broken as Broken, Stuck as Stuck
from .endurance import Endurance as Endurance
from .perturbation import (
    AbstractPerturbation as AbstractPerturbation,
    At as At,
    Chain as Chain,
)
from .programming import Levels as Levels, Programming as Programming, Saturating as Saturating
from .pulses import (
    AbstractStep as AbstractStep,
    ExponentialStep as ExponentialStep,
    LinearStep as LinearStep,
    PowerStep as PowerStep,
    Pulsed as Pulsed,
    PulseResponse as PulseResponse,
    pulsed as pulsed,
)
from .reading import Flicker as Flicker, RandomTelegraphNoise as RandomTelegraphNoise
from .spread import Lognormal as Lognormal, Spread as Spread
from .temperature import Activated as Activated, Metallic as Metallic
from .writing import OpenLoopWrite as OpenLoopWrite

__all__ = [
    "AbstractPerturbation",
    "AbstractStep",
    "Activated",
    "At",
    "Broken",
    "Chain",
    "ClippedLog",
    "Correlated",
    "Drift",
    "Endurance",
    "ExponentialStep",
    "Flicker",
    "Levels",
    "LinearStep",
    "Lognormal",
    "Metallic",
    "Programming",
    "OpenLoopWrite",
    "PowerStep",
    "PulseResponse",
    "Pulsed",
    "Relaxation",
    "Saturating",
    "Spread",
    "Stuck",
    "RandomTelegraphNoise",
    "equivalent_time",
    "logarithmic",
    "pulsed",
]


def __dir__() -> list[str]:
    return __all__
