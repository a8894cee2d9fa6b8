"""Loading the array of numbers in a file, with a list of the parts that were skipped."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .numpy_files import load_npy, load_npz
from .text import SUFFIXES, load_text


class Loaded(NamedTuple):
    """An array, float64, and one phrase per skipped part of its file: a header, an index, empty
    columns."""

    array: np.ndarray
    skipped: tuple[str, ...]


def load(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of numbers in a file.

    **Arguments:**

    - `path`: a `.npy` file; a `.npz` file of exactly one array, or `file.npz:name` for one of
        several; or text (`.csv`, `.tsv` or `.txt`) in UTF-8, or in UTF-16 with a byte-order mark.

    Text has one line per row of the array and one separator throughout: the first of semicolons,
    tabs (always in `.tsv`), commas and blanks that occurs. Numbers may be quoted, may have Fortran
    exponents (`1.0D-5`), and may have decimal commas if commas are not the separator. Lines that
    begin with `#` are comments. Empty lines are ignored, except between rows of one number, where
    they raise an error. Three parts are skipped, and `load_said` reports them:

    - a header: a first line with a name for every column (not one name for all), or one that counts
        the columns beside an empty or named corner;
    - an index: a first column of names, or one that counts the rows below an empty corner or the
        name of an index;
    - last columns that are empty on every line.

    Ambiguous text raises an error: thousands separators, and a first line or column of counting
    numbers that could be data.

    **Returns:** float64 of the stored shape; text is always two-dimensional. Integers are
    converted. NaN and inf are kept: the caller decides whether they are allowed.

    **Errors:** `FileNotFoundError` for a missing file; `ValueError` for a folder, another kind of
    file, a damaged, empty or pickled one, and for anything but real numbers. Errors in text name
    the line and the column.
    """
    return load_said(path).array


def load_said(path: str | os.PathLike[str]) -> Loaded:
    """The array of `load`, with the parts of the file that were skipped."""
    stem, has_name, name = os.fspath(path).rpartition(".npz:")
    file = existing(stem + ".npz" if has_name else path)
    kind, skipped = file.suffix.lower(), ()
    if kind == ".npy":
        array = load_npy(file)
    elif kind == ".npz":
        array = load_npz(file, name if has_name else None)
    elif kind in SUFFIXES:
        array, skipped = load_text(file, kind)
    else:
        raise ValueError(f"{file} is no .npy, .npz, .csv, .tsv or .txt file; convert the file.")
    return Loaded(_float64(array, file), tuple(skipped))


def existing(path: str | os.PathLike[str]) -> Path:
    """The path of a file. Raises `FileNotFoundError` for a missing one, `ValueError` for a folder
    and for an empty name."""
    if not os.fspath(path):
        raise ValueError("the name of the file is empty; give one.")
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"{file} is a folder; give a file.")
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; give an existing file.")
    return file


def _float64(array: np.ndarray, file: Path) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(np.float64)
    if np.any(np.isinf(converted) & np.isfinite(array)):
        raise ValueError(f"{file} holds numbers beyond the range of float64; rescale them.")
    return converted
