"""Content-addressable memories and queries in files, for `xbarjax search`."""

import enum
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..cells import Mosfet
from ..systems.cam.bounds import Bounds, compensated, stored
from ..systems.cam.cell import AbstractCamCell
from ..systems.cam.cells import (
    Analog6T2M,
    Ternary2T2R,
    Ternary4T2R,
    Ternary16T,
)
from ..systems.cam.placing import data_levels, placed
from ..systems.cam.tile import Tile
from .inputs import Inputs, require_given

TEXT = (".csv", ".tsv", ".txt")
EITHER = 0.5
BITS = {"0": 0.0, "1": 1.0, "x": EITHER, "0.5": EITHER, "1.0": 1.0, "0.0": 0.0}


class CellChoice(enum.StrEnum):
    analog = "6t2m"
    switches = "2t2r"
    dividers = "4t2r"
    sram = "16t"


class Technology(NamedTuple):
    """Numbers of a cell, chosen for a generic process and no published ones."""

    v_high: float  # [V] of a search line, a gate or a data line that is on, and of a supply
    t_sense: float  # [s]
    transistors: dict[str, tuple[float, float]]  # W/L and threshold [V] by name


KP = 2.5e-4  # [A/V^2] of W/L = 1
# Sense times at which words of up to 64 cells are told apart (experiments.cam, part energy).
TECHNOLOGY: dict[CellChoice, Technology] = {
    CellChoice.analog: Technology(
        0.5, 2e-8, {"divider": (4, 0.2), "pull_down": (1, 0.3), "inverter": (1, 0.2)}
    ),
    CellChoice.switches: Technology(1.2, 3e-10, {"switch": (4, 0.2)}),
    CellChoice.dividers: Technology(0.5, 1e-8, {"switch": (1, 0.2), "pull_down": (1, 0.3)}),
    CellChoice.sram: Technology(0.8, 3e-9, {"transistor": (1, 0.3)}),
}


def said_technology() -> str:
    """The default values of the parameters of every cell."""

    def one(tech: Technology) -> str:
        return ", ".join(f"{k}.w {w:g}, {k}.v_t {v:g}" for k, (w, v) in tech.transistors.items())

    return "; ".join(f"{choice} ({one(tech)})" for choice, tech in TECHNOLOGY.items())


class Memory(NamedTuple):
    """A tile, the queries for it, and what should match."""

    tile: Tile
    queries: np.ndarray  # (queries, cols) [V] or bits
    expected: np.ndarray  # (queries, rows)
    wanted: Bounds | None  # [V] of analog cells


def words(name: str, path: str, inputs: Inputs) -> np.ndarray:
    """Ternary words in a file, with 0.5 for x: of text, one word per line, such as `10x1` or
    `1,0,x,1`."""
    require_given(path, name)
    if Path(path).suffix.lower() not in TEXT:
        found = np.atleast_2d(inputs.array(name, path))
        if found.ndim != 2 or not np.isin(found, (0, 1, EITHER)).all():
            raise ValueError(f"{name} has shape {found.shape}; give (words, bits) of 0, 1 and 0.5.")
        return found
    lines = []
    content = Path(path).read_text(encoding="utf-8-sig")
    for k, line in enumerate(content.splitlines(), 1):
        text = line.strip().lower()
        if not text or text.startswith("#"):
            continue
        fields = text.replace(",", " ").replace(";", " ").split()
        if len(fields) == 1 and fields[0] not in BITS:
            fields = list(fields[0])
        other = [field for field in fields if field not in BITS]
        if other:
            raise ValueError(
                f"{path}, line {k}, has {other[0]!r}; a word has 0, 1 and x, which is either."
            )
        lines.append([BITS[field] for field in fields])
        if len(lines[-1]) != len(lines[0]):
            raise ValueError(
                f"{path}, line {k}, has {len(lines[-1])} bits, and the first word {len(lines[0])};"
                " give words of one width."
            )
    if not lines:
        raise ValueError(f"{path} has no words; give one per line, such as 10x1.")
    found = np.array(lines)
    digest = hashlib.sha256(found.tobytes()).hexdigest()
    inputs.used[name] = {"file": path, "shape": found.shape, "sha256 of float64": digest}
    return found


