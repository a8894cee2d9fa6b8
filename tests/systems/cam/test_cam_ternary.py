"""Ternary words, the best match, hashes and automata, against logic, hand counts and `re`."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.nodal import solve
from xbarjax.systems.cam.word_lists import FREE, ordered

cam = xb.cam
WORDS = np.array([[1, 0, 1, 0], [0.5, 0, 1, 0], [1, 1, 1, 0.5], [0, 1, 0, 0.5], [0, 1, 0, 1]])
QUERY = np.array([1, 0, 1, 0.5])
APART = np.array([0, 0, 1, 3, 3])  # bits in which words and query differ, counted by hand


def test_words_apart_are_counted() -> None:
    np.testing.assert_array_equal(cam.distances(WORDS, QUERY), APART)
    rng = np.random.default_rng(0)
    words, queries = (rng.choice([0, 0.5, 1], (n, 9)) for n in (5, 7))
    want = (np.abs(words - queries[:, None]) == 1).sum(-1)
    np.testing.assert_array_equal(cam.distances(words, queries), want)


def test_levels_as_bits_have_the_distance_of_levels() -> None:
    rng = np.random.default_rng(1)
    stored, asked = rng.integers(0, 5, (6, 3)), rng.integers(0, 5, (4, 3))
    want = np.abs(stored - asked[:, None]).sum(-1)
    got = cam.distances(cam.thermometer(stored, 5), cam.thermometer(asked, 5))
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(cam.thermometer([0, 2, 3], 4), [0, 0, 0, 1, 1, 0, 1, 1, 1])


@pytest.mark.parametrize("cell", [cam.Ternary2T2R, cam.Ternary4T2R, cam.Ternary16T])
def test_lines_with_more_differences_fall_sooner(cell: Any) -> None:
    found = cam.search(cam.TernaryCam(WORDS, cell=cell, r_match=10.0), QUERY)
    np.testing.assert_array_equal(found.match, APART == 0)
    t = np.asarray(found.t_fall)
    assert t[3] < t[2] < t[[0, 1]].min() and t[3] == pytest.approx(t[4], rel=1e-9)
    best = cam.nearest(found, k=3)
    assert set(np.asarray(best.row[:2])) == {0, 1} and best.row[2] == 2


def test_times_tell_the_number_of_differences() -> None:
    curves = cam.Curves.of(cam.TernaryCam(np.tri(5, 4, -1)), (0.0, 0.5, 1.0))
    times = cam.lookup(curves, np.zeros(4, int)).t_fall
    counted = cam.mismatches(cam.lookup(curves, np.array([0, 0, 0, 2])), times)
    np.testing.assert_array_equal(counted, [1, 2, 3, 4, 3])


def sensed(t: Any) -> cam.Sensed:
    t = jnp.asarray(t)
    return cam.Sensed(t, t > 0, t, t)


def test_the_best_match_and_what_a_clock_sees() -> None:
    inf, nan = np.inf, np.nan
    found = sensed([[3e-9, inf, 1e-9, inf, 2.6e-9], [nan, 5e-9, 1e-9, 4e-9, 4.5e-9]])
    best = cam.nearest(found, k=4)
    np.testing.assert_array_equal(best.row, [[1, 3, 0, 4], [1, 4, 3, 2]])
    np.testing.assert_array_equal(best.alike, [[2, 2, 1, 1], [1, 1, 1, 1]])
    np.testing.assert_array_equal(best.t_fall[0], [inf, inf, 3e-9, 2.6e-9])
    seen = cam.nearest(found, k=5, t_clock=1e-9, t_end=4.2e-9)
    np.testing.assert_array_equal(seen.row, [[1, 3, 0, 4, 2], [1, 4, 3, 2, 0]])
    np.testing.assert_array_equal(seen.alike[:, :4], [[2, 2, 2, 2], [2, 2, 1, 1]])
    np.testing.assert_allclose(seen.t_fall[1, :4], [inf, inf, 4e-9, 1e-9], rtol=1e-12)


def test_times_are_counted_as_the_nearest_number() -> None:
    times = [np.inf, 8e-9, 4e-9, 2e-9]  # of 0, 1, 2 and 3; borders at inf, 5.66 and 2.83 ns
    found = sensed([np.inf, 1e-6, 5.7e-9, 5.6e-9, 2.9e-9, 2.8e-9, 1e-9, np.nan])
    np.testing.assert_array_equal(cam.mismatches(found, times), [0, 1, 1, 2, 2, 3, 3, -1])
    # of periods of 1 ns the middle counts: 5.5, 5.5, 2.5 and 2.5 ns
    found = sensed([np.inf, 5.7e-9, 5.6e-9, 2.9e-9, 2.8e-9])
    np.testing.assert_array_equal(cam.mismatches(found, times, t_clock=1e-9), [0, 2, 2, 3, 3])


def test_hashes_are_signs_of_currents_through_wires() -> None:
    rng = np.random.default_rng(3)
    g, v = rng.lognormal(np.log(1e-5), 0.5, (6, 8)), rng.normal(0, 0.1, (3, 6))
    array = xb.Crossbar(xb.Ohmic(g), xb.Wires(200.0, 300.0))
    got = np.asarray(cam.differences(array, v))
    # the far ends, after the last column and above the first row, are free
    r_row = np.pad(np.full((6, 8), 200.0), ((0, 0), (0, 1)), constant_values=np.inf)
    r_col = np.pad(np.full((6, 8), 300.0), ((1, 0), (0, 0)), constant_values=np.inf)
    off = np.zeros(8)
    i = np.stack([solve(g, r_row, r_col, x, off[:6], off, off).i_out for x in v])
    want = i[:, ::2] - i[:, 1::2]
    np.testing.assert_allclose(got, want, atol=1e-10 * np.abs(i).max())
    middle = np.sort(np.abs(want).ravel())[6]
    bits = np.asarray(jax.jit(cam.hashed)(got, middle * (1 - 1e-6)))
    assert (bits == 0.5).sum() == 6
    np.testing.assert_array_equal(bits[bits != 0.5] == 1, want[bits != 0.5] > 0)


def test_bits_differ_as_the_angle_says() -> None:
    """Of 2,000 bits, the share of those that differ is the angle over pi (Charikar, 2002)."""
    spread = xb.variability.Spread(0.3)
    g = spread(jnp.full((20, 4000), 1e-5), jax.random.key(0))
    u = np.random.default_rng(1).normal(0, 1, (2, 20))
    u[1] += u[0]
    bits = cam.hashed(cam.differences(xb.Crossbar(xb.Ohmic(g)), u))
    angle = np.arccos(u[0] @ u[1] / np.linalg.norm(u[0]) / np.linalg.norm(u[1]))
    share = float(cam.distances(bits[:1], bits[1])[0]) / 2000
    assert abs(share - angle / np.pi) < 4 * np.sqrt(0.25 / 2000)


def listed(words: np.ndarray, values: np.ndarray, bits: int, otherwise: int) -> np.ndarray:
    """Values of all binary words by the first ternary word that matches."""
    every = np.array(list(np.ndindex((2,) * bits)))
    hit = ((words == FREE) | (words == every[:, None])).all(-1)
    first = values[hit.argmax(1)]
    return np.where(hit.any(1), first, otherwise).reshape((2,) * bits)


@pytest.mark.parametrize("seed", range(5))
def test_lists_of_words_hold_the_table(seed: int) -> None:
    table = np.random.default_rng(seed).integers(-1, 4, (2,) * 6)
    words, values = ordered(table, 2)
    got = listed(words, values, 6, 2)
    np.testing.assert_array_equal(got[table >= 0], table[table >= 0])
    assert len(words) <= (table >= 0).sum()


def test_lists_of_known_length() -> None:
    a, b, c = (np.arange(8).reshape((2,) * 3) >> k & 1 for k in (2, 1, 0))
    length = lambda table: len(ordered(np.asarray(table, int), 0)[0])
    assert length(a) == 1
    assert length(a & b & c) == 1
    assert length(np.where(a == 1, 2, b)) == 2  # the first has priority
    assert length(1 - (a & b & c)) == 2  # an exception before all others
    assert length(np.where((a & b & c) == 1, 1, np.where(a == 1, -1, 0))) == 1


def test_an_automaton_runs_in_the_memory() -> None:
    """Number of ones modulo 3, with strings of unequal length."""
    machine = cam.automaton([[0, 1], [1, 2], [2, 0]], [True, False, False])
    rng = np.random.default_rng(0)
    text = rng.integers(0, 2, (30, 12))
    text[np.arange(12) >= rng.integers(0, 13, (30, 1))] = -1
    ones = np.cumsum(text == 1, axis=1) % 3
    curves = cam.Curves.of(cam.TernaryCam(machine.words), (0, 1))
    for memory in (None, curves):
        seen = np.asarray(cam.states(machine, text, memory))
        np.testing.assert_array_equal(seen[:, 0], 0)
        np.testing.assert_array_equal(seen[:, 1:], ones)
        np.testing.assert_array_equal(cam.accepted(machine, text, memory), ones[:, -1] == 0)


PATTERNS = {
    r"a(b|c)*d?": b"abcd",
    r"[^a-c]+\.\d{2,3}": b"ax.129",
    r"(GET|PUT) .*\.\./": b"GETPU ./",
    r"\x41\s?[\w.]+\n": b"A \nz.",
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_expressions_mean_what_python_means(pattern: str) -> None:
    pytest.importorskip("greenery")
    rng = np.random.default_rng(0)
    letters = np.frombuffer(PATTERNS[pattern], np.uint8)
    texts = [bytes(rng.choice(letters, rng.integers(0, 9))) for _ in range(400)]
    texts += [b"abcbd", b"x.12", b"GET a../", b"PUT ../", b"A a\n", b"Az\n"]
    for anywhere, of in ((False, re.fullmatch), (True, re.search)):
        machine = cam.from_regex(pattern, anywhere=anywhere)
        want = [of(pattern.encode(), text, re.DOTALL) is not None for text in texts]
        assert 0 < sum(want) < len(want)
        np.testing.assert_array_equal(cam.accepted(machine, cam.symbols_of(texts)), want)


@pytest.mark.parametrize(
    "pattern", ["^a", "a$", "a*?", r"\ba", r"(a)\1", "(?=a)b", "(a", "a)|(b", "[a", "a**", "é" * 2]
)
def test_expressions_that_are_not_understood(pattern: str) -> None:
    pytest.importorskip("greenery")
    with pytest.raises(ValueError, match="pattern .*: it may have literals"):
        cam.from_regex(pattern, symbols=128)


def test_errors() -> None:
    machine = cam.automaton([[0, 1], [1, 0]], [True, False])
    found, odd = sensed([1e-9, 2e-9]), xb.Crossbar(xb.Ohmic(np.ones((2, 3)) * 1e-5))
    curves = cam.Curves.of(cam.TernaryCam(machine.words), (1, 0))
    wrong: Any = [1e-9]
    fet = xb.Mosfet(1e-3, 0.3, 0.0)
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: cam.TernaryCam([[0, 0.7]]), ValueError, "words has entries other than"),
        (lambda: cam.TernaryCam([0, 1]), ValueError, r"words has shape \(2,\)"),
        (lambda: cam.TernaryCam(WORDS, g_low=1e-4), ValueError, "g_low must be below"),
        (lambda: cam.TernaryCam(WORDS, pull_down=fet), ValueError, "that of a Ternary4T2R"),
        (lambda: cam.TernaryCam(WORDS, cell=cam.Analog6T2M), TypeError, "cell is"),
        (lambda: cam.distances(WORDS, [0, 1]), ValueError, r"query \(2,\)"),
        (lambda: cam.thermometer([0.5], 4), ValueError, "levels must be whole numbers"),
        (lambda: cam.thermometer([4], 4), ValueError, "from 0 to 3"),
        (lambda: cam.nearest(found, k=3), ValueError, "k is 3"),
        (lambda: cam.nearest(found, t_clock=0.0), ValueError, "t_clock is 0.0 s"),
        (lambda: cam.nearest(wrong), TypeError, "found"),
        (lambda: cam.mismatches(found, [1e-9, 2e-9]), ValueError, "falling"),
        (lambda: cam.differences(odd, [1, 1]), ValueError, "array has 3 columns"),
        (lambda: cam.hashed([1.0], -1.0), ValueError, "threshold is -1.0"),
        (lambda: cam.automaton([[0, 2], [1, 0]], [True, False]), ValueError, "from 0 to 2"),
        (lambda: cam.automaton([[0, 1], [1, 0]], [True]), ValueError, "accepting"),
        (lambda: cam.states(machine, [2]), ValueError, "symbols below 2"),
        (lambda: cam.states(machine, [1.0]), TypeError, "whole numbers"),
        (lambda: cam.states(machine, [1], curves), ValueError, "must be 0 and 1"),
    ]  # fmt: skip
    for do, kind, words in cases:
        with pytest.raises(kind, match=words):
            do()
