"""Regular expressions in a ternary memory, with patterns like those of intrusion detection."""

import re
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from xbarjax.systems import cam
from xbarjax.variability import Lognormal

# each with a text that matches
PATTERNS = {
    r"(GET|POST) /[\w/]*\.\./": b"GET /cgi/../x",
    r"(%2e|\.){2}(%2f|/)": b"a/%2e%2e/b",
    r"/etc/(passwd|shadow)": b"=/etc/shadow",
    r"<script[^>]*>": b"<script src=x>",
    r"' ?(or|and) ?'?1'?=": b"id=' or '1'=1",
    r"union( |\+)+select": b"1+union++select",
    r"cmd\.exe(\?|%3f)/c": b"/cmd.exe%3f/c",
    r"\x90{6,}": b"x\x90\x90\x90\x90\x90\x90y",
    r"(wget|curl) http://[\d.]+/": b"curl http://1.2.3.4/",
    r"USER [^\n]{24,}": b"USER aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
}
STRINGS, LENGTH = 200, 64
SPREADS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
OFFSETS = (0.0, 0.02, 0.05, 0.1)
DIES = 5
EXACT = 20  # queries of a pattern that are searched with wires of match lines
ROWS, STATE_BITS = 64, 5  # of the tile that holds a pattern


def strings(number: int) -> list[bytes]:
    """Noise with the text of the pattern, with it after one to three changes, or without it."""
    text = list(PATTERNS.values())[number]
    rng = np.random.default_rng([5, number])
    letters = np.frombuffer(b"abcdeGETPOSTunion /.%'=<>123\n\x90", np.uint8)
    made = []
    for k in range(STRINGS):
        part = bytearray(text)
        for _ in range(rng.integers(1, 4) if k % 4 in (1, 2) else 0):
            at = rng.integers(len(part))
            change = rng.integers(3)
            if change == 0:
                part[at] = rng.choice(letters)
            elif change == 1:
                del part[at]
            else:
                part.insert(at, part[at])
        if k % 4 == 3:
            part = bytearray()
        around = rng.choice(letters, rng.integers(0, LENGTH - len(part) + 1))
        at = rng.integers(len(around) + 1)
        made.append(bytes(around[:at]) + bytes(part) + bytes(around[at:]))
    return made


def padded(machine: cam.Automaton) -> cam.Automaton:
    """The same for a tile of a fixed size: unused rows repeat the last one, which `memory` turns
    into rows that never match, and bits of the state that are not needed are open."""
    more = ROWS - len(machine.words), STATE_BITS - machine.state_bits
    words = jnp.pad(machine.words, ((0, more[0]), (0, 0)), mode="edge")
    words = jnp.pad(words, ((0, 0), (more[1], 0)), constant_values=0.5)
    leads_to = jnp.pad(machine.leads_to, (0, more[0]), mode="edge")
    accepting = jnp.pad(machine.accepting, (0, 2**STATE_BITS - machine.accepting.size))
    return cam.Automaton(
        words, leads_to, machine.otherwise, machine.start, accepting, STATE_BITS,
        machine.symbol_bits,
    )  # fmt: skip


@cache
def sense_time(cols: int, cell: str) -> float:
    """The geometric mean [s] of the times at which lines with no and with one cell that does not
    match fall, without variation, but no later than five times the second."""
    ladder = cam.TernaryCam(np.tri(2, cols, -1), cell=CELLS[cell])
    t = np.asarray(cam.lookup(cam.Curves.of(ladder, (0.0, 1.0)), np.zeros(cols, int)).t_fall)
    return float(min(np.sqrt(t[0] * t[1]), 5 * t[1]))


@jax.jit
def _accepted(machine: cam.Automaton, symbols: jax.Array, tile: cam.Tile) -> jax.Array:
    curves = cam.Curves.of(tile, jnp.array([0.0, 1.0]), volts=17)
    return cam.accepted(machine, symbols, curves)


@jax.jit
def _search(tile: cam.Tile, queries: jax.Array) -> cam.Found:
    return jax.vmap(lambda q: cam.search(tile, q))(queries)


CELLS = {"2T2R": cam.Ternary2T2R, "4T2R": cam.Ternary4T2R}


