"""Entries of a sweep's TOML file: checked tables, numbers, limits and names of axes.

Every function raises `ValueError` with one sentence for an entry that cannot be used.
"""

import difflib
import math
from collections.abc import Mapping
from typing import Any


def known(given: Mapping[str, Any], names: Any, where: str) -> None:
    """Refuses a key of `given` that is not in `names`."""
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}."
            raise ValueError(f"{where} has an unknown key {name!r}; {hint}")


def table(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The table of this name, empty if the file has none."""
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"{name} is {found!r}; it must be a table that begins with [{name}].")
    return found


def number(x: Any, axes: Mapping[str, Any], name: str) -> float | str:
    """A number, or the name of an axis."""
    if isinstance(x, str):
        if x not in axes:
            raise ValueError(
                f"{name} is {x!r}, which is no axis; give a number or the name of an axis."
            )
        return x
    if not is_number(x):
        raise ValueError(f"{name} is {x!r}; it must be a number or the name of an axis.")
    return float(x)


def is_number(x: Any) -> bool:
    """Whether a TOML value is a number within float64, or infinite."""
    if isinstance(x, bool) or not isinstance(x, (int, float)):
        return False
    return abs(x) < 2**1023 if isinstance(x, int) else not math.isnan(x)


def limit(name: str, x: Any) -> tuple[float, float]:
    """The limits `(low, high)` of a metric."""
    if not (isinstance(x, list) and len(x) == 2 and all(map(is_number, x))):
        raise ValueError(f"limits.{name} is {x!r}; it must be two numbers, [low, high].")
    return float(x[0]), float(x[1])


def whole(x: Any, name: str, least: int, below: int) -> int:
    """A whole number from `least` to `below - 1`."""
    if not (isinstance(x, int) and not isinstance(x, bool) and least <= x < below):
        raise ValueError(f"{name} is {x!r}; it must be a whole number from {least} to {below - 1}.")
    return x
