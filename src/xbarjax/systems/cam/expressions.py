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
    The least deterministic automaton comes from the library greenery, and its words from
    `automaton`.

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
        whole = f".*(?:{pattern}).*" if anywhere else pattern
        parse(pattern)  # by itself, so that no bracket closes that of the line above
        machine: Any = parse(whole).to_fsm().reduce()
    except Exception as error:  # greenery has no exception of its own for all of these
        raise refused(f"is not understood ({error})") from error
    table: dict[Any, np.ndarray] = {}
    for kind in machine.alphabet:
        inside = np.zeros(symbols, bool)
        for first, last in kind.ord_ranges:
            if last >= symbols and not kind.negated:
                raise refused(f"has a symbol of number {last}, and there are {symbols}")
            inside[first : last + 1] = True
        table[kind] = ~inside if kind.negated else inside
    names = {name: k for k, name in enumerate(_in_order(machine))}
    to = np.zeros((len(names), symbols), int)
    for name, k in names.items():
        for kind, inside in table.items():
            to[k, inside] = names[machine.map[name][kind]]
    accepting = np.array([name in machine.finals for name in names])
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


def _in_order(machine: Any) -> list[Any]:
    """States from the initial one on, by the number of steps to them."""
    order = [machine.initial]
    for name in order:
        steps = machine.map[name]
        for kind in sorted(steps, key=lambda kind: (kind.negated, kind.ord_ranges)):
            if steps[kind] not in order:
                order.append(steps[kind])
    return order
