"""Twins of the chips: from reads to a first guess, what is unknown, and how far off they are."""

from typing import Any

import numpy as np

import xbarjax as xb

from .chip import Chip, Reads

R_ROW, R_COL, R_CONTACT = 1.0, 1.5, 10.0  # [ohm]
OFF = 1.3  # of the first guess of wires
CONTACT_STD = 3.0  # [ohm] known before: 5 to 15 ohm have 2.9
SPAN = 99e-6  # [S]


def measured(r: Reads, used: int | None = None) -> xb.Measured:
    """The reads, of which only the first `used` were taken."""
    taken = np.arange(len(r.v_row))[:, None] < (len(r.v_row) if used is None else used)
    sensed = {"i_in": r.i_in, "i_out": r.i_out}
    sensed = {name: np.where(taken, i, np.nan) for name, i in sensed.items()}
    sigma = {"i_in": r.sigma_in, "i_out": r.sigma_out}
    return xb.Measured(r.v_row, sensed, sigma, v_col=r.v_col)


def guess(cell: Any, r_row: float, r_col: float, contacts: str) -> xb.Crossbar:
    known = contacts != "one"
    wires = xb.Wires(OFF * r_row, OFF * r_col)
    return xb.Crossbar(cell, wires, xb.Drive(R_CONTACT if known else OFF * R_CONTACT))


def unknowns(contacts: str) -> list[xb.Unknown]:
    """Cells, wires and contacts: `one`, `each`, or `prior`, which is one with knowledge."""
    of = lambda c: c.drive.r_source
    source = {
        "one": xb.Unknown(of, per="array"),
        "prior": xb.Unknown(of, per="array", sigma=CONTACT_STD),
        "each": xb.Unknown(of, sigma=CONTACT_STD),
    }
    return [
        xb.Unknown(lambda c: c.cell.g),
        xb.Unknown(lambda c: c.wires.r_row, per="array"),
        xb.Unknown(lambda c: c.wires.r_col, per="array"),
        source[contacts],
    ]


def ohmic(shape: tuple[int, int]) -> xb.Ohmic:
    return xb.Ohmic(np.full(shape, 5e-5))


def twin_of(chip: Chip, of: xb.Measured, contacts: str, r_row=R_ROW, r_col=R_COL) -> xb.Twin:
    return xb.identify(of, guess(ohmic(chip.g.shape), r_row, r_col, contacts), unknowns(contacts))


def found(chip: Chip, twin: xb.Twin) -> dict[str, Any]:
    """How far the twin is from the chip; wires are compared with the means of the chip's."""
    cell: Any = twin.crossbar.cell
    off = np.asarray(cell.g) - chip.g
    wires, drive = twin.crossbar.wires, twin.crossbar.drive
    mean = lambda x: float(np.mean(x))
    return {
        "rms_of_range": float(np.sqrt(np.mean(off**2)) / SPAN),
        "median_relative": float(np.median(np.abs(off) / chip.g)),
        "within_1_percent": mean(np.abs(off) < 0.01 * chip.g),
        "within_1_percent_of_range": mean(np.abs(off) < 0.01 * SPAN),
        "r_row_error": mean(wires.r_row) / mean(chip.r_row) - 1,
        "r_col_error": mean(wires.r_col) / mean(chip.r_col) - 1,
        "r_contact_error": mean(drive.r_source) / mean(chip.r_contact) - 1,
        "chi2": float(twin.chi2),
        "refuted": bool(twin.refuted),
        "converged": bool(twin.converged),
        "steps": int(twin.steps),
    }


def mean_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over chips, of relative errors their rms, and each chip's results."""
    rms = lambda x: float(np.sqrt(np.mean(np.square(x))))
    of = {
        name: (rms if name.startswith("r_") else lambda x: float(np.mean(x)))(
            [row[name] for row in rows]
        )
        for name in rows[0]
    }
    return of | {"chips": rows}
