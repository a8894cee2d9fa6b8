"""What `xbarjax search` found: the rows of its table, its report, its arrays and its text."""

from typing import Any

import numpy as np

from ..systems.cam.bounds import bounds
from ..systems.cam.search import Found
from .memories import CellChoice, Memory

SHOWN = 10  # queries, and rows of one, in the printed table
UNITS = {
    **dict.fromkeys(("v_sense", "margin", "query"), "V"),
    **dict.fromkeys(("t_fall", "t_sense"), "s"),
    **dict.fromkeys(("energy_match", "energy_static", "energy_data"), "J"),
    **dict.fromkeys(("match", "expected"), "1"),
}
RESULT_UNITS = {
    **dict.fromkeys(("rows", "cols", "queries", "matches", "missed", "false"), "1"),
    **dict.fromkeys(("margin_match_least", "margin_mismatch_most"), "V"),
    **dict.fromkeys(("bound_error_rms", "bound_error_largest"), "V"),
    **dict.fromkeys(("t_fall_mismatch_slowest", "t_sense"), "s"),
    **dict.fromkeys(("energy", "energy_match", "energy_static", "energy_data"), "J per search"),
    "energy_per_cell": "J per search and cell",
}


def describe(
    memory: Memory, found: Found, choice: CellChoice
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The numbers of the report, and the rows of the table."""
    tile, expected = memory.tile, memory.expected
    rows, cols = tile.shape
    match, margin, fall = (np.asarray(x) for x in (found.match, found.margin, found.t_fall))
    part = lambda x: float(np.mean(x))
    energy = {
        "energy_match": part(found.energy_match),
        "energy_static": part(found.energy_static),
        "energy_data": part(found.energy_data),
    }
    total = sum(energy.values())
    of = lambda pick, x: float(pick(x)) if x.size else None
    results: dict[str, Any] = {
        "rows": rows,
        "cols": cols,
        "queries": len(match),
        "matches": int(match.sum()),
        "missed": int((expected & ~match).sum()),
        "false": int((~expected & match).sum()),
        "margin_match_least": of(np.min, margin[expected]),
        "margin_mismatch_most": of(np.max, margin[~expected]),
        "t_fall_mismatch_slowest": of(np.max, fall[~expected]),
        "t_sense": float(tile.t_sense),
        "energy": total,
        **energy,
        "energy_per_cell": total / (rows * cols),
    }
    lines = [
        ("memory", f"{rows} rows of {cols} cells ({str(choice).upper()})"),
        ("queries", str(len(match))),
    ]
    for k in range(min(len(match), SHOWN)):
        lines.append((f"query {k}", _said_query(match[k], margin[k])))
    if len(match) > SHOWN:
        lines.append(("", f"and {len(match) - SHOWN} more; --out writes all"))
    least, most = results["margin_match_least"], results["margin_mismatch_most"]
    slowest = results["t_fall_mismatch_slowest"]
    volts = lambda x: "none there" if x is None else f"{x:+.4g} V"
    late = "none there" if slowest is None else "not before the decision"
    late = f"{slowest:.4g} s" if slowest is not None and np.isfinite(slowest) else late
    lines += [
        ("as stored", f"{match.size - results['missed'] - results['false']} of {match.size} rows"),
        ("margin, least of rows that should match", volts(least)),
        ("margin, most of rows that should not", volts(most)),
        ("slowest fall of a row that should not match", late),
        ("time to the decision", f"{results['t_sense']:.4g} s"),
        ("energy per search", f"{total:.4g} J, {total / (rows * cols):.4g} J per cell"),
        ("of match lines", f"{energy['energy_match']:.4g} J"),
        ("of search lines, static", f"{energy['energy_static']:.4g} J"),
        ("of data lines", f"{energy['energy_data']:.4g} J"),
    ]
    wires = np.any(np.asarray(tile.r_high)) or np.any(np.asarray(tile.r_low))
    if memory.wanted is not None and wires:
        results |= _bound_errors(memory)
        said = "{bound_error_rms:.3g} V rms, {bound_error_largest:.3g} V largest"
        lines.append(("error of the bounds on these wires", said.format(**results)))
    lines.append(("status", "good"))
    return results, lines


def _said_query(match: np.ndarray, margin: np.ndarray) -> str:
    rows = np.flatnonzero(match)
    if not rows.size:
        best = int(np.argmax(margin))
        return f"none; closest is row {best}, {-margin[best]:.3g} V below the reference"
    named = ", ".join(str(k) for k in rows[:SHOWN])
    more = f" and {rows.size - SHOWN} more" if rows.size > SHOWN else ""
    plural = "s" if rows.size > 1 else ""
    return f"row{plural} {named}{more}, by {margin[rows].min():.3g} V or more"


def _bound_errors(memory: Memory) -> dict[str, float]:
    """Bounds on real wires less those that were given [V]."""
    off = []
    for seen, meant in zip(bounds(memory.tile), memory.wanted or ()):
        known = np.isfinite(np.asarray(meant))
        off.append(np.asarray(seen)[known] - np.asarray(meant)[known])
    error = np.concatenate(off)
    if not error.size:
        return {"bound_error_rms": 0.0, "bound_error_largest": 0.0}
    return {
        "bound_error_rms": float(np.sqrt(np.mean(error**2))),
        "bound_error_largest": float(np.abs(error).max()),
    }


def doubts(results: dict[str, Any]) -> list[str]:
    """Warnings of rows that answer otherwise than what is stored."""
    missed, false = results["missed"], results["false"]
    if not missed + false:
        return []
    return [
        f"{missed} rows that should match fell, and {false} that should not stayed: change"
        " --t-sense or --v-ref, give shorter words or fewer levels, or --compensate the wires of"
        " analog cells."
    ]


def stored_arrays(
    memory: Memory, found: Found, is_analog: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """The stored arrays, and their units."""
    names = ("match", "margin", "v_sense", "t_fall")
    names += ("energy_match", "energy_static", "energy_data")
    arrays = {name: getattr(found, name) for name in names}
    arrays |= {"expected": memory.expected, "query": memory.queries}
    units = {name: UNITS[name] for name in arrays}
    cell: Any = memory.tile.cell
    if is_analog:
        arrays |= {"g_low": cell.g_low, "g_high": cell.g_high}
        units |= {"g_low": "S", "g_high": "S"}
    else:
        units["query"] = "1"
    return arrays, units


def text(found: Found, memory: Memory) -> str:
    """One line per query and row."""
    lines = ["query [1],row [1],match [1],expected [1],margin [V],v_sense [V],t_fall [s]"]
    columns = found.match, memory.expected, found.margin, found.v_sense, found.t_fall
    for k, row in np.ndindex(*np.shape(found.match)):
        a, b, *rest = (np.asarray(x)[k, row].item() for x in columns)
        lines.append(",".join(map(str, (k, row, int(a), int(b), *rest))))
    return "\n".join(lines) + "\n"
