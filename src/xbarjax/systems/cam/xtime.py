"""Tables of X-TIME: tree ensembles in levels, as files."""

from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .table import Table

__all__ = ["Xtime", "from_xtime"]


def __dir__() -> list[str]:
    return __all__


class Xtime(NamedTuple):
    """A table of X-TIME with samples to test it on."""

    table: Table
    x: np.ndarray
    """Samples in levels, `(samples, features)`."""
    y: np.ndarray
    """Their classes, `(samples,)`."""


def from_xtime(folder: str | PathLike[str], levels: int = 16) -> Xtime:
    """A tree ensemble of X-TIME (github.com/HewlettPackard/X-TIME), in levels.

    The folder has files without header: `T_quant.csv` with a row per leaf, whose columns alternate
    between the lower and the upper bound of a feature; `L_quant.csv`, values of leaves; `t_ids.csv`
    and `c_ids.csv`, their trees and classes; `X_test_quant.csv` and `y_test.csv`, samples. A row
    matches if `lower <= x < upper`, and bounds at 0 and at `levels - 1` put no limit to a feature
    unless they are equal. A model of two classes has one output, which is positive for class 1.

    Raises `FileNotFoundError` for a missing file, and `ValueError` for files that do not fit each
    other.
    """
    folder = Path(folder)
    names = "T_quant", "L_quant", "t_ids", "c_ids", "X_test_quant", "y_test"
    for name in names:
        if not (folder / f"{name}.csv").is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}.csv; pass a folder with {', '.join(names)} (.csv)."
            )
    bounds, value, tree, column, x, y = (_read(folder / f"{name}.csv") for name in names)
    rows = bounds.shape[0]
    for name, column_of in (("L_quant", value), ("t_ids", tree), ("c_ids", column)):
        if column_of.shape != (rows, 1):
            raise ValueError(
                f"{name}.csv has shape {column_of.shape}; T_quant.csv has {rows} rows: it must be"
                f" ({rows}, 1)."
            )
    if bounds.shape[1] != 2 * x.shape[1] or y.shape != (x.shape[0], 1):
        raise ValueError(
            f"T_quant.csv has {bounds.shape[1]} columns, X_test_quant.csv has shape {x.shape} and"
            f" y_test.csv {y.shape}; they must have 2 x features columns, (samples, features) and"
            " (samples, 1)."
        )
    low, high = bounds[:, ::2], bounds[:, 1::2]
    some = low < high
    low = np.where(some & (low == 0), -np.inf, low)
    high = np.where(some & (high == levels - 1), np.inf, high)
    values = np.zeros((rows, int(column.max()) + 1))
    values[np.arange(rows), column[:, 0].astype(int)] = value[:, 0]
    table = Table(low, high, values, tree[:, 0].astype(int), levels=levels)
    return Xtime(table, x, y[:, 0].astype(int))


def _read(path: Path) -> np.ndarray:
    try:
        return np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path} holds no table of numbers separated by commas.") from error
