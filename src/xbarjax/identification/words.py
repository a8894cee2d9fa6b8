"""What the reads do not show and where they refute the model, in words."""

from collections import Counter
from typing import Any, NamedTuple

import jax
import numpy as np

from ..kirchhoff.solution import Status
from .problem import Problem
from .twin import Twin

ALIKE = 0.9  # correlation of two parameters that trade off
VAGUE = 2.0  # times more is known of the best combination than of each alone
FEW = 64  # parameters of an unknown that are named one by one
WORST = 4.0  # standard errors at which residuals of a line are conspicuous


class _Entry(NamedTuple):
    """One parameter, in relative units."""

    name: str
    unknown: int  # of which it is a parameter
    column: int
    value: float  # [unit of the number]
    slope: float  # of the number by the parameter


def advice(twin: Twin, sure: bool) -> str:
    """All that there is to say of a twin; not `sure` if not all deviations were found."""
    said = []
    if not bool(twin.converged):
        said.append("The search did not come to rest: start closer, or raise max_steps.")
    if not sure:
        said.append(
            "Not all deviations and singular values were found: those stated may be too small. Give"
            " a sigma to what is unknown, or measure more."
        )
    status = Status(int(twin.status))
    if status.is_error:
        said.append(f"Reads of the array found failed: {status.name}.")
    said += unseen(twin) + trades(twin)
    if bool(twin.refuted):
        said.append(
            f"The reads refute the model: chi2 is {float(twin.chi2):.3g}, and noise as stated would"
            f" give 1. {conspicuous(twin)}"
        )
    if twin.outliers:
        said.append(
            f"{twin.outliers} readings are further off than {float(twin.problem.robust):g} standard"
            " deviations, and count less."
        )
    if twin.missing:
        said.append(f"{twin.missing} readings are NaN, and were left out.")
    return "\n".join(said)


def unseen(twin: Twin) -> list[str]:
    """Directions that no read shows."""
    said = []
    for direction in np.asarray(twin.unseen):
        if not np.any(direction):
            continue
        parts = []
        for begin, parameters, x in _groups(twin.problem, twin.u):
            part = direction[begin : begin + x.size] / np.linalg.norm(direction)
            share = float(np.linalg.norm(part))
            if share < 0.1:
                continue
            where = ""
            if x.size > 1:
                at = np.argsort(-np.abs(part))[:3]
                index = [np.unravel_index(k, x.shape) for k in at if abs(part[k]) > 0.3 * share]
                where = " at " + ", ".join(str(tuple(map(int, k))) for k in index) if index else ""
            parts.append(f"{' and '.join(parameters.names)}{where}")
        if parts:
            said.append(f"No read shows {' against '.join(parts)}: measure more, or fix it.")
    return list(dict.fromkeys(said))


def trades(twin: Twin) -> list[str]:
    """Pairs of single parameters of which a combination is known far better than each: of pairs of
    the same two unknowns the one where it is by the largest factor, and how many there are."""
    share = np.abs(np.asarray(twin.unseen)).max(axis=0, initial=0)
    hidden = share > 1e-3 * max(share.max(initial=0), 1e-300)
    entries = [e for e in _entries(twin) if not hidden[e.column]]
    spread = np.asarray(twin.spread)
    of = {e.column: spread[:, e.column] * e.slope / e.value for e in entries}
    said = []
    for k, a in enumerate(entries):
        for b in entries[k + 1 :]:
            x, y = of[a.column], of[b.column]
            sx, sy = np.linalg.norm(x), np.linalg.norm(y)
            if not (sx > 0 and sy > 0):
                continue
            alike = float(x @ y) / (sx * sy)
            if abs(alike) < ALIKE:
                continue
            if told := _trade(a, b, x, y, alike):
                said.append((*told, (a.unknown, b.unknown)))
    counts = Counter(unknowns for *_, unknowns in said)
    worst = {}
    for _, text, unknowns in sorted(said, reverse=True):
        more = f" {counts[unknowns] - 1} more pairs do so." if counts[unknowns] > 1 else ""
        worst.setdefault(unknowns, text + more)
    return list(worst.values())[:6]


def _trade(a: _Entry, b: _Entry, x, y, alike: Any) -> tuple[float, str] | None:
    """How many times better a combination of two parameters is known than each, and a sentence on
    it, from their relative errors `x` and `y`, drawn together."""
    same_unit = a.name.rpartition(".")[-1][:2] == b.name.rpartition(".")[-1][:2]
    absolute = np.stack([x * a.value, y * b.value])
    covariance = absolute @ absolute.T
    # c with the least deviation of a + c b
    c = -covariance[0, 1] / covariance[1, 1]
    best = np.sqrt(max(covariance[0, 0] - covariance[0, 1] ** 2 / covariance[1, 1], 0))
    total = a.value + c * b.value
    alone = min(np.linalg.norm(x), np.linalg.norm(y))
    if not (total and abs(best / total) * VAGUE < alone):
        return None
    gained = float(alone / max(abs(best / total), 1e-300))
    each = f"each alone to {_percent(np.linalg.norm(x))} and {_percent(np.linalg.norm(y))}"
    sign, size = ("+", abs(c)) if c > 0 else ("-", abs(c))
    factor = "" if same_unit and abs(size - 1) < 0.02 else f"{size:.3g} "
    text = (
        f"{a.name} {sign} {factor}{b.name} is known to {_percent(abs(best / total))}, {each}"
        f" (correlation {alike:.3f}): the reads tell their combination, not the parts."
    )
    return gained, text


def conspicuous(twin: Twin) -> str:
    """The lines and reads whose residuals are least like noise."""
    worst = []
    for k, part in enumerate(twin.residuals):
        for name, r in part.items():
            known = np.isfinite(np.asarray(twin.problem.measured[k].sensed[name]))
            squares = np.asarray(r) ** 2
            for axis, word in ((0, "line"), (1, "read")):
                n = known.sum(axis)
                score = (squares.sum(axis) - n) / np.sqrt(2 * np.maximum(n, 1))
                at = int(np.argmax(score))
                of = f" of measured[{k}]" if len(twin.residuals) > 1 else ""
                rms = np.sqrt(squares.sum(axis)[at] / max(n[at], 1))
                worst.append(
                    (float(score[at]), f"{word} {at} of {name}{of} ({rms:.3g} deviations rms)")
                )
    worst = [text for score, text in sorted(worst, reverse=True)[:3] if score > WORST]
    return f"Most conspicuous: {'; '.join(worst)}." if worst else "No single line stands out."


def _groups(problem: Problem, u):
    begin = 0
    for parameters, x in zip(problem.parameters, u):
        yield begin, parameters, x
        begin += x.size


def _entries(twin: Twin) -> list[_Entry]:
    """Parameters of unknowns with few of them."""
    found = []
    for number, (begin, parameters, x) in enumerate(_groups(twin.problem, twin.u)):
        if x.size > FEW:
            continue
        mean = lambda u, p=parameters: p.means(p.values(u))
        value, slope = jax.jvp(mean, (x,), (np.ones_like(x),))
        value, slope = np.asarray(value).ravel(), np.asarray(slope).ravel()
        for k in range(x.size):
            index = "" if x.size == 1 else str([int(i) for i in np.unravel_index(k, x.shape)])
            if value[k] != 0:
                name = " and ".join(parameters.names) + index
                found.append(_Entry(name, number, begin + k, float(value[k]), float(slope[k])))
    return found


def _percent(x: Any) -> str:
    return f"{100 * x:.2g} %"
