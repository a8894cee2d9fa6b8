"""Published numbers as parts of a circuit, each with its source: starting points, not truths.

`xbarjax presets` lists them. Every function returns an ordinary noun or perturbation, whose numbers
can be replaced and differentiated.
"""

import math

import jax.numpy as jnp

from ._types import as_physical as si
from .variability import ClippedLog, Drift, Programming, Relaxation
from .wires import Wires

# node [nm]: width [nm], aspect ratio, resistivity [uohm cm], what the barrier of the copper adds
_COPPER = {
    130: (175, 1.6, 2.01, 1.18),
    90: (110, 1.6, 2.20, 1.31),
    65: (105, 1.7, 2.21, 1.21),
    45: (80, 1.7, 2.37, 1.19),
    32: (56, 1.8, 2.63, 1.22),
    22: (40, 1.9, 2.97, 1.19),
    14: (32, 2.0, 3.25, 1.24),
    10: (22, 2.0, 3.95, 1.29),
    7: (20, 2.0, 4.17, 1.33),
    5: (15, 2.0, 4.98, 1.50),
}


def copper_wires(node: int, along_row: float = 2.0, along_col: float = 2.0) -> Wires:
    """Copper lines of half pitch `F` at a technology node: `r = b rho/(AR F^2)` times the pitch of
    a cell, with the barrier's factor `b`, and 0.2 fF/um to ground.

    Widths, aspect ratios, resistivities and the capacitance are those of NeuroSim V1.4 (Peng et
    al., IEEE TCAD 40, 2306, 2021, 10.1109/TCAD.2020.3043731; `Param.cpp`), whose code leaves the
    barrier that it declares without effect; here it counts. Another table of the same authors gives
    14 to 40 % more: take `r` as known within 40 %.

    **Arguments:** `node`: 130, 90, 65, 45, 32, 22, 14, 10, 7 or 5 [nm]; `along_row`, `along_col`:
    the pitch of a cell in `F`: 2 by 2 for a crosspoint, about 4 by 12 for a 1T1R cell.

    Raises `ValueError` for another node.
    """
    if node not in _COPPER:
        raise ValueError(f"node is {node}; it must be one of {', '.join(map(str, _COPPER))}.")
    width, aspect, resistivity, barrier = _COPPER[node]
    per_metre = barrier * resistivity * 1e-8 / (aspect * (width * 1e-9) ** 2)
    row, col = (pitch * width * 1e-9 for pitch in (along_row, along_col))
    r_row, r_col = si(per_metre * row), si(per_metre * col)
    return Wires(r_row, r_col, c_row=si(0.2e-9 * row), c_col=si(0.2e-9 * col))


def rram_programming_wan(days: int = 0) -> Programming:
    """Error of HfOx cells up to 40 uS, 1 s, 1 day and 2 days after write-verify (Wan et al., Nature
    608, 504, 2022, 10.1038/s41586-022-04992-8, as fitted in IBM's AIHWKit).

    **Arguments:** `days`: 0 (1 s), 1 or 2.
    """
    fits = {
        0: [0.348, 16.030, -43.853, 45.393, -16.815],
        1: [0.701, 22.086, -50.773, 47.095, -16.458],
        2: [0.782, 20.274, -43.507, 37.062, -11.934],
    }
    if days not in fits:
        raise ValueError(f"days is {days}; it was measured after 0 (1 s), 1 and 2.")
    return Programming(1e-6 * jnp.asarray(fits[days]), g_max=si(40e-6))


def rram_programming_milo() -> Programming:
    """Error of HfOx cells of 50 to 225 uS after the algorithm IGVVA-100: 4.78 uS less 0.0091 a uS
    (Milo et al., IEEE IRPS 2021; the line through its figure 4 is that of Sandia's CrossSim)."""
    return Programming(jnp.asarray([4.782321e-6, -0.009107 * 225e-6]), g_max=si(225e-6))


def pcm_programming() -> Programming:
    """Error of phase-change cells up to 25 uS after write-verify (Joshi et al., Nat. Commun. 11,
    2473, 2020, 10.1038/s41467-020-16108-9, as fitted in IBM's AIHWKit)."""
    return Programming(1e-6 * jnp.asarray([0.26348, 1.9650, -1.1731]), g_max=si(25e-6))


def pcm_drift(t: float) -> Drift:
    """Drift of phase-change cells up to 25 uS, from 20 s after programming (Joshi et al., Nat.
    Commun. 11, 2473, 2020, 10.1038/s41467-020-16108-9, as fitted in IBM's AIHWKit, where a
    negative exponent counts as positive; here it stays what it is).

    **Arguments:** `t`: [s] since programming, 20 or more.
    """
    if not (math.isfinite(t) and t >= 20):
        raise ValueError(f"t is {t} s; it counts from programming and must be at least 20 s.")
    mean = ClippedLog(si(-0.0155), si(0.0244), si(0.049), si(0.1), g_max=si(25e-6))
    spread = ClippedLog(si(-0.0125), si(-0.0059), si(0.008), si(0.045), g_max=si(25e-6))
    return Drift(si(t), si(20.0), mean, spread)


def hfox_bake(celsius: int) -> Relaxation:
    """What a bake does to cells of a 64k 1T1R HfOx chip of up to 150 uS (measurements of Levy,
    2021, MIT licence; fitted to half of the cells by experiments/relaxation, which checks the
    others). Larger conductances lie outside of the fit.

    **Arguments:** `celsius`: 110 or 130.
    """
    fits = {
        110: ([1.772e-06, -1.431e-05, 1.255e-05], [1e-06, 6.594e-05, -0.000125, 6.196e-05]),
        130: ([2.082e-06, -1.19e-05, 9.56e-06], [9.662e-07, 7.209e-05, -0.0001431, 7.349e-05]),
    }
    if celsius not in fits:
        raise ValueError(f"celsius is {celsius}; bakes at 110 and 130 C were measured.")
    shift, size = fits[celsius]
    return Relaxation(jnp.asarray(shift), jnp.asarray(size), g_max=si(150e-6))
