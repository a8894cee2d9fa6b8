"""What `xbarjax identify` found: the rows of its table, its report and its arrays."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..identification.measured import Measured
from ..identification.twin import Twin
from ..kirchhoff.solution import Status

# What may be unknown beside the cells, by its name on the command line.
PLACES: dict[str, Callable[[Any], Any]] = {
    "r_row": lambda c: c.wires.r_row,
    "r_col": lambda c: c.wires.r_col,
    "r_source": lambda c: c.drive.r_source,
    "r_source_far": lambda c: c.drive.r_source_far,
    "r_in": lambda c: c.readout.r_in,
    "r_in_far": lambda c: c.readout.r_in_far,
}


def _numbers(twin: Twin) -> Iterator[tuple[str, str, np.ndarray, np.ndarray, bool]]:
    """Name, unit, values and deviations of all numbers, and whether they were free."""
    free = {name for p in twin.problem.parameters for name in p.names}
    a, std = twin.crossbar, twin.std
    for name, of in {"g": lambda c: c.cell.g, **PLACES}.items():
        owner = {"g": "cell", "r_row": "wires", "r_col": "wires"}.get(
            name, "drive" if name.startswith("r_source") else "readout"
        )
        unit = "S" if name == "g" else "ohm"
        yield name, unit, np.asarray(of(a)), np.asarray(of(std)), f"{owner}.{name}" in free


def describe_twin(
    twin: Twin, every: list[Measured]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The numbers of the report, and the rows of the table."""
    rows, cols = twin.crossbar.shape
    status = Status(int(twin.status))
    results: dict[str, Any] = {
        "rows": rows,
        "cols": cols,
        "converged": bool(twin.converged),
        "steps": int(twin.steps),
        "chi2": float(twin.chi2),
        "refuted": bool(twin.refuted),
        "readings": sum(m.count for m in twin.problem.measured),
        "outliers": twin.outliers,
        "missing": twin.missing,
        "status": status.name if status else "good",
        "advice": twin.advice.splitlines(),
        "found": {},
    }
    lines = [("array", f"{rows} x {cols} (word lines x bit lines)")]
    for name, unit, x, std, free in _numbers(twin):
        if not free:
            continue
        unseen = int(np.sum(np.isinf(std)))
        results["found"][name] = {
            "unit": unit,
            "smallest": float(x.min()),
            "median": float(np.median(x)),
            "largest": float(x.max()),
            "deviation_median": float(np.median(std)),
            "unseen": unseen,
        }
        value = f"{x.min():.5g}" if x.min() == x.max() else f"{x.min():.5g} to {x.max():.5g}"
        hidden = f", {unseen} of {x.size} not seen" if unseen else ""
        deviation = f"standard deviation {np.median(std):.2g} {unit}"
        deviation += " (median)" if np.any(std != std.flat[0]) else ""
        lines.append((name, f"{value} {unit}, {deviation}{hidden}"))
    said = "refutes the model" if results["refuted"] else "1 for noise as stated"
    if any(m.sigma is None for m in every):
        said = "of a nominal noise of 1e-3 rms"
    lines += [
        ("readings", f"{results['readings']}, {twin.outliers} outliers, {twin.missing} missing"),
        ("chi2", f"{results['chi2']:.4g} ({said})"),
        (
            "search",
            f"{'at rest' if twin.converged else 'NOT at rest'} after {results['steps']} steps",
        ),
        ("status", results["status"]),
    ]
    return results, lines


def twin_arrays(twin: Twin, every: list[Measured]) -> tuple[dict[str, Any], dict[str, str]]:
    """The stored arrays, and their units."""
    arrays, units = {}, {}
    for name, unit, x, std, _ in _numbers(twin):
        arrays |= {name: x, f"{name}_std": std}
        units |= {name: unit, f"{name}_std": unit}
    for k, (m, part) in enumerate(zip(every, twin.residuals)):
        for name, r in part.items():
            key = f"residual_{name}" + (f"_{k}" if len(every) > 1 else "")
            arrays[key] = np.where(np.isfinite(np.asarray(m.sensed[name])), np.asarray(r), np.nan)
            units[key] = "1"
    return arrays, units
