"""Commas in text: separators of numbers, or marks within them (decimal, thousands)."""

import re
from collections.abc import Sequence
from pathlib import Path

from .edges import Row
from .fields import COMMA_NUMBER, GROUPED, fault, number

# Digits followed by a field with a leading zero, as in 1,000 or 0,05 or 1 000: one number?
ZEROS = {
    ",": re.compile(r"(?:^|,)[+-]?\d+,0\d+(?:[eEdD][+-]?\d+)?(?=,|$)", re.ASCII),
    " ": re.compile(r"(?:^| )[+-]?\d{1,3} 0\d+(?= |$)", re.ASCII),
}
GROUPS = re.compile(r"(?:^|(?<=,))[+-]?([1-9]\d{0,2})((?:,\d{3})+)(?=,|$)", re.ASCII)
SIGNED = re.compile(r"[+-]?\d+", re.ASCII)
PART = re.compile(r"\d+(?:[ed][+-]?\d+)?", re.ASCII | re.IGNORECASE)


def require_one_reading(
    rows: Sequence[Row], lines: Sequence[str], separator: str, headed: bool, loose: bool, file: Path
) -> None:
    """Raises `ValueError` for a table whose separators could also be marks within its numbers.

    - `rows`, `lines`: the table without its header, as fields and as written.
    - `headed`: whether a header fixes the number of columns.
    - `loose`: whether commas may be decimal marks in this kind of file (`.txt`).
    """
    if zeros := ZEROS.get(separator):
        for row, line in zip(rows, lines, strict=True):
            if match := zeros.search(line.strip()):
                raise _two_readings(row, match[0].strip(", "), file)
    if separator != "," or headed:
        return
    if _could_be_grouped(rows, lines):
        match = GROUPS.search(lines[0].strip())
        raise _two_readings(rows[0], match[0] if match else lines[0], file)
    if _could_be_decimal(rows, loose):
        raise _two_readings(rows[0], ",".join(rows[0].fields[:2]), file)


def _could_be_grouped(rows: Sequence[Row], lines: Sequence[str]) -> bool:
    """Whether commas could separate thousands: every line has groups of three digits, and all
    lines have the same number of numbers if these groups are joined. A table whose numbers all have
    three digits is excepted."""
    lengths, short = set(), False
    for row, line in zip(rows, lines, strict=True):
        groups = GROUPS.findall(line.strip())
        if not groups:
            return False
        lengths.add(len(row.fields) - sum(len(rest) // 4 for _, rest in groups))
        short |= any(len(first) < 3 for first, _ in groups)
    return short and len(lengths) == 1


def _could_be_decimal(rows: Sequence[Row], loose: bool) -> bool:
    """Whether commas could be decimal marks and separators in turns, with evidence for it: an
    exponent in every second field, or only zeros before fields of several digits. `loose` needs no
    evidence."""
    powers, zeros, long = True, True, False
    for row in rows:
        before, after = row.fields[0::2], row.fields[1::2]
        if len(before) != len(after):
            return False
        if not (all(map(SIGNED.fullmatch, before)) and all(map(PART.fullmatch, after))):
            return False
        powers &= all(not SIGNED.fullmatch(part) for part in after)
        zeros &= all(part.lstrip("+-") == "0" for part in before)
        long |= any(len(part) > 1 for part in after)
    return loose or powers or (zeros and long)


def _two_readings(row: Row, field: str, file: Path) -> ValueError:
    return ValueError(
        f"{file}, line {row.number}: {field!r} is one number or several; write decimal points and"
        " no separators of thousands, or separate the numbers by semicolons."
    )


def decimal_mark(rows: Sequence[Row], file: Path) -> str:
    """The decimal mark of a table in which commas are no separators. Raises `ValueError` for a
    table with both marks, and for commas that could all separate thousands."""
    commas = [(row, k) for row in rows for k, field in enumerate(row.fields) if "," in field]
    if not commas:
        return "."
    for row, k in commas:
        if not COMMA_NUMBER.fullmatch(row.fields[k]):
            raise ValueError(f"{row.place(file, k)}: {fault(row.fields[k])}")
    for row in rows:
        for k, field in enumerate(row.fields):
            if "." in field and number(field) is not None:
                raise ValueError(
                    f"{row.place(file, k)}: {field!r} has a decimal point, but line"
                    f" {commas[0][0].number} a decimal comma; use one mark throughout."
                )
    if all(GROUPED.fullmatch(row.fields[k]) for row, k in commas):
        row, k = commas[0]
        raise _two_readings(row, row.fields[k], file)
    return ","
