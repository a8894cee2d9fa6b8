"""Measured reads in files: tables that an instrument can write, and NumPy archives."""

import os
from pathlib import Path

import numpy as np

from .._files import write_whole
from .._files.edges import Row
from .._files.fields import fault, is_missing, number
from .._files.loading import existing
from .._files.numpy_files import load_npz, names_in
from .._files.text import SUFFIXES, load_columns
from .columns import (
    OPEN,
    SIGMA,
    Column,
    Named,
    column,
    measured_of,
    named_of,
    require_name,
    unit_of,
)
from .measured import ENDS, Measured

MOST = 1e30  # in any unit; instruments mark overloads by numbers near the largest of float32


def load_measured(path: str | os.PathLike[str]) -> Measured:
    """The reads in a file, as `Measured`.

    **Arguments:**

    - `path`: text (`.csv`, `.tsv` or `.txt`) or a `.npz` file.

    Text has one line per read. Its header names every column: a quantity, its line, and its unit,
    such as `v_row[0] [V]` or `i_out[3] [uA]`. Units are V and A with the prefixes m, u (or µ), n
    and p, and are converted. Columns may stand in any order; commas, semicolons or tabs separate
    them. The columns are

    - `v_row[k]`, and `v_row_far[k]`, `v_col[k]`, `v_col_far[k]`: voltages of the ends of the lines;
    - `v_gate`, `v_gate[k]` or `v_gate[k][l]`: gate voltages;
    - `i_out[k]` and all others that `Measured` may have sensed. An empty field or `nan` was not
      measured;
    - `sigma i_out`, the standard deviation of all lines in each read, or `sigma i_out[k]`, that of
      each;
    - `open_ends`: the ends that were left open, separated by blanks, such as `row_far col_far`; the
      same on every line.

    A `.npz` file holds arrays with the same names, `(reads, lines)`, in SI units; `sigma i_out` may
    be anything that broadcasts, and `open_ends` is 1 for an open end and 0 for another, for `row`,
    `row_far`, `col` and `col_far`.

    **Errors:** `FileNotFoundError` for a missing file. `ValueError`, with the column, for an
    unknown column, a missing or unfitting unit, a line without a column, and a field that is no
    number.
    """
    file = existing(path)
    kind = file.suffix.lower()
    if kind == ".npz":
        return _from_npz(file)
    if kind not in SUFFIXES:
        raise ValueError(f"{file} is no .csv, .tsv, .txt or .npz file; convert the file.")
    return _from_text(file)


def save_measured(measured: Measured, path: str | os.PathLike[str]) -> Path:
    """Writes reads to a `.csv` or `.npz` file as `load_measured` reads it, and returns the path.

    The file is written completely or not at all. Text holds all digits, in V and A.

    **Errors:** `TypeError` for no `Measured`; `ValueError` for another kind of file; `OSError` for
    a folder that is missing or not writable.
    """
    require_measured(measured)
    file = Path(path)
    kind = file.suffix.lower()
    named = named_of(measured)
    if kind == ".npz":
        if measured.open_ends:
            named[OPEN] = np.array([end in measured.open_ends for end in ENDS], np.uint8)
        write_whole({file: lambda stream: np.savez(stream, **named)})  # pyright: ignore
    elif kind == ".csv":
        text = _text(named, measured)
        write_whole({file: lambda stream: stream.write(text.encode())})
    else:
        raise ValueError(f"path is {os.fspath(path)!r}; its name must end in .csv or .npz.")
    return file


def require_measured(measured: Measured) -> None:
    if not isinstance(measured, Measured):
        raise TypeError(f"measured is a {type(measured).__name__}; pass an xb.Measured.")


def _from_npz(file: Path) -> Measured:
    named = {}
    for name in names_in(file):
        require_name(name, f"{file}: array {name!r}")
        x = load_npz(file, name)
        named[name] = x.astype(float) if x.dtype.kind in "iu" else x
    flags = named.pop(OPEN, np.zeros(len(ENDS)))
    if flags.shape != (len(ENDS),) or not np.all((flags == 0) | (flags == 1)):
        raise ValueError(f"{file}: {OPEN} must be 0 or 1 for each of {', '.join(ENDS)}.")
    return measured_of(named, [end for end, flag in zip(ENDS, flags) if flag], str(file))


