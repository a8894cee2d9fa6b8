"""Current-voltage curves of a HfOx 1T1R chip: loading, and the split into training and held-out
cells."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

FILE = "rram_hfox_1t1r/read_voltage_sweep.tsv.gz"


class Curves(NamedTuple):
    """Curves of cells measured at the same voltages."""

    address: np.ndarray  # (cells,), rising
    v: np.ndarray  # (points,) programmed bit-line voltage [V], rising
    i: np.ndarray  # (cells, points) [A]

    def part(self, which: np.ndarray) -> "Curves":
        return Curves(self.address[which], self.v, self.i[which])


def load(path: Path) -> Curves:
    """Reads address, voltage [V] and current [A], tab-separated, gzipped or not."""
    if not path.is_file():
        raise SystemExit(
            f"{path} does not exist: set XBARJAX_DATA to the folder that holds {FILE}, or pass"
            " another file with --data."
        )
    address, v, i = np.loadtxt(path, ndmin=2).T
    order = np.lexsort((v, address))
    address, v, i = address[order], v[order], i[order]
    cells, first, points = np.unique(address, return_index=True, return_counts=True)
    if np.unique(points).size > 1 or not np.allclose(v.reshape(len(cells), -1), v[: points[0]]):
        raise SystemExit(f"{path} has cells that were not measured at the same voltages.")
    return Curves(cells.astype(int), v[: points[0]], i.reshape(len(cells), -1))


def split(curves: Curves) -> tuple[Curves, Curves]:
    """Training and held-out cells. In order of address, the 1st, 3rd, ... are for training."""
    even = np.arange(len(curves.address)) % 2 == 0
    return curves.part(even), curves.part(~even)
