"""Fields of a table in text: numbers, names, and marks of missing numbers."""

import math
import re

NUMBER = re.compile(
    r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[ed][+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE
)
COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+(?:[ed][+-]?\d+)?", re.ASCII | re.IGNORECASE)
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+", re.ASCII)  # 1,000: 1000, or 1 exactly
SUFFIXED = re.compile(
    r"[<>≤≥~≈±=']*[+-]?(?:\d[\d.,]*|\.\d+)(?:[ed][+-]?\d+)?\s*[^\W\d_%°].*|.*\d\s*%",
    re.IGNORECASE,
)
WHOLE = re.compile(r"\d+", re.ASCII)
# Marks of a missing number from instruments, spreadsheets and programs, reduced to letters.
MISSING = frozenset(
    "na nan null none nil nv empty blank missing void unknown undefined undef tbd"
    " nd lod bdl loq invalid bad fail failed failure err error fault broken dead timeout skip"
    " skipped ol ovl ovld ov ovr ovf ofl ufl over under overload overloaded overflow underflow"
    " overrange underrange outofrange oor range clip clipped sat saturated limit compliance cmpl"
    " open short true false ind qnan snan nanind notanumber infinite".split()
)
MINUS = "\N{MINUS SIGN}"


def number(field: str, mark: str = ".") -> float | None:
    """The number in a field, with the decimal `mark`; `None` for a field that is no number within
    float64. (Python's `float` would also take `1_0` and the digits of every script.)"""
    text = field.replace(MINUS, "-")
    if mark == ",":
        if "." in text or re.search(r",(?!\d)", text):
            return None
        text = text.replace(",", ".", 1)
    if not NUMBER.fullmatch(text):
        return None
    text = text.lower()
    value = float(text.replace("d", "e"))
    return None if math.isinf(value) and "n" not in text else value


def is_whole(field: str) -> bool:
    """Whether a field consists of digits alone."""
    return WHOLE.fullmatch(field) is not None


def is_missing(field: str) -> bool:
    """Whether a field marks a missing number: `NA`, `--`, `OVL`, or empty."""
    letters = "".join(c for c in field.casefold() if c.isalpha())
    return field.startswith("#") or not any(c.isalnum() for c in field) or letters in MISSING


def is_name(field: str) -> bool:
    """Whether a field can name a column or a row."""
    starts = field[:1].isalpha() or field[:1] in ("_", "(", "[", "{", "$")
    named = any(c.isalpha() for c in field)
    return starts and named and number(field) is None and not is_missing(field)


def fault(field: str) -> str:
    """Message for a field that is no number: what is wrong, and what to do."""
    said = f"{field!r} is not a number"
    if is_missing(field):
        return f"{said} and looks like a missing one; give the number, or remove the row."
    if len(re.findall("[.,]", field)) > 1 and re.fullmatch(r"[+-]?[\d.,]+", field):
        return f"{said} with one decimal mark; leave out separators of thousands."
    if re.fullmatch(r"[+-]?\d{1,3}(?:[\s'\u2019]\d{3})+(?:[.,]\d*)?", field):
        return f"{said}; leave out separators of thousands, and use one separator throughout."
    if NUMBER.fullmatch(field):
        return f"{said} that float64 can hold; write a smaller one."
    if SUFFIXED.fullmatch(field):
        return f"{said}: it has a unit, a prefix or a remark; write plain numbers, as 5e-6 for 5u."
    return f"{said}; write a number, or begin the line with # if it is a comment."
