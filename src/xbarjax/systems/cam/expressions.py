"""Regular expressions as automata."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from .automata import Automaton, automaton

__all__ = ["from_regex", "symbols_of"]


def __dir__() -> list[str]:
    return __all__


UNDERSTOOD = (
    "literals, classes [a-z], [^a-z], \\d, \\w, \\s, '.', groups, '|', and the repetitions *, +, ?,"
    " {m,n}"
)


def from_regex(pattern: str, *, anywhere: bool = False, symbols: int = 256) -> Automaton:
    r"""The automaton of a regular expression.

    The expression is one of literals, `\xNN`, `\t`, `\n`, `\r`, `\f`, `\v`, classes, `.`, groups,
    `|`, and the repetitions `*`, `+`, `?`, `{m}`, `{m,}`, `{m,n}`. These mean what they mean in
    Python's `re` for bytes, with `re.DOTALL`: `.` is any symbol, and `\d`, `\w`, `\s` are ASCII.
    The library greenery reads it, and the words are those of the least deterministic automaton.

    **Arguments:**

    - `anywhere`: False for strings that the expression matches as a whole (`re.fullmatch`), True
        for those in which it matches a part (`re.search`).
    - `symbols`: number of symbols, 256 for bytes, 128 for ASCII.

    **Errors:** `ValueError` for anything else in the expression, such as anchors, assertions, lazy
    repetitions and references, for symbols that there are not, and for an expression that matches
    all strings or none; `TypeError` unless it is a string; `ModuleNotFoundError` without greenery,
    which the extra `automata` brings.
    """
    try:
        from greenery import parse
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Regular expressions need {error.name}: run pip install 'xbarjax[automata]'."
        ) from error
    if not isinstance(pattern, str):
        raise TypeError(f"pattern is a {type(pattern).__name__}; pass a string.")
    if not (isinstance(symbols, int) and 2 <= symbols <= 256):
        raise ValueError(f"symbols is {symbols}; it must be a whole number from 2 to 256.")
    refused = lambda why: ValueError(f"pattern {pattern!r} {why}: it may have {UNDERSTOOD}.")
    foreign = _foreign(pattern)
    if foreign is not None:
        raise refused(f"has {foreign!r}, which is not understood")
    try:
        machine: Any = parse(pattern).to_fsm()
    except Exception as error:  # greenery has no exception of its own for all of these
        raise refused(f"is not understood ({error})") from error
    names = {name: k for k, name in enumerate(machine.states)}
    to = np.zeros((len(names), symbols), int)
    for kind in machine.alphabet:
        inside = np.zeros(symbols, bool)
        for first, last in kind.ord_ranges:
            if last >= symbols and not kind.negated:
                raise refused(f"has a symbol of number {last}, and there are {symbols}")
            inside[first : last + 1] = True
        inside ^= kind.negated
        for name, k in names.items():
            to[k, inside] = names[machine.map[name][kind]]
    accepting = np.array([name in machine.finals for name in names])
    start = names[machine.initial]
    if anywhere:
        to, accepting = _begun_anywhere(to, accepting, start)
        start = 0
    to, accepting = _least(to, accepting, start)
    if accepting.all() or not accepting.any():
        raise ValueError(
            f"pattern {pattern!r} matches {'all' if accepting.all() else 'no'} strings: nothing is"
            " left to search for."
        )
    return automaton(to, accepting)


def symbols_of(strings: Sequence[bytes]) -> jax.Array:
    """Strings of bytes as symbols, `(strings, longest)`, with -1 after their ends."""
    if not isinstance(strings, (list, tuple)) or not all(isinstance(s, bytes) for s in strings):
        raise TypeError("strings must be a list of bytes: encode text, such as by s.encode().")
    longest = max(map(len, strings), default=0)
    padded = np.full((len(strings), longest), -1)
    for k, string in enumerate(strings):
        padded[k, : len(string)] = np.frombuffer(string, np.uint8)
    return jax.numpy.asarray(padded)


def _foreign(pattern: str) -> str | None:
    """What Python reads otherwise than greenery: anchors, and a second sign of repetition."""
    inside, k = False, 0
    while k < len(pattern):
        c = pattern[k]
        if c == "\\":
            k += 1
        elif inside:
            inside = c != "]"
        elif c == "[":
            inside = True
            k += pattern[k + 1 : k + 2] == "^"
        elif c in "^$":
            return c
        elif c in "*+?}" and pattern[k + 1 : k + 2] in ("?", "+", "*", "{"):
            return pattern[k : k + 2]
        k += 1
    return None


def _begun_anywhere(
    to: np.ndarray, accepting: np.ndarray, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """The automaton of strings with a part that another one, which begins anew at every symbol,
    accepts: its states are the sets of states in which that may be. State 0 is the first one."""
    if accepting[start]:
        return np.zeros((1, to.shape[1]), int), np.array([True])
    found = frozenset([-1])  # for good
    order = [frozenset([start])]
    number = {order[0]: 0}
    rows: list[list[int]] = []
    # symbols that lead to the same states everywhere are taken as one
    kinds, of_symbol = np.unique(to, axis=1, return_inverse=True)
    for now in order:  # which grows on the way
        row = []
        for kind in range(kinds.shape[1]):
            after = now
            if now != found:
                ends = {int(kinds[s, kind]) for s in now}
                after = found if accepting[list(ends)].any() else frozenset(ends | {start})
            if after not in number:
                number[after] = len(order)
                order.append(after)
            row.append(number[after])
        rows.append(row)
    return np.array(rows)[:, of_symbol.ravel()], np.array([now == found for now in order])


def _least(to: np.ndarray, accepting: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """The automaton with the fewest states: those that no string tells apart are one.

    State 0 is the first, and the others follow by the number of steps to them."""
    kinds = np.unique(to, axis=1)  # of symbols
    part = accepting.astype(int)
    while True:
        seen = np.column_stack([part, part[kinds]])
        _, finer = np.unique(seen, axis=0, return_inverse=True)
        if finer.max() == part.max():
            break
        part = finer.ravel()
    one_of = np.unique(part, return_index=True)[1]
    order = [int(part[start])]
    for k in order:
        order += [s for s in dict.fromkeys(part[kinds[one_of[k]]].tolist()) if s not in order]
    number = np.zeros(len(one_of), int)
    number[order] = np.arange(len(order))
    kept = one_of[order]
    return number[part[to[kept]]], accepting[kept]