def memory(machine: cam.Automaton, used: int, cell: str, r: float) -> cam.Tile:
    """The tile; both halves of the cells of rows that are not used conduct."""
    words = machine.words
    t_sense = sense_time(words.shape[1], cell)
    tile = cam.TernaryCam(
        words, cell=CELLS[cell], t_sense=t_sense, r_match=r, r_high=r, r_low=r,
        v_offset=np.zeros(len(words)),
    )  # fmt: skip
    cells: Any = tile.cell
    off = jnp.broadcast_to(jnp.arange(len(words))[:, None] >= used, words.shape)
    both = lambda g: jnp.where(off, jnp.max(g), g)
    where = lambda t: (t.cell.g_one, t.cell.g_zero)
    return eqx.tree_at(where, tile, (both(cells.g_one), both(cells.g_zero)))


def varied(tile: cam.Tile, spread: float, offset: float, seed: int) -> cam.Tile:
    one, zero, off = jax.random.split(jax.random.key(seed), 3)
    cell: Any = tile.cell
    vary = Lognormal(spread)
    return eqx.tree_at(
        lambda t: (t.cell.g_one, t.cell.g_zero, t.v_offset),
        tile,
        (
            vary(cell.g_one, one),
            vary(cell.g_zero, zero),
            offset * jax.random.normal(off, tile.v_offset.shape),
        ),
    )


def measured(number: int) -> dict[str, Any]:
    """Of one pattern: size of its table, agreement with `re`, energy and time."""
    pattern = list(PATTERNS)[number]
    alone = cam.from_regex(pattern, anywhere=True)
    machine, used = padded(alone), len(alone.words)
    texts = strings(number)
    symbols = cam.symbols_of(texts)
    symbols = jnp.pad(symbols, ((0, 0), (0, LENGTH - symbols.shape[1])), constant_values=-1)
    want = np.array([re.search(pattern.encode(), t, re.DOTALL) is not None for t in texts])
    agree = lambda found: float(np.mean(np.asarray(found) == want))
    run = lambda tile: agree(_accepted(machine, symbols, tile))
    through = np.asarray(cam.states(machine, symbols))
    result: dict[str, Any] = {
        "pattern": pattern,
        "states": int(alone.accepting.size),
        "rows": alone.words.shape[0],
        "columns": alone.words.shape[1],
        "strings": len(texts),
        "that_match": int(want.sum()),
        "digital": agree(cam.accepted(machine, symbols)),
    }
    for cell in CELLS:
        # tables leave out the wires of match lines, and 2T2R cells have no others
        ohms = (0.0, 5.0, 50.0) if cell == "4T2R" else (0.0,)
        result[cell] = {f"r_{r:g}_ohm": run(memory(machine, used, cell, r)) for r in ohms}
    tile = memory(machine, used, "2T2R", 5.0)
    result["spread"] = [
        [run(varied(tile, s, 0.0, 10 * number + die)) for die in range(DIES)] for s in SPREADS
    ]
    result["offset"] = [
        [run(varied(tile, 0.0, v, 10 * number + die)) for die in range(DIES)] for v in OFFSETS
    ]
    # queries on the way of these strings, for the exact search
    seen = np.argwhere(np.asarray(symbols) >= 0)
    some = seen[np.random.default_rng([6, number]).permutation(len(seen))[:EXACT]]
    here = through[some[:, 0], some[:, 1]], np.asarray(symbols)[some[:, 0], some[:, 1]]
    bits = lambda x, n: x[:, None] >> np.arange(n - 1, -1, -1) & 1
    query = np.concatenate(
        [bits(here[0], machine.state_bits), bits(here[1], machine.symbol_bits)], 1
    ).astype(float)
    truth = (np.asarray(cam.distances(machine.words, query)) == 0) & (np.arange(ROWS) < used)
    for cell in CELLS:
        one = memory(machine, used, cell, 5.0)
        found = _search(one, jnp.asarray(query))
        result[cell] |= {
            "exact_rows_as_meant": float(np.mean(np.asarray(found.match) == truth)),
            "least_margin_V": float(np.abs(found.margin).min()),
            "energy_per_symbol_J": float(np.mean(found.energy)),
            "static_share": float(np.mean(found.energy_static / found.energy)),
            "t_sense_s": float(one.t_sense),
            # the precharge is not simulated: it is given the time of the sensing
            "symbols_per_s": float(1 / (2 * one.t_sense)),
        }
    return result
