"""The one array of numbers in a file, and what of the file is no part of it."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .numpy_files import load_npy, load_npz
from .text import SUFFIXES, load_text


class Loaded(NamedTuple):
    """An array, float64, and one phrase for each part of its file that was skipped: a header, an
    index, empty columns."""

    array: np.ndarray
    skipped: tuple[str, ...]


def load(path: str | os.PathLike[str]) -> np.ndarray:
    """The one array of numbers in a file.

    **Arguments:**

    - `path`: a `.npy` file; a `.npz` file of exactly one array, or `file.npz:name` for one of
        several; or text, `.csv`, `.tsv` or `.txt`, in UTF-8 or marked UTF-16.

    Text is one row of the array a line, with one separator throughout: semicolons, tabs (always in
    `.tsv`), commas or blanks, the first of these that there is. Numbers may have a decimal comma
    where commas do not separate, quotes, and Fortran's exponents (`1.0D-5`). Lines that start with
    `#` are comments. Empty lines are passed over, but not between rows of one number. Skipped are

    - a header: a first line that has a name for every column, none twice the same throughout, or
        that counts the columns below an empty corner;
    - an index: a first column of names, or one that counts the rows below an empty corner or the
        name of an index;
    - columns at the end that are empty on every line.

    `load_said` tells which. What could be read in two ways is refused: thousands separators, and
    numbers that count columns or rows where that could be data.

    **Returns:** float64 of the shape that was stored; text is always two-dimensional. Integers
    are converted. NaN and inf are numbers here: what may be infinite is for others to judge.

    **Errors:** `FileNotFoundError` for no such file; `ValueError` for a folder, another kind of
    file, one that is damaged, empty or pickled, and for anything but real numbers, with the line
    and the column where it is text.
    """
    return load_said(path).array


def load_said(path: str | os.PathLike[str]) -> Loaded:
    """As `load`, with what was skipped."""
    text = os.fspath(path)
    if not text:
        raise ValueError("the name of a file is empty; give one.")
    stem, has_name, name = text.rpartition(".npz:")
    file = Path(stem + ".npz") if has_name else Path(path)
    if file.is_dir():
        raise ValueError(f"{file} is a folder; give a file.")
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; give a file that does.")
    kind, skipped = file.suffix.lower(), ()
    if kind == ".npy":
        array = load_npy(file)
    elif kind == ".npz":
        array = load_npz(file, name if has_name else None)
    elif kind in SUFFIXES:
        array, skipped = load_text(file, kind)
    else:
        raise ValueError(f"{file} is no .npy, .npz, .csv, .tsv or .txt file; convert it to one.")
    return Loaded(_float64(array, file), tuple(skipped))


def _float64(array: np.ndarray, file: Path) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(np.float64)
    if np.any(np.isinf(converted) & np.isfinite(array)):
        raise ValueError(f"{file} holds numbers beyond the range of float64; rescale them.")
    return converted
