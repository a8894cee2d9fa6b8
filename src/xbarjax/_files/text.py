"""Tables of numbers in text files: bytes to lines, lines to fields, fields to an array."""

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .commas import decimal_mark, require_one_reading
from .edges import Row, counted, cut_edges
from .fields import COMMA_NUMBER, fault, number

SUFFIXES = (".csv", ".tsv", ".txt")
NO_TEXT = {b"PK\x03\x04": "a workbook or a zip", b"\x1f\x8b": "gzip", b"\xd0\xcf\x11\xe0": "an xls"}
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029]")
SHEET_ERROR = re.compile(r"#(?:N/?A\b|NV\b|[A-ZÀ-Ý]+(?:/0)?[!?])")  # #N/A, #DIV/0!, #NAME?
PLAIN = frozenset("0123456789+-.eE")  # with these alone Python's float and `number` agree
QUOTED = re.compile(r'"[^"]*"')


class Line(NamedTuple):
    """A line that may hold a row of the table, with its number in the file."""

    number: int
    text: str


def load_text(file: Path, suffix: str) -> tuple[np.ndarray, list[str]]:
    """The array in a text file, and one phrase per skipped part. Raises `ValueError`, with line and
    column, for a field that is no number and for ambiguous text."""
    lines = _lines(_decoded(file), file)
    if not lines:
        raise ValueError(f"{file} holds no numbers; write one row of the array per line.")
    separator = _separator([line.text for line in lines], suffix)
    rows = [_row(line, separator, file) for line in lines]
    if separator == " " and len(rows) > 1 and all(len(row.fields) == 1 for row in rows[1:]):
        rows[0] = Row(rows[0].number, [lines[0].text.strip().strip('"')])  # one name
    table, headed, skipped = cut_edges(rows, file, '"' in lines[0].text)
    if not table:
        raise ValueError(f"{file} holds no numbers below its header; write one row per line.")
    _require_even(table, separator, file)
    written = [line.text for line in lines[-len(table) :]]
    require_one_reading(table, written, separator, headed, suffix == ".txt", file)
    mark = decimal_mark(table, file)
    return np.array([_values(row, mark, file) for row in table]), skipped


class Columns(NamedTuple):
    """A table with a name for every column: the names, the rows below them as text, and the decimal
    mark of their numbers."""

    names: list[str]
    rows: list[Row]
    mark: str


def load_columns(file: Path) -> Columns:
    """The table in a text file whose first line names every column. Fields may be empty or hold
    words. Raises `ValueError` for a table without rows and for uneven rows."""
    lines = _lines(_decoded(file), file)
    if len(lines) < 2:
        raise ValueError(
            f"{file} holds no rows below a header; name the columns in the first line and write one"
            " row per line."
        )
    separator = _separator([line.text for line in lines], file.suffix.lower())
    if separator == " ":
        raise ValueError(
            f"{file}: its columns are not separated; separate them by commas, semicolons or tabs."
        )
    head, *rows = [_row(line, separator, file) for line in lines]
    for row in rows:
        if len(row.fields) != len(head.fields):
            raise ValueError(
                f"{file}, line {row.number} has {counted(row, 'field')}, but the header names"
                f" {counted(head, 'column')}; every line must have a field for each, empty if need"
                " be."
            )
    return Columns(head.fields, rows, decimal_mark(rows, file))


def _decoded(file: Path) -> str:
    raw = file.read_bytes()
    for magic, kind in NO_TEXT.items():
        if raw.startswith(magic):
            raise ValueError(f"{file} is {kind}, not text; save it as CSV.")
    # spreadsheets write a byte-order mark, and some save "Unicode text" as UTF-16
    marked = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return raw.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{file}, line {line} is not text in UTF-8 or marked UTF-16; save it in UTF-8."
        ) from error


