"""Arrays and reports in files: numbers in, whole files out, and no pickles."""

import importlib.metadata
import json
import math
import os
import secrets
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": None}  # None: any blanks
CORRUPT = (ValueError, EOFError, OSError, OverflowError, zipfile.BadZipFile, zlib.error)


def load(path: str | os.PathLike[str]) -> np.ndarray:
    """The one array of numbers in a file.

    **Arguments:**

    - `path`: a `.npy` file; a `.npz` file of exactly one array, or `file.npz:name` for one of
        several; or text, `.csv` (commas), `.tsv` (tabs) or `.txt` (blanks). Text is one row of
        the array a line, may start with one header line in which nothing is a number, and may
        have empty lines and lines that start with `#`.

    **Returns:** float64 of the shape that was stored; text is always two-dimensional. Integers
    are converted. NaN and inf are numbers here: what may be infinite is for others to judge.

    **Errors:** `FileNotFoundError` for no such file; `ValueError` for a folder, another kind of
    file, one that is damaged, empty or pickled, and for anything but real numbers, with the line
    where it is text.
    """
    stem, has_name, name = os.fspath(path).rpartition(".npz:")
    file = Path(stem + ".npz") if has_name else Path(path)
    if file.is_dir():
        raise ValueError(f"{file} is a folder; give a file.")
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; give a file that does.")
    kind = file.suffix.lower()
    if kind == ".npy":
        array = _load_npy(file)
    elif kind == ".npz":
        array = _load_npz(file, name if has_name else None)
    elif kind in DELIMITERS:
        array = _load_text(file, DELIMITERS[kind])
    else:
        raise ValueError(f"{file} is no .npy, .npz, .csv, .tsv or .txt file; convert it to one.")
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{file} holds values of type {array.dtype}; it must hold real numbers.")
    if array.size == 0:
        raise ValueError(f"{file} is empty (its shape is {array.shape}); it must hold numbers.")
    return array.astype(np.float64)


def _load_npy(file: Path) -> np.ndarray:
    with file.open("rb") as stream:
        if stream.read(6) != b"\x93NUMPY":
            raise ValueError(f"{file} is not a numpy file; write it with numpy.save.")
        stream.seek(0)
        try:
            return np.lib.format.read_array(stream, allow_pickle=False)
        except CORRUPT as error:
            raise ValueError(_damage(str(file), error)) from error


def _load_npz(file: Path, name: str | None) -> np.ndarray:
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is damaged or no numpy archive; write it with numpy.savez.")
    with np.load(file, allow_pickle=False) as archive:
        names = list(archive.files)
        listed = ", ".join(names) if names else "none"
        if name is None and len(names) != 1:
            raise ValueError(
                f"{file} holds {len(names)} arrays ({listed}); choose one as {file}:NAME."
            )
        name = names[0] if name is None else name
        if name not in names:
            raise ValueError(f"{file} has no array {name!r}; choose one of: {listed}.")
        try:
            array = archive[name]
        except CORRUPT as error:
            raise ValueError(_damage(f"{name} in {file}", error)) from error
    if not isinstance(array, np.ndarray):  # bytes: an entry of the archive that is no array
        raise ValueError(f"{name} in {file} is no numpy array; write it with numpy.savez.")
    return array


def _damage(what: str, error: Exception) -> str:
    if "pickle" in str(error):
        return f"{what} holds pickled Python objects, which are never loaded; store plain numbers."
    return f"{what} is damaged or cut short; write it again."