def transistors(choice: CellChoice, given: Sequence[str], inputs: Inputs) -> dict[str, Mosfet]:
    """The transistors of a cell; `given` are parameters as NAME=NUMBER."""
    values = {"kp": KP, "n": 1.3, "lam": 0.05}
    for name, (w, v_t) in TECHNOLOGY[choice].transistors.items():
        values |= {f"{name}.w": w, f"{name}.v_t": v_t}
    values = inputs.parameters(given, values, str(choice))
    kp, n, lam = (values[name] for name in ("kp", "n", "lam"))
    return {
        name: Mosfet(kp * values[f"{name}.w"], values[f"{name}.v_t"], 0.0, n, lam)
        for name in TECHNOLOGY[choice].transistors
    }


def ternary(
    word: np.ndarray,
    choice: CellChoice,
    fets: dict[str, Any],
    v_high: float,
    g: tuple[float, float],
) -> AbstractCamCell:
    """Cells that hold words, of conductances `g` [S] off and on."""
    one, zero = word == 0, word == 1  # whether a query of 1, of 0, discharges the line
    if choice is CellChoice.sram:
        return Ternary16T(one.astype(float), zero.astype(float), **fets, v_supply=v_high)
    of = lambda opened: np.where(opened, g[1], g[0])
    if choice is CellChoice.switches:
        return Ternary2T2R(of(one), of(zero), **fets, v_gate=v_high)
    return Ternary4T2R(of(one), of(zero), **fets, v_word=v_high / 2, v_data_high=v_high)


def matching_words(word: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Rows that match in every bit, `(queries, rows)`."""
    a, b = word[None], queries[:, None]
    return np.all((a == b) | (a == EITHER) | (b == EITHER), axis=-1)


def analog(
    low: np.ndarray,
    high: np.ndarray,
    queries: np.ndarray,
    tile: Tile,
    *,
    levels: int | None,
    g: tuple[float, float],
    compensate: bool,
) -> Memory:
    """A tile that holds bounds, in V or in levels, of conductances up to `g[1]` [S]. Without a
    bound `g` runs to a tenth of it."""
    require_width(queries, low)
    expected = np.all((queries[:, None] >= low) & (queries[:, None] < high), axis=-1)
    if levels is not None:
        if not np.all((queries == np.round(queries)) & (queries >= 0) & (queries < levels)):
            raise ValueError(
                f"--query has levels other than whole numbers from 0 to {levels - 1}; --levels is"
                f" {levels}."
            )
        if np.any(low > high):
            at = tuple(np.argwhere(low > high)[0].tolist())
            raise ValueError(f"LOW{list(at)} is {low[at]:g}, above HIGH, {high[at]:g}: swap them.")
        scale = data_levels(tile, levels, g_min=g[0], g_max=g[1] / 10)
        low, high = (np.asarray(x) for x in placed(scale, low, high))
        queries = np.asarray(scale.queries)[queries.astype(int)]
    program = compensated if compensate else stored
    made = program(tile, jnp.asarray(low), jnp.asarray(high), g_max=g[1])
    return Memory(made, queries, expected, Bounds(jnp.asarray(low), jnp.asarray(high)))


def blank(shape: tuple[int, ...], fets: dict[str, Any], v_high: float) -> Analog6T2M:
    """Analog cells without conductances."""
    return Analog6T2M(np.zeros(shape), np.zeros(shape), **fets, v_high=v_high)


def require_width(queries: np.ndarray, stored: np.ndarray) -> None:
    """Raises `ValueError` for queries of another width than what is stored."""
    if queries.ndim != 2 or queries.shape[1] != stored.shape[1]:
        raise ValueError(
            f"--query has shape {queries.shape}, but the memory has {stored.shape[1]} columns: give"
            f" (queries, {stored.shape[1]})."
        )
