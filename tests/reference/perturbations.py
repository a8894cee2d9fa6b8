"""One of every perturbation of conductances."""

from typing import Any

from xbarjax import variability as va

Drift: Any = va.Drift  # takes numbers, which pyright does not see of its fields

EVERY = {
    "spread": va.Spread(0.1, 1e-6),
    "lognormal": va.Lognormal(0.1),
    "correlated": va.Correlated(0.1, 2.0, 3.0),
    "programming": va.Programming([1e-6, 1e-6], 1e-4),
    "saturating": va.Saturating(1e-6, 1e-5),
    "pulses": va.OpenLoopWrite(1e-3, 0.2, 1e-6, 1e-4, 0.1, 0.3),
    "levels": va.Levels(16, 1e-6, 1e-4),
    "stuck": va.Stuck(0.1, 0.1, 0.1, 1e-4, 1e-6),
    "broken": va.Broken(0.1),
    "flicker": va.Flicker(1e-4, 1.0, 1e6),
    "telegraph": va.RandomTelegraphNoise(0.1, 1e-3, 1e-3),
    "drift": Drift(1e4, 20.0, 0.05, 0.01),
    "relaxation": va.Relaxation([0.0, 1e-6], [1e-6], 1e-4),
    "metallic": va.Metallic(0.004, 400.0),
    "activated": va.Activated(0.1, 400.0),
}
