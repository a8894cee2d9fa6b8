"""Names and units of measured quantities, as columns of a table and as arrays."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from .measured import ENDS, Measured
from .predict import UNITS

VOLTAGES = "v_row", "v_row_far", "v_col", "v_col_far", "v_gate"
SIGMA = "sigma "  # begins the name of the noise of a quantity
OPEN = "open_ends"
PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9, "p": 1e-12}
FACTORS = {base: {prefix + base: x for prefix, x in PREFIXES.items()} for base in "VA"}
# The readout says whether its output is a voltage or a current.
FACTORS["V or A"] = FACTORS["V"] | FACTORS["A"] | {"V or A": 1.0}
HEAD = re.compile(r"(?P<name>.*?)\s*(?P<index>(?:\[\s*\d+\s*\])*)\s*(?:\[(?P<unit>[^\[\]]*)\])?")
NAMES = (*VOLTAGES, *UNITS)

Named = dict[str, np.ndarray]


class Column(NamedTuple):
    """A column of a table: a quantity, its line, and what its numbers are multiplied by for SI."""

    name: str
    lines: tuple[int, ...]
    factor: float


def column(text: str, where: str) -> Column:
    """The column that a header names, such as `v_row[0] [mV]`. Raises `ValueError`, with `where` it
    stands, for another name and another unit."""
    said = f"{where}: column {text!r}"
    match = HEAD.fullmatch(text.strip())
    name = " ".join(match["name"].split()) if match else ""
    require_name(name, said)
    index = tuple(int(x) for x in re.findall(r"\d+", match["index"]))  # pyright: ignore
    unit = match["unit"]  # pyright: ignore[reportOptionalSubscript]
    if name == OPEN:
        if index or unit:
            raise ValueError(f"{said} has a line or a unit; it must be {OPEN} alone.")
        return Column(name, (), 1.0)
    shape = f"{name}{''.join(f'[{k}]' for k in index)}"
    base = unit_of(name)
    if unit is None:
        raise ValueError(f"{said} has no unit; write it as '{shape} [{base[0]}]'.")
    scale = factor(unit, name, said)
    least, most = (0, 2) if name == "v_gate" else (0 if name.startswith(SIGMA) else 1, 1)
    if not least <= len(index) <= most:
        raise ValueError(f"{said} must name one line, such as '{name}[0] [{unit}]'.")
    return Column(name, index, scale)


def require_name(name: str, said: str) -> None:
    """Raises `ValueError`, with a text of what has it, for a name of no quantity."""
    of = name.removeprefix(SIGMA)
    if name != OPEN and of not in (NAMES if of == name else UNITS):
        raise ValueError(
            f"{said} is none of {', '.join(NAMES)}, '{SIGMA}NAME' and {OPEN}; rename it or remove"
            " it."
        )


def unit_of(name: str) -> str:
    """The SI unit of a quantity or of its noise: `V`, `A` or, for outputs, `V or A`."""
    return UNITS.get(name.removeprefix(SIGMA), "V")


def factor(unit: str, name: str, said: str) -> float:
    """What numbers in a unit are multiplied by for SI. Raises `ValueError` for a unit that does not
    fit the quantity."""
    # NFKC makes the micro sign a Greek mu, which some keyboards have
    spelled = unicodedata.normalize("NFKC", unit).strip().replace("\u03bc", "µ")
    known = FACTORS[unit_of(name)]
    if spelled not in known:
        raise ValueError(f"{said} has the unit {unit!r}; it must be one of {', '.join(known)}.")
    return known[spelled]


def named_of(measured: Measured) -> Named:
    """The arrays of reads by name, in SI units; noise is `(reads, 1)` or `(reads, lines)`."""
    named = {k: np.asarray(x) for k in VOLTAGES if (x := getattr(measured, k)) is not None}
    named |= {k: np.asarray(x) for k, x in measured.sensed.items()}
    for name, x in (measured.sigma or {}).items():
        x = np.asarray(x)
        lines = x.shape[-1] if x.ndim else 1
        named[SIGMA + name] = np.broadcast_to(x, (measured.reads, lines))
    return named


def measured_of(named: Named, ends: Iterable[str], where: str) -> Measured:
    """Reads from arrays by name. Raises `ValueError`, with `where` they stand, for what `Measured`
    refuses and for infinite readings."""
    if "v_row" not in named:
        raise ValueError(f"{where} has no v_row; give the voltages [V] of the rows, such as 0.")
    sensed: dict[str, Any] = {k: x for k, x in named.items() if k in UNITS}
    sigma: dict[str, Any] = {
        k.removeprefix(SIGMA): x for k, x in named.items() if k.startswith(SIGMA)
    }
    for name, x in sensed.items():
        if np.any(np.isinf(x)):
            at = tuple(int(k) for k in np.argwhere(np.isinf(x))[0])
            raise ValueError(
                f"{where}: {name}{list(at)} is infinite; give NaN for what was not measured."
            )
    voltages = {k: x for k, x in named.items() if k in VOLTAGES[1:]}
    try:
        return Measured(
            named["v_row"], sensed, sigma or None, **voltages, open_ends=ordered(ends, where)
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def ordered(ends: Iterable[str], where: str) -> tuple[str, ...]:
    """Open ends, each once. Raises `ValueError` for a word that names none."""
    ends = set(ends)
    for end in sorted(ends - set(ENDS)):
        raise ValueError(f"{where}: {OPEN} has {end!r}; an end is one of {', '.join(ENDS)}.")
    return tuple(end for end in ENDS if end in ends)
