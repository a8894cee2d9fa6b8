"""Finite automata in a ternary memory: one search per symbol, and the row that matches gives the
next state.

A row holds bits of a state and of a symbol, those that do not matter left open, and beside the
memory stands the state to which it leads. Regular expressions become such tables (C. E. Graves et
al., Adv. Mater. 32, 2003437 (2020), doi:10.1002/adma.202003437).
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from ..._types import described, is_concrete
from .curves import Curves, lookup
from .ternary import distances
from .word_lists import FREE, ordered

__all__ = ["Automaton", "accepted", "automaton", "states"]


def __dir__() -> list[str]:
    return __all__


class Automaton(eqx.Module):
    """A finite automaton as ternary words, which a `TernaryCam` holds.

    Of the rows that match a state and a symbol, the first gives the next state, as a priority
    encoder has it. Where no row matches, the next state is `otherwise`.
    """

    words: Float[Array, "rows cols"]
    """First the bits of the state, then those of the symbol, the highest bit first."""
    leads_to: Int[Array, " rows"]
    otherwise: Int[Array, ""]
    start: Int[Array, ""]
    accepting: Bool[Array, " states"]
    state_bits: int = eqx.field(static=True)
    symbol_bits: int = eqx.field(static=True)


def automaton(transitions: Any, accepting: Any, start: int = 0) -> Automaton:
    """The words of a deterministic finite automaton.

    Transitions to the most frequent state are what happens where no row matches. The others are
    merged to few rows by don't cares, also over states, and by rows for exceptions that come before
    them. A call works on concrete numbers.

    **Arguments:**

    - `transitions`: the next state, `(states, symbols)`, whole numbers.
    - `accepting`: whether a state accepts, `(states,)`, boolean.
    - `start`: the first state.

    **Errors:** `ValueError` for other shapes, and for states that there are not.
    """
    to, final = np.asarray(transitions), np.asarray(accepting)
    if to.ndim != 2 or not np.issubdtype(to.dtype, np.integer) or 0 in to.shape:
        raise ValueError(
            f"transitions is {to.dtype} of shape {to.shape}; pass whole numbers, (states, symbols)."
        )
    count, symbols = to.shape
    if final.shape != (count,) or final.dtype != bool:
        raise ValueError(
            f"accepting is {final.dtype} of shape {final.shape}; pass booleans, ({count},), one per"
            " row of transitions."
        )
    for name, x in (("transitions", to), ("start", np.asarray(start))):
        if x.min() < 0 or x.max() >= count:
            raise ValueError(
                f"{name} has states from {x.min()} to {x.max()}; there are {count}, from 0."
            )
    bits = [max(1, int(n - 1).bit_length()) for n in (count, symbols)]
    shape = (2 ** bits[0], 2 ** bits[1])
    next_state = np.full(shape, -1)
    next_state[:count, :symbols] = to
    otherwise = int(np.bincount(to.ravel()).argmax())
    cube = (2,) * sum(bits)
    words, leads_to = ordered(next_state.reshape(cube), otherwise)
    if not len(words):
        raise ValueError("transitions lead to one state only: nothing is left to search for.")
    every = np.where(words == FREE, 0.5, words)
    return Automaton(
        jnp.asarray(every), jnp.asarray(leads_to), jnp.asarray(otherwise), jnp.asarray(start),
        jnp.asarray(final), bits[0], bits[1],
    )  # fmt: skip


def states(
    machine: Automaton, symbols: Any, memory: Curves | None = None
) -> Int[Array, "... seen"]:
    """The states through which strings take an automaton, the first one included, `(..., times +
    1)`.

    **Arguments:**

    - `symbols`: strings as whole numbers, `(..., times)`. After a negative number, which marks the
        end of a shorter string, the state stays.
    - `memory`: tables of the tile that holds the words, for the queries 0 and 1 in this order:
        `Curves.of(TernaryCam(machine.words), (0, 1))`. Of rows that match, the first leads on.
        Without it the words are compared in digital logic.

    **Errors:** `TypeError` for another memory or symbols that are not whole. `ValueError` for
    symbols beyond the bits of the words, and for a memory of other words.
    """
    if not isinstance(machine, Automaton):
        raise TypeError(f"machine is {described(machine)}; pass an xb.cam.Automaton.")
    text = jnp.asarray(symbols)
    if text.ndim < 1 or not jnp.issubdtype(text.dtype, jnp.integer):
        raise TypeError(f"symbols is {text.dtype} {text.shape}; pass whole numbers, (..., times).")
    most = 2**machine.symbol_bits
    if is_concrete(text) and text.size and int(text.max()) >= most:
        raise ValueError(f"symbols has {int(text.max())}; the words know symbols below {most}.")
    if memory is not None:
        _require_memory(machine, memory)
    return _states(machine, text.astype(int), memory)


def accepted(machine: Automaton, symbols: Any, memory: Curves | None = None) -> Bool[Array, "..."]:
    """Whether an automaton ends in a state that accepts. Arguments and errors are those of
    `states`."""
    return machine.accepting[states(machine, symbols, memory)[..., -1]]


@eqx.filter_jit
def _states(machine: Automaton, text: Array, memory: Curves | None) -> Array:
    first = jnp.broadcast_to(machine.start, text.shape[:-1])

    def step(state: Array, symbol: Array) -> tuple[Array, Array]:
        bits = _bits(state, machine.state_bits), _bits(symbol, machine.symbol_bits)
        query = jnp.concatenate(bits, axis=-1)
        if memory is None:
            match = distances(machine.words, query.astype(machine.words.dtype)) == 0
        else:
            match = lookup(memory, query).match
        led = machine.leads_to[jnp.argmax(match, axis=-1)]
        after = jnp.where(jnp.any(match, axis=-1), led, machine.otherwise)
        after = jnp.where(symbol < 0, state, after)
        return after, after

    _, later = lax.scan(step, first, jnp.moveaxis(text, -1, 0))
    return jnp.moveaxis(jnp.concatenate([first[None], later]), 0, -1)


def _bits(x: Array, count: int) -> Array:
    places = jnp.arange(count - 1, -1, -1).reshape((1,) * x.ndim + (-1,))
    return (jnp.maximum(x, 0)[..., None] >> places) & 1


def _require_memory(machine: Automaton, memory: Any) -> None:
    if not isinstance(memory, Curves):
        raise TypeError(f"memory is {described(memory)}; pass xb.cam.Curves.of(tile, (0, 1)).")
    cols, levels, rows, _ = memory.i.shape
    if (rows, cols) != machine.words.shape:
        raise ValueError(
            f"memory has {rows} rows and {cols} columns; the words are {machine.words.shape}."
        )
    asked = memory.queries
    if levels != 2 or (is_concrete(asked) and np.asarray(asked).tolist() != [0, 1]):
        raise ValueError(f"memory has tables of the queries {asked}; they must be 0 and 1.")
