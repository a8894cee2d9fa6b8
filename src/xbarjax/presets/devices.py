"""Published numbers as parts of a circuit, each with its source: starting points, not truths.

`xbarjax presets` lists them. Every function returns an ordinary noun or perturbation, whose numbers
can be replaced and differentiated.
"""

import math

import jax.numpy as jnp

from .._types import Values, as_physical as si, require_bits, require_positive
from ..cells import Polynomial
from ..readout import Cco
from ..variability import ClippedLog, Drift, OpenLoopWrite, Programming, Relaxation, Saturating
from ..wires import Wires

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


def rram_milo(g: Values) -> Polynomial:
    """The read nonlinearity of a HfO2 RRAM device: a cubic whose coefficients depend on `g` [S].

    The coefficients are cubic and quadratic in `log10(g)`, up to 0.5 V; they are fitted to four
    devices of 62.5 to 110 uS and to an ohmic one assumed at 225 uS. Source: V. Milo et al., IRPS
    2021, doi:10.1109/IRPS46558.2021.9405119, as digitised in CrossSim (`RRAM_Milo`).
    """
    g = si(g, "g")
    x = jnp.log10(g)
    g_2 = jnp.polyval(jnp.asarray([1.388e-4, 1.541e-3, 5.711e-3, 7.063e-3], x.dtype), x)
    g_3 = jnp.polyval(jnp.asarray([8.8710e-5, 6.7919e-4, 1.2968e-3], x.dtype), x)
    return Polynomial(g, g_2, g_3, jnp.asarray(0.5, x.dtype))


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


def pcm_programming_hermes(devices: int = 2) -> Programming:
    """Error of phase-change cells of the chip HERMES, of one device (to 10.35 uS; Le Gallo et al.,
    Nat. Electron. 6, 680, 2023, 10.1038/s41928-023-01010-1) or of two in parallel (to 20.7 uS;
    Vasilopoulos et al., IEEE Trans. Electron Devices, 2023), as fitted in IBM's AIHWKit.

    **Arguments:** `devices`: 1 or 2 a cell.
    """
    fits = {
        1: ([0.15781817, 2.32443916, -2.16310839, 0.68841818], 10.35e-6),
        2: ([0.16603222, 4.71806468, -8.48101252, 4.68961419], 20.7e-6),
    }
    if devices not in fits:
        raise ValueError(f"devices is {devices}; cells of 1 and of 2 were measured.")
    coefficients, g_max = fits[devices]
    return Programming(1e-6 * jnp.asarray(coefficients), g_max=si(g_max))


def rram_programming_falcone(acceptance: float = 2.0) -> Programming:
    """Error of CMO/HfOx cells of 9 to 88 uS after program-and-verify, in `g` linear: about half of
    what is accepted (Falcone et al., 2025, arXiv:2502.04524, as fitted in IBM's AIHWKit).

    **Arguments:** `acceptance`: where verification stops, 0.2 or 2 [% of the target].
    """
    fits = {0.2: [0.00081107, 0.00106879], 2.0: [0.0112185391, 0.01129027418]}
    if acceptance not in fits:
        raise ValueError(f"acceptance is {acceptance} %; 0.2 and 2 % were measured.")
    constant, linear = fits[acceptance]
    return Programming(jnp.asarray([constant * 1e-6, linear * 1e-6]), g_max=si(1e-6))


def rram_relaxation_falcone(t: float) -> Relaxation:
    """Relaxation of CMO/HfOx cells after programming, at any conductance: a shift and a spread that
    grow with `ln t` (Falcone et al., 2025, arXiv:2502.04524, as fitted in IBM's AIHWKit).

    **Arguments:** `t`: [s] since programming, 1 or more.
    """
    if not (math.isfinite(t) and t >= 1):
        raise ValueError(f"t is {t} s; it counts from programming and must be at least 1 s.")
    shift, size = -0.08900206 * math.log(t), 0.04201137 * math.log(t) + 0.41183342
    return Relaxation(jnp.asarray([shift * 1e-6]), jnp.asarray([size * 1e-6]), g_max=si(1e-6))


