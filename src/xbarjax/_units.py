"""Units of conductances in files, and warnings about conductances that no cell has in siemens."""

import re
import sys
import unicodedata
import warnings
from types import FrameType
from typing import NamedTuple

import numpy as np

from ._types import is_concrete


class Unit(NamedTuple):
    """A unit: its number per siemens or ohm, and whether the unit is one of resistance."""

    per: float
    of_resistance: bool = False


UNITS = {
    "S": Unit(1.0),
    "mS": Unit(1e3),
    "uS": Unit(1e6),
    "nS": Unit(1e9),
    "pS": Unit(1e12),
    "mohm": Unit(1e3, True),
    "ohm": Unit(1.0, True),
    "kohm": Unit(1e-3, True),
    "Mohm": Unit(1e-6, True),
    "Gohm": Unit(1e-9, True),
}
# Spellings in any case, except that m and M differ.
PREFIXES = {
    **{"": "", "m": "m", "M": "M", "milli": "m", "u": "u", "μ": "u", "micro": "u"},
    **{"n": "n", "nano": "n", "p": "p", "pico": "p", "k": "k", "kilo": "k", "kil": "k"},
    **{"meg": "M", "mega": "M", "g": "G", "gig": "G", "giga": "G"},
}
BASES = {
    **dict.fromkeys(("s", "siemens", "mho", "mhos"), "S"),
    **dict.fromkeys(("ohm", "ohms", "ω"), "ohm"),
}
INSIDE = re.compile(r"(xbarjax|equinox|jaxtyping|beartype|jax|functools|contextlib)\b")
UNLIKELY = 0.1  # [S], 10 ohm: more than any cell has
LARGE = 1e3  # numbers from here up are a cell's ohms, not its microsiemens


class UnitWarning(UserWarning):
    """Conductances larger than any cell has: they may be in another unit."""


def unit_named(text: str, name: str) -> str:
    """Unit of `UNITS` that a text spells.

    Raises `ValueError`, with the argument's `name`, for an unknown spelling."""
    spelled = unicodedata.normalize("NFKC", text).strip()
    for prefix, short in PREFIXES.items():
        start, base = spelled[: len(prefix)], spelled[len(prefix) :].strip().casefold()
        same = (
            start == prefix if len(prefix) == 1 and prefix in "mM" else start.casefold() == prefix
        )
        unit = short + BASES.get(base, "?")
        if same and unit in UNITS:
            return unit
    raise ValueError(f"{name} is {text!r}; it must be one of {', '.join(UNITS)}.")


def siemens(values: np.ndarray, unit: str, name: str) -> np.ndarray:
    """Conductances [S] of numbers in a unit of `UNITS`: 0 ohm becomes inf, inf ohm becomes 0.

    Raises `ValueError` for the first entry that is negative or NaN, unless the unit is siemens."""
    per, of_resistance = UNITS[unit]
    bad = ~(values >= 0)
    if unit != "S" and bad.any():
        at = tuple(int(k) for k in np.argwhere(bad)[0])
        where = f"{name}[{', '.join(map(str, at))}]" if at else name
        raise ValueError(f"{where} is {values[at]} {unit}; it must be at least 0.")
    if not of_resistance:
        return np.asarray(values / per)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(per / np.abs(values))  # 1 / -0.0 would be -inf


def doubt(values: np.ndarray) -> tuple[str, float] | None:
    """Likely unit of conductances [S] that no cell has, and the largest of them; None if all are
    usual.

    Infinite entries are shorts and do not count. If a few entries are too large, and far above all
    others, the unit is `S`: they are meant as shorts."""
    if not np.any(values > UNLIKELY):  # the usual case, in one pass
        return None
    finite = values[np.isfinite(values) & (values > 0)].astype(float)
    large = finite[finite > UNLIKELY]
    if not large.size:
        return None
    if 2 * large.size < finite.size and large.min() > LARGE * np.median(finite):
        return "S", float(large.max())
    least, most = float(finite.min()), float(finite.max())
    if least >= LARGE:
        return "ohm", most
    return ("mS" if most <= 1 else "uS"), most


def doubt_said(g: np.ndarray, name: str, unit: str | None, option: str) -> str | None:
    """Doubt about conductances [S] as a sentence, or None.

    `unit` is the unit that was named, or None. `option` is the text that names a unit, for example
    of a command. There is no doubt where siemens were named."""
    seen = doubt(g)
    if seen is None or unit == "S":
        return None
    likely, largest = seen
    said = f"{name} reaches {largest:.4g} S, and cells have less than {UNLIKELY} S (10 ohm):"
    if likely == "S":
        return f"{said} write inf for a short, or 0 in a unit of resistance."
    if unit is not None:
        return f"{said} is {unit} the unit?"
    would = float(siemens(np.array(largest), likely, name))
    return (
        f"{said} {option.format(likely)} would make that {would:.4g} S;"
        f" {option.format('S')} confirms siemens."
    )


ADVICE = {
    "S": "they are far above the others: write inf if they are shorts",
    "mS": "they look like millisiemens: multiply by 1e-3",
    "uS": "they look like microsiemens (multiply by 1e-6) or kilohms (1e-3 / {name})",
    "ohm": "they look like ohms: pass 1 / {name}",
}


def warn_of_units(g: object, name: str) -> None:
    """Warns of concrete conductances [S] that no cell has, at the first caller outside the package.

    The text is the same for all numbers, so that Python shows it once per place."""
    if not is_concrete(g):
        return
    seen = doubt(np.asarray(g))
    if seen is not None:
        advice = ADVICE[seen[0]].format(name=name)
        say(f"{name} has conductances above {UNLIKELY} S (10 ohm); {advice}.")


def say(sentence: str) -> None:
    """Warns (`UnitWarning`) at the first caller outside the package.

    Callers within equinox, which checks fields, and within JAX, which traces, do not count."""
    frame: FrameType | None = sys._getframe()
    level = 1
    while frame is not None and INSIDE.match(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(sentence, UnitWarning, stacklevel=level)
