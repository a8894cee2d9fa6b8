"""Writing files of results, completely or not at all."""

import contextlib
import importlib.metadata
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


def save_results(
    path_prefix: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    report: Mapping[str, Any],
    more: Mapping[str, str] | None = None,
) -> tuple[Path, ...]:
    """Writes `PREFIX.npz` (the arrays) and `PREFIX.json` (the report), replacing older files.

    All files are complete on disk before one takes its name; a failure leaves the older files.

    **Arguments:**

    - `path_prefix`: path without a suffix; its folder must exist.
    - `arrays`: by name; real numbers or booleans of any shape.
    - `report`: a dict of JSON values, NumPy numbers and small arrays. `report["units"]` has the SI
        unit of every array, `"1"` for a pure number; `report["inputs"]` has the inputs of the
        computation. The version of xbarjax and the shapes of the arrays are added. Numbers that are
        not finite become the strings `"inf"`, `"-inf"` and `"nan"`.
    - `more`: texts of further files by their suffix, such as `".csv"`.

    **Returns:** the paths.

    **Errors:** `ValueError` for a report without inputs or units, and for arrays of other types;
    `OSError` for a folder that is missing or not writable.
    """
    stored: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    if "inputs" not in report:
        raise ValueError("report has no 'inputs'; give the inputs of the computation.")
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
    texts = {".json": text, **(more or {})}
    say = lambda text: lambda stream: stream.write(text.encode())
    writers = {Path(prefix + ".npz"): lambda stream: np.savez(stream, **stored)}
    writers |= {Path(prefix + suffix): say(text) for suffix, text in texts.items()}
    write_whole(writers)
    return tuple(writers)


def _plain(value: Any) -> Any:
    """A value converted to JSON types."""
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
    """Writes files completely or not at all.

    Every file is first written to a temporary name in its folder and flushed to disk. When all are
    written, each is renamed in one step of the file system. Errors of a writer or the file system
    pass through, and no temporary file stays.
    """
    # tempfile would ignore the umask and make the files readable by their owner alone
    temporary = {
        path: path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") for path in writers
    }
    try:
        for path, write in writers.items():
            with _named(path), temporary[path].open("xb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
        for path in writers:
            with _named(path):
                os.replace(temporary[path], path)
    finally:
        for part in temporary.values():
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """A context in which system errors name `path` instead of its temporary file."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def require_writable(path: Path, name: str) -> None:
    """Raises `OSError` if `path`, given as argument `name`, cannot be written. Called before a long
    solve, so that the result is not lost after it."""
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{name}: the folder {folder} does not exist; create it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{name}: the folder {folder} cannot be written; name another one.")
    if path.is_dir():
        raise IsADirectoryError(f"{name}: {path} is a folder; give the name of a file.")