def _lines(text: str, file: Path) -> list[Line]:
    """The lines that hold fields: no comments, no empty lines."""
    lines = [Line(at, line) for at, line in enumerate(re.split("\r\n|\n|\r", text), start=1)]
    for line in lines:
        if control := CONTROL.search(line.text):
            raise ValueError(
                f"{file}, line {line.number} holds the control character {control[0]!r}; save it"
                " as text."
            )
        if SHEET_ERROR.match(line.text.lstrip()):
            raise ValueError(
                f"{file}, line {line.number} begins with a spreadsheet error,"
                f" {line.text.split()[0]!r}; give a number, or begin a comment with '# '."
            )
    lines = [line for line in lines if not line.text.lstrip().startswith("#")]
    found = [line for line in lines if line.text.strip()]
    if any("\t" in line.text for line in found):  # a line of tabs is a row of empty fields
        found = [line for line in lines if line.text.strip() or "\t" in line.text]
    if all(_is_one(line.text) for line in found):
        _require_no_gap(lines, found, file)
    return found


def _require_no_gap(lines: Sequence[Line], found: Sequence[Line], file: Path) -> None:
    """Raises `ValueError` for an empty line between lines of one field, which may be a missing
    number."""
    for line in lines:
        if not line.text.strip() and found and found[0].number < line.number < found[-1].number:
            raise ValueError(
                f"{file}, line {line.number} is empty, between lines of one number each; give the"
                " missing number, or remove the line."
            )


def _is_one(line: str) -> bool:
    """Whether a line holds a single field, for any separator."""
    return not re.search(r"[;,\t ]", QUOTED.sub("", line).strip())


def _separator(lines: Sequence[str], suffix: str) -> str:
    """The separator of fields: the first of semicolons, tabs, commas and blanks that occurs."""
    if suffix == ".tsv":
        return "\t"
    bare = [QUOTED.sub('""', line) for line in lines]
    for separator in (";", "\t"):
        if any(separator in line for line in bare):
            return separator
    if any("," in line for line in bare):
        return " " if _are_decimal_commas(bare[1:] or bare) else ","
    return " "


def _are_decimal_commas(lines: Sequence[str]) -> bool:
    """Whether commas are decimal marks and blanks separate: `1,5 2,5`, but not `1, 5`."""
    some = False
    for line in lines:
        fields = line.split()
        if len(fields) < 2 or any("," in (field[0], field[-1]) for field in fields):
            return False
        if any(number(field) is None and number(field, ",") is None for field in fields[1:]):
            return False
        some |= any(map(COMMA_NUMBER.fullmatch, fields))
    return some


def _row(line: Line, separator: str, file: Path) -> Row:
    text = line.text.strip() if separator == " " else line.text
    if '"' not in text:
        fields = text.split(None if separator == " " else separator)
    else:
        try:
            reader = csv.reader([text], delimiter=separator, skipinitialspace=True, strict=True)
            fields = next(reader)
        except csv.Error as error:
            raise ValueError(
                f"{file}, line {line.number} has quotes that do not close at the end of a field;"
                " remove the quotes."
            ) from error
    return Row(line.number, [field.strip() for field in fields])


def _require_even(table: Sequence[Row], separator: str, file: Path) -> None:
    """Raises `ValueError` for a row with another number of fields than the first one."""
    first = table[0]
    for row in table:
        if len(row.fields) != len(first.fields):
            name = {";": "semicolons", "\t": "tabs", ",": "commas", " ": "blanks"}[separator]
            raise ValueError(
                f"{file}, line {row.number} has {counted(row, 'number')}, but line {first.number}"
                f" has {len(first.fields)}; every line must have the same number of fields,"
                f" separated by {name}."
            )


def _values(row: Row, mark: str, file: Path) -> list[float]:
    if mark == "." and PLAIN.issuperset("".join(row.fields)):  # four times as fast, for most rows
        try:
            values = list(map(float, row.fields))
        except ValueError:
            values = [math.inf]
        if all(map(math.isfinite, values)):
            return values
    values = []
    for k, field in enumerate(row.fields):
        value = number(field, mark)
        if value is None:
            raise ValueError(f"{row.place(file, k)}: {fault(field)}")
        values.append(value)
    return values
