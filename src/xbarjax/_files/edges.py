"""The edges of a table of numbers: a header, an index, empty columns at the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .fields import fault, is_missing, is_name, is_whole, number

# Names of an index column, reduced to letters and digits.
INDEX_NAMES = frozenset(
    "index idx id no nr num number row rows rownumber wordline wl line unnamed unnamed0 level0"
    " sample step".split()
)


class Row(NamedTuple):
    """The fields of a line, the number of the line in the file, and how many fields were cut off
    before these."""

    number: int
    fields: list[str]
    before: int = 0

    def place(self, file: Path, k: int) -> str:
        """Position of field `k` for a message: file, line and column."""
        return f"{file}, line {self.number}, column {self.before + k + 1}"


class Cut(NamedTuple):
    """The rows of a table without its edges, whether it had a header, and one phrase per skipped
    part."""

    rows: list[Row]
    headed: bool
    skipped: list[str]


def cut_edges(rows: list[Row], file: Path, quoted: bool) -> Cut:
    """The rows without header, index and empty columns at the end. `quoted`: whether the first line
    has quotes. Raises `ValueError` for an edge that could also be data."""
    rows, empty = _without_tail(rows)
    head, body = _header(rows, file)
    shift = _index(head, body, file, quoted)
    skipped = []
    if head is not None:
        names = ", ".join(map(repr, head.fields[:6])) + (", ..." if len(head.fields) > 6 else "")
        skipped.append(f"line {head.number}, a header: {names}")
    if shift:
        first, last = body[0].fields[0], body[-1].fields[0]
        skipped.append(f"column 1, an index: {first!r} to {last!r}")
    if empty:
        skipped.append(f"{empty} empty column{'s'[: empty > 1]} at the end")
    if shift:
        body = [Row(row.number, row.fields[1:], 1) for row in body]
    return Cut(body, head is not None, skipped)


def _without_tail(rows: list[Row]) -> tuple[list[Row], int]:
    """The rows without the last columns that are empty on every line, and the number of these
    columns. A header may have no fields for them."""
    first, rest = rows[:1], rows[1:]
    short = [row for row in first if rest and len(row.fields) == len(rest[0].fields) - 1]
    if short and rest and all(is_name(field) for field in short[0].fields):
        cut, empty = _without_tail(rest)
        return (short + cut, 1) if empty == 1 else (rows, 0)
    empty = 0
    while rows and all(len(row.fields) > 1 and row.fields[-1] == "" for row in rows):
        rows = [Row(row.number, row.fields[:-1]) for row in rows]
        empty += 1
    return rows, empty


def _header(rows: list[Row], file: Path) -> tuple[Row | None, list[Row]]:
    """The header, or `None`, and the rows below it."""
    first, body = rows[0], rows[1:]
    numbers = [_is_number(field) for field in first.fields]
    if all(numbers):
        _require_no_count(rows, file)
        return None, rows
    corner, rest = first.fields[0], first.fields[1:]
    if rest and all(numbers[1:]):  # a named row, or column numbers beside a corner
        if is_name(corner) and all(is_name(row.fields[0]) for row in body):
            return None, rows
        below = [row.fields[0] for row in body]
        if body and _counts(rest) and (_counts(below) or all(map(is_name, below))):
            if corner == "" or is_name(corner):
                return first, body
        raise _refused(first, 0, file)
    if any(numbers):
        raise _refused(first, numbers.index(False), file)
    for column, field in enumerate(first.fields):
        if not is_name(field) and not (column == 0 and field == "" and rest):
            raise _refused(first, column, file)
    names = {field.casefold() for field in first.fields}
    if len(first.fields) > 1 and len(names) == 1:
        raise ValueError(
            f"{file}, line {first.number} repeats {corner!r}, which cannot name every column; give"
            " different names or numbers, or begin the line with # if it is a comment."
        )
    if body and len(body[0].fields) - len(first.fields) not in (0, 1):
        raise _misfit(first, body[0], file)
    return first, body


def _index(head: Row | None, body: list[Row], file: Path, quoted: bool) -> int:
    """Number of index columns: 1 for row numbers or row names, else 0."""
    if not body or any(len(row.fields) != len(body[0].fields) for row in body):
        return 0  # uneven rows raise later, with the line
    below = [row.fields[0] for row in body]
    width = len(body[0].fields)
    missing_name = head is not None and len(head.fields) == width - 1
    if width > 1 and all(map(is_name, below)):
        if len(below) > 1 and len(set(below)) == 1:
            raise _refused(body[0], 0, file)
        return 1
    # R writes quoted row numbers and no name above them.
    if head is not None and missing_name and not (quoted and _counts(below)):
        raise _misfit(head, body[0], file)
    if width == 1 or not _counts(below):
        if head is not None and width > 1 and head.fields[0] == "":
            raise ValueError(
                f"{file}, line {head.number}: column 1 has no name and does not count the rows;"
                " name the column if it is part of the array, or remove it if it is an index."
            )
        return 0
    if head is None:
        return 0
    name = "".join(c for c in head.fields[0].casefold() if c.isalnum())
    if missing_name or name == "" or name in INDEX_NAMES or _is_number(head.fields[-1]):
        return 1
    if _alone_whole(body, below) or len(below) > 2:
        raise ValueError(
            f"{file}: column 1, {head.fields[0]!r}, counts the rows: it may be an index or part of"
            " the array. Remove it if it is an index; write 1.0 for 1 if not."
        )
    return 0


def _require_no_count(rows: list[Row], file: Path) -> None:
    """Raises `ValueError` for a table of numbers alone whose first line or column counts 0, 1, ...:
    a header or an index as pandas writes them, or data."""
    if any(len(row.fields) != len(rows[0].fields) for row in rows):
        return  # uneven rows raise later, with the line
    if not all(_is_number(row.fields[0]) for row in rows):
        return  # other fields raise later, with line and column
    table = [row.fields for row in rows]
    for lines, what in ((table, f"line {rows[0].number}"), (list(zip(*table)), "column 1")):
        first, rest = lines[0], lines[1:]
        if len(first) < 2 or not rest or not _counts(first):
            continue
        goes_on = _counts([field for line in lines for field in line])
        whole = any(is_whole(field) for line in rest for field in line)
        if not whole or (len(first) > 2 and first[0] == "0" and not goes_on):
            raise ValueError(
                f"{file}: {what} counts {first[0]}, {first[1]}, ...: these may be names of"
                f" {'rows' if what == 'column 1' else 'columns'} or part of the array. Remove"
                " them if they are names; write 1.0 for 1 if not."
            )


def _counts(fields: Sequence[str]) -> bool:
    """Whether fields count up from 0 or 1, as an index does."""
    if not fields or fields[0] not in ("0", "1"):
        return False
    start = int(fields[0])
    return all(field == str(k) for k, field in enumerate(fields, start=start))


def _alone_whole(body: list[Row], below: Sequence[str]) -> bool:
    """Whether the first column, of two or more rows, has the only whole numbers of the table."""
    others = any(is_whole(field) for row in body for field in row.fields[1:])
    return len(below) > 1 and not others


def _is_number(field: str) -> bool:
    return number(field) is not None or ("," in field and number(field, ",") is not None)


def counted(row: Row, what: str) -> str:
    """`1 name`, `2 names`."""
    return f"{len(row.fields)} {what}{'s'[: len(row.fields) != 1]}"


def _refused(row: Row, column: int, file: Path) -> ValueError:
    field = row.fields[column]
    said = fault(field)
    if not is_missing(field):
        said += " A header has one name per column and nothing else."
    return ValueError(f"{row.place(file, column)}: {said}")


def _misfit(head: Row, row: Row, file: Path) -> ValueError:
    return ValueError(
        f"{file}, line {head.number} has {counted(head, 'name')}, but line {row.number} has"
        f" {counted(row, 'number')}; give each column a name, or begin the first line with #."
    )