def _load_text(file: Path, delimiter: str | None) -> np.ndarray:
    try:
        lines = file.read_text("utf-8-sig").splitlines()  # spreadsheets put a mark in front
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not text in UTF-8; save it as plain text.") from error
    rows: list[list[float]] = []
    header_allowed, first = True, 0
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = [field.strip() for field in line.split(delimiter)]
        values = [_number(field) for field in fields]
        if header_allowed and all(value is None for value in values):
            header_allowed = False
            continue
        header_allowed = False
        row = []
        for field, value in zip(fields, values, strict=True):
            if value is None:
                raise ValueError(f"{file}, line {number}: {field!r} is not a number.")
            row.append(value)
        first = first or number
        if rows and len(row) != len(rows[0]):
            raise ValueError(
                f"{file}, line {number} has {len(row)} numbers, but line {first} has"
                f" {len(rows[0])}; every line must have as many."
            )
        rows.append(row)
    if not rows:
        raise ValueError(f"{file} holds no numbers; write one row of the array a line.")
    return np.array(rows)


def _number(field: str) -> float | None:
    if "_" in field:  # a digit separator of Python's, not of anyone's data
        return None
    try:
        return float(field)
    except ValueError:
        return None


def save_results(
    path_prefix: str | os.PathLike[str], arrays: Mapping[str, Any], report: Mapping[str, Any]
) -> tuple[Path, Path]:
    """Writes `PREFIX.npz` (the arrays) and `PREFIX.json` (the report), replacing older ones.

    Both are complete on the disk before either takes its name, so that a failure leaves what was
    there before.

    **Arguments:**

    - `path_prefix`: path without a suffix; its folder must exist.
    - `arrays`: by name; real numbers or booleans of any shape.
    - `report`: what JSON can hold, with numpy numbers and small arrays too. `report["units"]`
        names the SI unit of every array, `"1"` for a pure number; `report["inputs"]` says what
        the results were computed from. The version of xbarjax and the shapes are added. Numbers
        that are not finite become the strings `"inf"`, `"-inf"` and `"nan"`.

    **Returns:** the two paths.

    **Errors:** `ValueError` for a report without inputs or units, or arrays that would be
    pickled; `OSError` where the folder is missing or cannot be written.
    """
    stored: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    if "inputs" not in report:
        raise ValueError("report has no 'inputs'; say what the results were computed from.")
    for name, array in stored.items():
        if name not in report.get("units", {}):
            raise ValueError(f"report['units'] lacks {name!r}; give its SI unit, or '1'.")
        if array.dtype.kind not in "biuf":
            raise ValueError(f"arrays[{name!r}] is of type {array.dtype}; it must be real numbers.")
    whole = {
        "xbarjax": importlib.metadata.version("xbarjax"),
        **report,
        "arrays": {name: list(array.shape) for name, array in stored.items()},
    }
    text = json.dumps(_plain(whole), indent=2, allow_nan=False) + "\n"
    prefix = os.fspath(path_prefix)
    npz, described = Path(prefix + ".npz"), Path(prefix + ".json")
    write_whole(
        {
            npz: lambda stream: np.savez(stream, **stored),
            described: lambda stream: stream.write(text.encode()),
        }
    )
    return npz, described


def _plain(value: Any) -> Any:
    """What JSON can hold of a value."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return _plain(np.asarray(value).tolist())


def write_whole(writers: Mapping[Path, Callable[[BinaryIO], Any]]) -> None:
    """Writes files whole or not at all.

    Each is written under another name in its own folder and flushed; only when all are do they
    take their names, each in one step of the file system. Raises whatever a writer or the file
    system does, and leaves no temporary file.
    """
    # tempfile would create them readable by their owner alone, whatever the umask says
    temporary = {
        path: path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") for path in writers
    }
    try:
        for path, write in writers.items():
            with temporary[path].open("xb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
        for path in writers:
            os.replace(temporary[path], path)
    finally:
        for part in temporary.values():
            part.unlink(missing_ok=True)


def require_writable(path: Path, name: str) -> None:
    """Raises `OSError` if `path`, the argument `name`, cannot be written: better before a long
    solve than after it."""
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{name}: the folder {folder} does not exist; make it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{name}: the folder {folder} cannot be written to.")
    if path.is_dir():
        raise IsADirectoryError(f"{name}: {path} is a folder; give the name of a file.")
