"""Large arrays: how long a twin takes, and the memory of its search."""

import time
from typing import Any

import numpy as np

import xbarjax as xb

from .chip import inputs, made, reads
from .twins import R_COL, R_CONTACT, R_ROW, found, guess, measured, ohmic, unknowns

ROW_BANDS, COL_BANDS = 4, 5  # of columns and of rows, with wires of their own
BAND = 0.15  # deviation of a band's mean resistance


def bands(n: int, count: int) -> np.ndarray:
    """The band of each line."""
    return np.arange(n) * count // n


def case(n: int, banded: bool, noise: float, bits: int) -> dict[str, Any]:
    """The twin of one chip, from one read per row and one per column."""
    rng = np.random.default_rng(100)
    col_of_row_wires = np.broadcast_to(bands(n, ROW_BANDS), (n, n))
    row_of_col_wires = np.broadcast_to(bands(n, COL_BANDS)[:, None], (n, n))
    r_row, r_col = np.full((n, n), R_ROW), np.full((n, n), R_COL)
    free = unknowns("one")
    if banded:
        r_row *= 1 + BAND * rng.standard_normal(ROW_BANDS)[col_of_row_wires]
        r_col *= 1 + BAND * rng.standard_normal(COL_BANDS)[row_of_col_wires]
        free[1] = xb.Unknown(lambda c: c.wires.r_row, per=col_of_row_wires)
        free[2] = xb.Unknown(lambda c: c.wires.r_col, per=row_of_col_wires)
    chip = made(rng, (n, n), r_row, r_col, R_CONTACT)
    of = measured(reads(rng, chip, *inputs(rng, (n, n), 1), noise, bits))
    start = guess(ohmic((n, n)), R_ROW, R_COL, "one")
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        twin = xb.identify(of, start, free)
        seconds.append(time.perf_counter() - began)
    wires = twin.crossbar.wires
    per_band = lambda x, band: np.array([np.mean(x[band == k]) for k in np.unique(band)])
    off = lambda x, y, band: np.abs(per_band(x, band) / per_band(y, band) - 1).max()
    return found(chip, twin) | {
        "rows": n,
        "wire_parameters": ROW_BANDS + COL_BANDS + 1 if banded else 3,
        "reads": 2 * n,
        "r_row_worst_band": off(np.asarray(wires.r_row), chip.r_row, col_of_row_wires),
        "r_col_worst_band": off(np.asarray(wires.r_col), chip.r_col, row_of_col_wires),
        "seconds_with_compiling": seconds[0],
        "seconds": seconds[1],
        "advice": twin.advice,
    }