def sonos_programming(v_read: float, days: int = 0) -> Saturating:
    """Deviation of charge-trap cells in 40 nm SONOS after programming (up to 3.2 uA) and days later
    (up to 1.8 uA): up to 20 to 35 nA (Agrawal et al., IEEE IEDM 2022, 21.7, as fitted in Sandia's
    CrossSim, whose fits of how means drift are not here).

    **Arguments:** `v_read`: [V] at which a conductance stands for a current; `days`: 0 to 5.
    """
    fits = [
        (19.88665, 176.3115),
        (25.59102, 186.85544),
        (28.72753, 193.56834),
        (31.04318, 198.90332),
        (33.76214, 204.77023),
        (34.57909, 207.34309),
    ]
    if days not in range(len(fits)):
        raise ValueError(f"days is {days}; it was measured after 0 to 5.")
    return _saturating(*fits[days], v_read)


def sonos_read_noise(v_read: float) -> Saturating:
    """Read noise of the cells of `sonos_programming`: up to 13 nA; a fresh key per read. Source and
    arguments are the same."""
    return _saturating(12.58037, 215.36557, v_read)


def _saturating(size: float, i_0: float, v_read: float) -> Saturating:
    """Spread of currents [nA] that stand for conductances at `v_read` [V]."""
    v = si(v_read)
    require_positive(v, "v_read", "V")
    return Saturating(1e-9 * size / v, 1e-9 * i_0 / v)


def ecram_pulses_lithium(g_min: float, g_max: float) -> OpenLoopWrite:
    """Pulses that raise a lithium ECRAM cell: about 1000 of them from end to end, 30 % of a step
    from pulse to pulse and 10 % from cell to cell (Tang et al., IEEE IEDM 2018,
    10.1109/IEDM.2018.8614551, as fitted in IBM's AIHWKit).

    **Arguments:** `g_min`, `g_max`: the ends of the range [S], which the fit leaves open.
    """
    return _linear_step(0.002, 0.1153, -0.8276, 1.1724, 0.1, 0.3, g_min, g_max)


def ecram_pulses_metal_oxide(g_min: float, g_max: float) -> OpenLoopWrite:
    """Pulses that raise a metal-oxide ECRAM cell: about 8000 of them from end to end, 200 % of a
    step from pulse to pulse and 10 % from cell to cell (Kim et al., IEEE IEDM 2019, as fitted in
    IBM's AIHWKit).

    **Arguments:** `g_min`, `g_max`: the ends of the range [S], which the fit leaves open.
    """
    return _linear_step(2.8214e-4, 0.4152, -0.8286, 1.1714, 0.1, 2.0, g_min, g_max)


def _linear_step(dw, gamma, w_min, w_max, device, cycle, g_min, g_max) -> OpenLoopWrite:
    """Steps `dw (1 - gamma w/w_max)` of weights, as a part of their range, from its lower end."""
    first = dw * (1 - gamma * w_min / w_max)
    slope = gamma * (w_max - w_min) / (w_max - gamma * w_min)
    step = first / (w_max - w_min)
    return OpenLoopWrite(*map(si, (step, slope, g_min, g_max, device, cycle)))


def cco_hermes(i_max: float, bits: int = 8) -> Cco:
    """The oscillator of the core HERMES as a converter: 300 ps a count at the largest current
    (Khaddam-Aljameh et al., IEEE J. Solid-State Circuits 57, 1027, 2022,
    10.1109/JSSC.2022.3140414), without its errors.

    **Arguments:** `i_max`: the largest current [A], which the source leaves open; `bits`: it counts
    to `2^bits` there.
    """
    require_bits(bits, "bits")
    largest, period = si(i_max), 300e-12
    require_positive(largest, "i_max", "A")
    return Cco(1 / (period * largest), si(2**bits * period), f_max=si(1 / period))


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
    """Relaxation of cells of a 64k 1T1R HfOx chip of up to 150 uS in a bake (measurements of Levy,
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