def _from_text(file: Path) -> Measured:
    names, rows, mark = load_columns(file)
    columns = [column(name, str(file)) for name in names]
    first: dict[tuple[str, tuple[int, ...]], str] = {}
    for name, its in zip(names, columns):
        if (its.name, its.lines) in first:
            other = first[its.name, its.lines]
            raise ValueError(f"{file}: columns {other!r} and {name!r} are the same; keep one.")
        first[its.name, its.lines] = name
    ends: set[tuple[str, ...]] = set()
    parts: dict[str, dict[tuple[int, ...], np.ndarray]] = {}
    for k, its in enumerate(columns):
        if its.name == OPEN:
            ends = {tuple(sorted(row.fields[k].split())) for row in rows}
            continue
        values = [_value(row, k, names[k], its, mark, file) for row in rows]
        parts.setdefault(its.name, {})[its.lines] = its.factor * np.array(values)
    if len(ends) > 1:
        raise ValueError(
            f"{file}: {OPEN} differs between lines; write reads with other open ends to a file of"
            " their own."
        )
    named = {name: _joined(name, part, file) for name, part in parts.items()}
    return measured_of(named, ends.pop() if ends else (), str(file))


def _value(row: Row, k: int, name: str, its: Column, mark: str, file: Path) -> float:
    """The number in field `k`, NaN for what was not measured."""
    field = row.fields[k]
    value = number(field, mark) if field else np.nan
    said = f"{row.place(file, k)}, {name!r}"
    shown = repr(field) if field else "empty"
    if value is None:
        if is_missing(field):
            raise ValueError(f"{said}: {field!r} is not a number; leave empty what has none.")
        raise ValueError(f"{said}: {fault(field)}")
    if abs(value) > MOST:
        raise ValueError(f"{said}: {field!r} is no reading; leave empty what has none.")
    if np.isnan(value) and (its.name.startswith("v_") and its.name != "v_sense"):
        raise ValueError(f"{said} is {shown}; give the voltage of every read.")
    if its.name.startswith(SIGMA) and not value > 0:
        raise ValueError(f"{said} is {shown}; give a standard deviation above 0 for every read.")
    return value


def _joined(name: str, part: dict[tuple[int, ...], np.ndarray], file: Path) -> np.ndarray:
    """The array of a quantity from its columns. Raises `ValueError` for a line without one."""
    axes = {len(index) for index in part}
    if len(axes) > 1:
        raise ValueError(f"{file}: columns of {name!r} name a line and none; write them alike.")
    if axes == {0}:
        alone = part[()]
        return alone if name == "v_gate" else alone[:, None]
    shape = tuple(int(n) + 1 for n in np.max(list(part), axis=0))
    for index in np.ndindex(shape):
        if index not in part:
            label = name + "".join(f"[{k}]" for k in index)
            raise ValueError(
                f"{file} has no column {label!r}, but one of a later line; give every line a"
                " column" + (", empty where nothing was measured." if name[:2] != "v_" else ".")
            )
    flat = np.stack([part[index] for index in np.ndindex(shape)], axis=1)
    return flat.reshape(-1, *shape)


def _text(named: Named, measured: Measured) -> str:
    """Reads as comma-separated text."""
    head, columns = [], []
    for name, x in named.items():
        alone = x.ndim == 1 or (name.startswith(SIGMA) and x.shape[1] == 1)
        shape = () if alone else x.shape[1:]
        flat = x.reshape(len(x), -1)
        for index, values in zip(np.ndindex(shape), flat.T):
            head.append(f"{name}{''.join(f'[{k}]' for k in index)} [{unit_of(name)}]")
            columns.append(["" if np.isnan(v) else str(v) for v in values])
    if measured.open_ends:
        head.append(OPEN)
        columns.append([" ".join(measured.open_ends)] * measured.reads)
    return "".join(",".join(fields) + "\n" for fields in [head, *zip(*columns)])
