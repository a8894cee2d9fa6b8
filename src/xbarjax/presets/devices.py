"""Published device numbers as parts of a circuit, with sources: starting points, not truths.

`xbarjax presets` lists them. Every function returns an ordinary cell, readout, wires,
perturbation or pulse response, whose numbers can be replaced and differentiated.
"""

import math

import jax.numpy as jnp

from .._types import Values, as_physical as si, require_bits, require_positive
from ..cells import Polynomial, Yakopcic
from ..readout import Cco
from ..variability import (
    ClippedLog,
    Drift,
    ExponentialStep,
    LinearStep,
    OpenLoopWrite,
    Programming,
    PulseResponse,
    Relaxation,
    Saturating,
)
from ..wires import Wires

# node [nm]: width [nm], aspect ratio, resistivity [uohm cm], factor of the copper's barrier
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
    """Copper wires of half pitch `F` at a technology node: `r = b rho/(AR F^2)` times the cell
    pitch, with the barrier's factor `b`, and 0.2 fF/um to ground.

    Widths, aspect ratios, resistivities and the capacitance are those of NeuroSim V1.4 (Peng et
    al., IEEE TCAD 40, 2306, 2021, 10.1109/TCAD.2020.3043731; `Param.cpp`). NeuroSim's code declares
    the barrier's factor but never applies it; here the factor applies. Another table of the same
    authors gives 14 to 40 % more: `r` is known within about 40 %.

    **Arguments:** `node`: 130, 90, 65, 45, 32, 22, 14, 10, 7 or 5 [nm]; `along_row`, `along_col`:
    cell pitch in units of `F`: 2 by 2 for a crosspoint, about 4 by 12 for a 1T1R cell.

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
    """Read nonlinearity of a HfO2 RRAM device up to 0.5 V: a cubic that depends on `g` [S].

    In `log10(g)`, `g_2` is a cubic and `g_3` a quadratic, fitted to four devices of 62.5 to 110 uS
    and to an ohmic device assumed at 225 uS. Source: V. Milo et al., IRPS 2021,
    doi:10.1109/IRPS46558.2021.9405119, as digitised in CrossSim (`RRAM_Milo`).
    """
    g = si(g, "g")
    x = jnp.log10(g)
    g_2 = jnp.polyval(jnp.asarray([1.388e-4, 1.541e-3, 5.711e-3, 7.063e-3], x.dtype), x)
    g_3 = jnp.polyval(jnp.asarray([8.8710e-5, 6.7919e-4, 1.2968e-3], x.dtype), x)
    return Polynomial(g, g_2, g_3, jnp.asarray(0.5, x.dtype))


_YAKOPCIC = "a_1 a_2 b k_p k_n v_p v_n x_p x_n alpha_p alpha_n".split()


def yakopcic_oblea(x: Values) -> Yakopcic:
    """Chalcogenide device of Oblea et al. in the Yakopcic model, under a sine of 0.45 V and 100 Hz
    from a state `x` of 0.11.

    Source: C. Yakopcic et al., IEEE Trans. Comput.-Aided Des. 32, 1201 (2013),
    doi:10.1109/TCAD.2013.2252057; numbers as in the models of Knowm and of T. Tiotto.
    """
    return _yakopcic(x, 0.17, 0.17, 0.05, 4000.0, 4000.0, 0.16, 0.15, 0.3, 0.5, 1.0, 5.0)


def yakopcic_miao(x: Values) -> Yakopcic:
    """TaOx device of Miao et al. in the Yakopcic model, under sweeps from -1.25 to 0.75 V within
    20 s from a state `x` of 0.11.

    Source: C. Yakopcic et al., IEEE Trans. Comput.-Aided Des. 32, 1201 (2013),
    doi:10.1109/TCAD.2013.2252057; numbers as in the models of T. Tiotto.
    """
    return _yakopcic(x, 0.11, 0.11, 0.5, 7.5, 2.0, 0.09, 0.75, 0.3, 0.5, 1.0, 5.0)


def yakopcic_jo(x: Values) -> Yakopcic:
    """Silicon device with silver ions of Jo et al. in the Yakopcic model, under sweeps from -2 to
    4 V within 5 s from a state `x` of 0.1.

    Source: C. Yakopcic et al., IEEE Trans. Comput.-Aided Des. 32, 1201 (2013),
    doi:10.1109/TCAD.2013.2252057; numbers as in the models of T. Tiotto.
    """
    return _yakopcic(x, 3.7e-7, 4.35e-7, 0.7, 0.005, 0.08, 1.5, 0.5, 0.2, 0.5, 1.2, 3.0)


def _yakopcic(x: Values, *parameters: float) -> Yakopcic:
    return Yakopcic(si(x, "x"), **dict(zip(_YAKOPCIC, map(si, parameters))))


def rram_programming_wan(days: int = 0) -> Programming:
    """Write-verify error of HfOx cells up to 40 uS, after 1 s, 1 day or 2 days (Wan et al., Nature
    608, 504, 2022, 10.1038/s41586-022-04992-8, as fitted in IBM's AIHWKit).

    **Arguments:** `days`: 0 (1 s), 1 or 2 after programming. Raises `ValueError` for others.
    """
    fits = {
        0: [0.348, 16.030, -43.853, 45.393, -16.815],
        1: [0.701, 22.086, -50.773, 47.095, -16.458],
        2: [0.782, 20.274, -43.507, 37.062, -11.934],
    }
    if days not in fits:
        raise ValueError(f"days is {days}; it must be 0 (1 s), 1 or 2, as measured.")
    return Programming(1e-6 * jnp.asarray(fits[days]), g_max=si(40e-6))


def rram_programming_milo() -> Programming:
    """Programming error of HfOx cells of 50 to 225 uS by the IGVVA-100 algorithm: a standard
    deviation of `4.78 uS - 0.0091 g` (Milo et al., IEEE IRPS 2021; the line through its figure 4 is
    that of Sandia's CrossSim)."""
    return Programming(jnp.asarray([4.782321e-6, -0.009107 * 225e-6]), g_max=si(225e-6))


def pcm_programming() -> Programming:
    """Write-verify error of phase-change cells up to 25 uS (Joshi et al., Nat. Commun. 11, 2473,
    2020, 10.1038/s41467-020-16108-9, as fitted in IBM's AIHWKit)."""
    return Programming(1e-6 * jnp.asarray([0.26348, 1.9650, -1.1731]), g_max=si(25e-6))


def pcm_programming_hermes(devices: int = 2) -> Programming:
    """Programming error of phase-change cells on the HERMES chip, of one device up to 10.35 uS (Le
    Gallo et al., Nat. Electron. 6, 680, 2023, 10.1038/s41928-023-01010-1) or of two in parallel up
    to 20.7 uS (Vasilopoulos et al., IEEE Trans. Electron Devices, 2023), as fitted in IBM's
    AIHWKit.

    **Arguments:** `devices`: 1 or 2 per cell. Raises `ValueError` for others.
    """
    fits = {
        1: ([0.15781817, 2.32443916, -2.16310839, 0.68841818], 10.35e-6),
        2: ([0.16603222, 4.71806468, -8.48101252, 4.68961419], 20.7e-6),
    }
    if devices not in fits:
        raise ValueError(f"devices is {devices}; it must be 1 or 2 per cell, as measured.")
    coefficients, g_max = fits[devices]
    return Programming(1e-6 * jnp.asarray(coefficients), g_max=si(g_max))


def rram_programming_falcone(acceptance: float = 2.0) -> Programming:
    """Program-and-verify error of CMO/HfOx cells of 9 to 88 uS, linear in `g`: about half the
    acceptance range (Falcone et al., 2025, arXiv:2502.04524, as fitted in IBM's AIHWKit).

    **Arguments:** `acceptance`: tolerance of verification, 0.2 or 2 [% of the target]. Raises
    `ValueError` for others.
    """
    fits = {0.2: [0.00081107, 0.00106879], 2.0: [0.0112185391, 0.01129027418]}
    if acceptance not in fits:
        raise ValueError(f"acceptance is {acceptance} %; it must be 0.2 or 2 %, as measured.")
    constant, linear = fits[acceptance]
    return Programming(jnp.asarray([constant * 1e-6, linear * 1e-6]), g_max=si(1e-6))


def rram_relaxation_falcone(t: float) -> Relaxation:
    """Relaxation of CMO/HfOx cells after programming, the same at any conductance: a shift and a
    spread that grow with `ln t` (Falcone et al., 2025, arXiv:2502.04524, as fitted in IBM's
    AIHWKit).

    **Arguments:** `t`: time [s] since programming, at least 1, else `ValueError`.
    """
    if not (math.isfinite(t) and t >= 1):
        raise ValueError(f"t is {t} s; it counts from programming and must be at least 1 s.")
    shift, size = -0.08900206 * math.log(t), 0.04201137 * math.log(t) + 0.41183342
    return Relaxation(jnp.asarray([shift * 1e-6]), jnp.asarray([size * 1e-6]), g_max=si(1e-6))


def sonos_programming(v_read: float, days: int = 0) -> Saturating:
    """Programming error of charge-trap cells in 40 nm SONOS: a deviation that saturates at 20 to 35
    nA, for currents up to 3.2 uA after programming and up to 1.8 uA days later (Agrawal et al.,
    IEEE IEDM 2022, 21.7, as fitted in Sandia's CrossSim, without its fits of the drift of means).

    **Arguments:** `v_read`: read voltage [V] that turns currents into conductances; `days`: 0 to 5
    after programming. Raises `ValueError` for others.
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
        raise ValueError(f"days is {days}; it must be from 0 to 5, as measured.")
    return _saturating(*fits[days], v_read)


def sonos_read_noise(v_read: float) -> Saturating:
    """Read noise of charge-trap cells in 40 nm SONOS, up to 13 nA; a fresh key per read. The source
    and `v_read` are those of `sonos_programming`."""
    return _saturating(12.58037, 215.36557, v_read)


def _saturating(size: float, i_0: float, v_read: float) -> Saturating:
    """Error in conductance [S] from a size and a scale in current [nA], at `v_read` [V]."""
    v = si(v_read)
    require_positive(v, "v_read", "V")
    return Saturating(1e-9 * size / v, 1e-9 * i_0 / v)


def ecram_pulses_lithium(g_min: float, g_max: float) -> OpenLoopWrite:
    """Pulses that raise a lithium ECRAM cell: about 1000 from end to end. A step varies by 30 %
    from pulse to pulse and by 10 % from cell to cell (Tang et al., IEEE IEDM 2018,
    10.1109/IEDM.2018.8614551, as fitted in IBM's AIHWKit).

    **Arguments:** `g_min`, `g_max`: ends of the range [S], which the fit does not give.
    """
    return _linear_step(0.002, 0.1153, -0.8276, 1.1724, 0.1, 0.3, g_min, g_max)


def ecram_pulses_metal_oxide(g_min: float, g_max: float) -> OpenLoopWrite:
    """Pulses that raise a metal-oxide ECRAM cell: about 8000 from end to end. A step varies by
    200 % from pulse to pulse and by 10 % from cell to cell (Kim et al., IEEE IEDM 2019, as fitted
    in IBM's AIHWKit).

    **Arguments:** `g_min`, `g_max`: ends of the range [S], which the fit does not give.
    """
    return _linear_step(2.8214e-4, 0.4152, -0.8286, 1.1714, 0.1, 2.0, g_min, g_max)


def _linear_step(dw, gamma, w_min, w_max, device, cycle, g_min, g_max) -> OpenLoopWrite:
    """AIHWKit's steps `dw (1 - gamma w/w_max)` of a weight, rescaled to its range `w_min` to
    `w_max`."""
    first = dw * (1 - gamma * w_min / w_max)
    slope = gamma * (w_max - w_min) / (w_max - gamma * w_min)
    step = first / (w_max - w_min)
    return OpenLoopWrite(*map(si, (step, slope, g_min, g_max, device, cycle)))


def ecram_response_lithium(g_min: float, g_max: float) -> PulseResponse:
    """Response of a lithium ECRAM cell to pulses up and down: about 1000 from end to end. A step
    varies by 30 % from pulse to pulse (Tang et al., IEEE IEDM 2018, 10.1109/IEDM.2018.8614551, as
    fitted in IBM's AIHWKit, which lets the steps of cells differ by 10 % and the ends by 5 %).

    **Arguments:** `g_min`, `g_max`: ends of the range [S], which the fit does not give.
    """
    return _linear_steps(0.002, (0.1153, 0.5085), -0.8276, 1.1724, 0.3, g_min, g_max)


def ecram_response_metal_oxide(g_min: float, g_max: float) -> PulseResponse:
    """Response of a metal-oxide ECRAM cell to pulses up and down: about 8000 from end to end. A
    step varies by 200 % from pulse to pulse (Kim et al., IEEE IEDM 2019, as fitted in IBM's
    AIHWKit, which lets the steps of cells differ by 10 % and the ends by 5 %).

    **Arguments:** `g_min`, `g_max`: ends of the range [S], which the fit does not give.
    """
    return _linear_steps(2.8214e-4, (0.4152, 0.7342), -0.8286, 1.1714, 2.0, g_min, g_max)


def _linear_steps(dw, gammas, w_min, w_max, cycle, g_min, g_max) -> PulseResponse:
    """AIHWKit's steps `dw (1 - gamma w/bound)` of a weight up and down, in siemens."""
    up, down = gammas
    return PulseResponse(
        _from_end(dw, up, w_min, w_max, g_max - g_min),
        _from_end(dw, down, w_max, w_min, g_max - g_min),
        si(g_min),
        si(g_max),
        cycle=si(cycle),
    )


def _from_end(dw, gamma, start, end, width) -> LinearStep:
    """AIHWKit's steps `dw (1 - gamma w/end)` of a weight from `start` to `end`, in siemens."""
    first, last = dw * (1 - gamma * start / end), dw * (1 - gamma)
    return LinearStep(si(first * width / abs(end - start)), si(1 - last / first))


def rram_response_gong(g_min: float, g_max: float) -> PulseResponse:
    """Response of an analog RRAM device to pulses: first steps in both directions are larger than
    the last, a step varies by 500 % from pulse to pulse, and a read after a write by 5 % of the
    range (Gong et al., Nat. Commun. 9, 2018, 10.1038/s41467-018-04485-1, as fitted in IBM's
    AIHWKit, `ReRamESPresetDevice`).

    AIHWKit lets the steps of devices differ by 20 % and the ends of their range, as weights from -1
    to 1, by 30 %. Its up-down bias of 0.259 lowers the steps down alone, as in its code.

    **Arguments:** `g_min`, `g_max`: ends of the range [S], which the fit does not give.
    """
    step = 0.00135 * (g_max - g_min) / 2
    return PulseResponse(
        ExponentialStep(si(step), si(1.18445), si(5.0)),
        ExponentialStep(si((1 - 0.259359) * step), si(0.081404 * math.exp(5.0)), si(5.0)),
        si(g_min),
        si(g_max),
        cycle=si(5.0),
        write_noise=si(75 * step),
    )


def rram_response_array(g_min: float, g_max: float, optimised: bool = True) -> PulseResponse:
    """Response to pulses of the mean cell of RRAM arrays in 14 nm CMOS, with soft bounds and the
    same deviation of a step at any conductance (Gong, Rasch et al., IEEE IEDM 2022, 33.7, as fitted
    in IBM's AIHWKit, `ReRamArrayOMPresetDevice` and `ReRamArrayHfO2PresetDevice`).

    About 10 steps of the optimised material, or 2 of HfO2, make a weight of 1. AIHWKit lets the
    steps of cells differ by lognormal factors of 0.78 (HfO2: 0.71). Of the measured cells 13 %
    (10 %) did not respond.

    **Arguments:** `g_min`, `g_max`: ends of the range [S], which the fit does not give; it stands
    for weights from -1 to 1. `optimised`: the optimised material, or else HfO2.
    """
    step, cycle, write = (0.0949, 0.4158, 1.4113) if optimised else (0.4622, 0.2174, 0.5841)
    step = step * (g_max - g_min) / 2
    soft = LinearStep(si(2 * step), si(1.0))  # `step` in the middle, at the weight 0
    return PulseResponse(
        soft, soft, si(g_min), si(g_max), cycle_floor=si(cycle * step), write_noise=si(write * step)
    )


def pcm_response(g_min: float, g_max: float) -> PulseResponse:
    """Response of a phase-change cell to partial SET pulses: about 20 from the RESET state to the
    upper end, the first ones much larger than the last. The deviation of a step is 60 % of it, plus
    a constant part and one that grows with the conductance (Nandakumar et al., Front. Neurosci. 14,
    406, 2020, 10.3389/fnins.2020.00406, as fitted in IBM's AIHWKit, `PCMPresetDevice`).

    Pulses go up alone: a pulse down has no mean step here, and a weight of both signs takes two
    cells. AIHWKit lets the steps of cells differ by 20 % and the upper ends by 10 %; a RESET leaves
    1 % of half the range.

    **Arguments:** `g_min`, `g_max`: ends of the range [S], which the fit does not give.
    """
    unit = (g_max - g_min) / 2  # of AIHWKit's weights, 0 to 2
    up = ExponentialStep(si(0.01 * unit), si(27.235), si(5.0))
    return PulseResponse(
        up,
        LinearStep(si(0.0)),
        si(g_min),
        si(g_max),
        cycle=si(0.6),
        cycle_floor=si(0.6 * 0.042 * unit),
        cycle_slope=si(0.6 * 0.108),
    )


def cco_hermes(i_max: float, bits: int = 8) -> Cco:
    """Oscillator of the HERMES core as a converter, without its errors: 300 ps per count at the
    largest current (Khaddam-Aljameh et al., IEEE J. Solid-State Circuits 57, 1027, 2022,
    10.1109/JSSC.2022.3140414).

    **Arguments:** `i_max`: largest current [A], which the source does not give; `bits`: the count
    at `i_max` is `2^bits`. Raises `ValueError` for an `i_max` that is not positive.
    """
    require_bits(bits, "bits")
    largest, period = si(i_max), 300e-12
    require_positive(largest, "i_max", "A")
    return Cco(1 / (period * largest), si(2**bits * period), f_max=si(1 / period))


def pcm_drift(t: float) -> Drift:
    """Drift of phase-change cells up to 25 uS, from 20 s after programming (Joshi et al., Nat.
    Commun. 11, 2473, 2020, 10.1038/s41467-020-16108-9, as fitted in IBM's AIHWKit). AIHWKit takes a
    negative exponent as positive; here its sign stays.

    **Arguments:** `t`: time [s] since programming, at least 20, else `ValueError`.
    """
    if not (math.isfinite(t) and t >= 20):
        raise ValueError(f"t is {t} s; it counts from programming and must be at least 20 s.")
    mean = ClippedLog(si(-0.0155), si(0.0244), si(0.049), si(0.1), g_max=si(25e-6))
    spread = ClippedLog(si(-0.0125), si(-0.0059), si(0.008), si(0.045), g_max=si(25e-6))
    return Drift(si(t), si(20.0), mean, spread)


def hfox_bake(celsius: int) -> Relaxation:
    """Relaxation of HfOx cells up to 150 uS on a 64k 1T1R chip in a bake (measurements of Levy,
    2021, MIT licence; fitted to half of the cells by experiments/relaxation, which checks the other
    half).

    The fit does not cover larger conductances.

    **Arguments:** `celsius`: temperature of the bake, 110 or 130 [C]. Raises `ValueError` for
    others.
    """
    fits = {
        110: ([1.772e-06, -1.431e-05, 1.255e-05], [1e-06, 6.594e-05, -0.000125, 6.196e-05]),
        130: ([2.082e-06, -1.19e-05, 9.56e-06], [9.662e-07, 7.209e-05, -0.0001431, 7.349e-05]),
    }
    if celsius not in fits:
        raise ValueError(f"celsius is {celsius}; it must be 110 or 130 C, as measured.")
    shift, size = fits[celsius]
    return Relaxation(jnp.asarray(shift), jnp.asarray(size), g_max=si(150e-6))
