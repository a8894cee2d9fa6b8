"""Write pulses on cells of a HfOx 1T1R chip: loading, and the split into training and held-out
cells."""

import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = "rram_hfox_1t1r"
SWEEPS = ("set", "reset")
COLUMNS = 6


class Pulses(NamedTuple):
    """Pulses, one for each cell: `(pulses,)` each."""

    address: np.ndarray
    width: np.ndarray  # [s]
    v_gate: np.ndarray  # word line [V]
    v_set: np.ndarray  # bit line [V], source line at 0 V; 0 in a RESET
    v_reset: np.ndarray  # source line [V], bit line at 0 V; 0 in a SET
    r_before: np.ndarray  # [ohm]
    r_after: np.ndarray  # [ohm]

    @property
    def v(self) -> np.ndarray:
        """Voltage [V] of the pulsed line."""
        return self.v_set + self.v_reset

    def part(self, which: np.ndarray) -> "Pulses":
        return Pulses(*(x[which] for x in self))


def load(path: Path, sweep: str) -> Pulses:
    """Reads address, width [s], word-line voltage [V], bit-line (SET) or source-line voltage
    (RESET) [V], resistances before and after [ohm], tab-separated, gzipped or not."""
    if not path.is_file():
        raise SystemExit(
            f"{path} does not exist: set XBARJAX_DATA to the folder that holds {FOLDER}, or pass"
            " another folder with --data."
        )
    try:
        table = np.loadtxt(path, ndmin=2)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise SystemExit(f"{path} is not a table of numbers: {error}") from None
    if table.shape[1] != COLUMNS:
        raise SystemExit(
            f"{path} has {table.shape[1]} columns; there must be {COLUMNS}: address, width [s],"
            " word line [V], bit or source line [V], resistances before and after [ohm]."
        )
    address, width, v_gate, v, before, after = table[np.argsort(table[:, 0], kind="stable")].T
    for name, x in (("width", width), ("resistance before", before), ("resistance after", after)):
        bad = np.flatnonzero(~(np.isfinite(x) & (x > 0)))
        if bad.size:
            raise SystemExit(
                f"{path}: the {name} of cell {address[bad[0]]:.0f} is {x[bad[0]]}; it must be"
                " above 0 and finite."
            )
    if np.unique(address).size < address.size:
        raise SystemExit(f"{path} has cells with several pulses; there must be one for each cell.")
    none = np.zeros_like(v)
    at = (v, none) if sweep == "set" else (none, v)
    return Pulses(address.astype(int), width, v_gate, *at, before, after)


def split(pulses: Pulses) -> tuple[Pulses, Pulses]:
    """Training and held-out cells. In order of address, the 1st, 3rd, ... are for training."""
    even = np.arange(len(pulses.address)) % 2 == 0
    return pulses.part(even), pulses.part(~even)


def joined(*several: Pulses) -> Pulses:
    return Pulses(*(np.concatenate(x) for x in zip(*several)))
