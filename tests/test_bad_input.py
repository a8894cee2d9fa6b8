"""Each bad input gives one sentence that names the argument, what it was and what it must be."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas
import pytest

import xbarjax as xb

# Every case runs in one process of its own, as a user would see it: the tests' type checker,
# which would often speak first, is not there. A row is: name, the expression, the exception and
# the words that its message must hold.
SETUP = """
import jax
jax.config.update("jax_enable_x64", True)
import json, sys
import jax.numpy as jnp, numpy as np
import xbarjax as xb
nan, inf = float("nan"), float("inf")
g = jnp.full((3, 2), 1e-5)
v = jnp.full(3, 0.1)
def make(g=g, **parts):
    return xb.Crossbar(xb.Ohmic(g), **parts)
def memory(g=g, **parts):
    return xb.cam.Tile(xb.cam.Ternary2T2R(g, jnp.full((3, 2), 1e-5), n), **parts)
n = xb.Mosfet(1e-3, 0.3, 0.0)
def put(shape, at, x, rest=1.0):
    a = np.full(shape, rest)
    a[at] = x
    return jnp.asarray(a)
"""
CASES: list[tuple[str, str, str, list[str]]] = [
    # shapes
    ("wires of another shape", "make(wires=xb.Wires(jnp.ones((2, 3)), 1.0))", "ValueError",
     ["wires.r_row", "(2, 3)", "3 x 2", "(3, 2)", "scalar"]),
    ("column wires of another shape", "make(wires=xb.Wires(1.0, jnp.ones((4, 2))))", "ValueError",
     ["wires.r_col", "(4, 2)", "(3, 2)"]),
    ("a wire for each line", "make(wires=xb.Wires(jnp.ones(3), 1.0))", "ValueError",
     ["wires.r_row", "(3,)", "(3, 2)"]),
    ("sources for columns", "make(drive=xb.Drive(jnp.ones(2)))", "ValueError",
     ["drive.r_source", "(2,)", "(3,)"]),
    ("far sources for columns", "make(drive=xb.Drive(0.0, jnp.ones(2)))", "ValueError",
     ["drive.r_source_far", "(2,)", "(3,)"]),
    ("inputs for rows", "make(readout=xb.VirtualGround(jnp.ones(3)))", "ValueError",
     ["readout.r_in", "(3,)", "(2,)"]),
    ("far inputs for rows", "make(readout=xb.VirtualGround(0.0, jnp.ones(3)))", "ValueError",
     ["readout.r_in_far", "(3,)", "(2,)"]),
    ("references for rows", "make(readout=xb.VirtualGround(v_ref=jnp.ones(3)))", "ValueError",
     ["readout.v_ref", "(3,)", "(2,)"]),
    ("offsets for rows", "make(readout=xb.VirtualGround(v_offset=jnp.ones(3)))", "ValueError",
     ["readout.v_offset", "(3,)", "(2,)"]),
    ("v_in of the wrong length", "xb.read(make(), jnp.ones(2))", "ValueError",
     ["v_in", "(2,)", "3 rows", "(3,)"]),
    ("a batch of v_in", "xb.read(make(), jnp.ones((7, 3)))", "ValueError",
     ["v_in", "(7, 3)", "(3,)", "vmap"]),
    ("a scalar v_in", "xb.read(make(), 0.1)", "ValueError", ["v_in", "()", "(3,)"]),
    ("bias rows of the wrong length", "xb.read(make(), xb.Bias(v[:2], v, v[:2], v[:2]))",
     "ValueError", ["bias.v_row", "(2,)", "(3,)"]),
    ("bias far rows of the wrong length", "xb.read(make(), xb.Bias(v, v[:2], v[:2], v[:2]))",
     "ValueError", ["bias.v_row_far", "(2,)", "(3,)"]),
    ("bias columns of the wrong length", "xb.read(make(), xb.Bias(v, v, v, v[:2]))",
     "ValueError", ["bias.v_col", "(3,)", "(2,)"]),
    ("bias far columns of the wrong length", "xb.read(make(), xb.Bias(v, v, v[:2], v))",
     "ValueError", ["bias.v_col_far", "(3,)", "(2,)"]),
    ("a scalar in a bias", "xb.read(make(), xb.Bias(0.1, v, v[:2], v[:2]))",
     "ValueError", ["bias.v_row", "()", "(3,)"]),
    ("a batch in a bias", "xb.read(make(), xb.Bias(jnp.ones((7, 3)), v, v[:2], v[:2]))",
     "ValueError", ["bias.v_row", "(7, 3)", "(3,)"]),
    ("an empty array", "xb.Ohmic(jnp.ones((0, 3)))", "ValueError", ["g", "(0, 3)", "(rows, cols)"]),
    ("no column", "xb.Ohmic(jnp.ones((3, 0)))", "ValueError", ["g", "(3, 0)", "(rows, cols)"]),
    ("one axis", "xb.Ohmic(jnp.ones(3))", "ValueError", ["g", "(3,)", "(rows, cols)"]),
    ("three axes", "xb.Ohmic(jnp.ones((2, 3, 4)))", "ValueError",
     ["g", "(2, 3, 4)", "(rows, cols)", "vmap"]),
    ("a number for an array", "xb.Crossbar(xb.Ohmic(1e-5))", "ValueError",
     ["cell", "()", "(rows, cols)"]),
    # values
    ("negative g", "xb.Ohmic(put((3, 2), (1, 0), -2e-6))", "ValueError",
     ["g[1, 0]", "-2e-06 S", "0 (no cell) to inf (a short)"]),
    ("NaN g", "xb.Ohmic(put((3, 2), (2, 1), nan))", "ValueError",
     ["g[2, 1]", "nan S", "0 (no cell) to inf (a short)"]),
    ("negative r_row", "xb.Wires(-1.0, 1.0)", "ValueError", ["r_row", "-1.0 ohm", "0 (ideal)"]),
    ("negative r_col", "xb.Wires(1.0, put((3, 2), (0, 1), -3.0))", "ValueError",
     ["r_col[0, 1]", "-3.0 ohm", "inf (open)"]),
    ("NaN r_row", "xb.Wires(put((3, 2), (0, 1), nan), 1.0)", "ValueError",
     ["r_row[0, 1]", "nan ohm", "inf (open)"]),
    ("negative r_source", "xb.Drive(-1.0)", "ValueError", ["r_source", "-1.0 ohm"]),
    ("NaN r_source_far", "xb.Drive(0.0, put(3, 1, nan))", "ValueError", ["r_source_far[1]", "nan"]),
    ("negative r_in", "xb.VirtualGround(put(2, 1, -5.0))", "ValueError", ["r_in[1]", "-5.0 ohm"]),
    ("minus infinite r_in_far", "xb.VirtualGround(0.0, -inf)", "ValueError", ["r_in_far", "-inf"]),
    ("NaN v_ref", "xb.VirtualGround(v_ref=nan)", "ValueError", ["v_ref", "nan V", "finite"]),
    ("infinite v_offset", "xb.VirtualGround(v_offset=put(2, 0, inf))", "ValueError",
     ["v_offset[0]", "inf V", "finite"]),
    ("NaN v_in", "xb.read(make(), put(3, 1, nan))", "ValueError", ["v_in[1]", "nan V", "finite"]),
    ("infinite v_in", "xb.read(make(), put(3, 2, inf))", "ValueError",
     ["v_in[2]", "inf V", "finite"]),
    ("NaN in a bias", "xb.Bias(v, put(3, 2, nan), v[:2], v[:2])", "ValueError",
     ["v_row_far[2]", "nan V", "finite"]),
    # dtypes
    ("integer g", "xb.Ohmic(jnp.ones((3, 2), int))", "TypeError",
     ["g ", "int64", "floating", "g.astype(float)"]),
    # what is passed first
    ("an array for cells", "xb.Crossbar(g)", "TypeError", ["cell", "(3, 2)", "xb.Ohmic(g)"]),
    ("a class for cells", "xb.Crossbar(xb.Ohmic)", "TypeError", ["cell", "class", "Ohmic(...)"]),
    ("a drive for wires", "xb.Crossbar(xb.Ohmic(g), xb.Drive(1.0))", "TypeError",
     ["wires", "a Drive", "drive=..."]),
    ("a number for wires", "make(wires=2.0)", "TypeError", ["wires", "2.0", "xb.Wires("]),
    ("a number for a drive", "make(drive=50.0)", "TypeError", ["drive", "50.0", "xb.Drive("]),
    ("a converter for a readout", "make(readout=xb.Adc(8, 0.0, 1.0))", "TypeError",
     ["readout", "an Adc", "xb.Tia", "output"]),
    ("a matrix to read", "xb.read(g, v)", "TypeError", ["crossbar", "(3, 2)", "xb.Ohmic(g)"]),
    ("cells to read", "xb.read(xb.Ohmic(g), v)", "TypeError", ["an Ohmic", "xb.Crossbar(cell)"]),
    ("a matrix to transfer", "xb.transfer(g)", "TypeError", ["crossbar", "xb.Crossbar("]),
    ("a number for an element", "xb.Circuit(a=3.0)", "TypeError",
     ["element 'a'", "3.0", "xb.elements"]),
    ("an array to solve", "xb.solve(make())", "TypeError",
     ["circuit", "a Crossbar", "xb.Circuit"]),
    ("a solver for a method", "xb.solve(xb.systems.loops.inverse(g[:2], v[:2]),"
     " method=xb.LadderCG())", "TypeError", ["method", "a LadderCG", "xb.NewtonKrylov()"]),
    ("a matrix for cells of an element", "xb.elements.Array(g, rows='x', cols='e')", "TypeError",
     ["cell", "(3, 2)", "xb.Ohmic(g)"]),
    ("a matrix to select in", "xb.schemes.half(g, 0, 0, 1.0)", "TypeError", ["xb.Crossbar("]),
    ("a matrix in time", "xb.settling_time(g, v, 8, edge=1e-12, until=1e-9)", "TypeError",
     ["crossbar", "xb.Crossbar("]),
    ("a drive for inputs", "xb.read(make(), xb.Drive(1.0))", "TypeError",
     ["v_in", "a Drive", "xb.Bias"]),
    ("a name for a solver", "xb.read(make(), v, solver='lu')", "TypeError",
     ["solver", "'lu'", "xb.Dense()"]),
    ("no solver", "xb.read(make(), v, solver=None)", "TypeError", ["solver", "None"]),
    ("Newton for a matrix", "xb.transfer(make(), solver=xb.Newton())", "TypeError",
     ["solver", "a Newton", "xb.LadderCG()"]),
    ("inputs to start from", "xb.read(make(), v, start=v)", "TypeError",
     ["start", "(3,)", "earlier read"]),
    ("boolean g", "xb.Ohmic(jnp.ones((3, 2), bool))", "TypeError", ["g ", "bool", "floating"]),
    ("complex g", "xb.Ohmic(jnp.ones((3, 2), complex))", "TypeError", ["g ", "complex128"]),
    ("integer r_row", "xb.Wires(np.ones((3, 2), int), 1.0)", "TypeError", ["r_row", "int64"]),
    ("integer scalar array", "xb.Wires(1.0, jnp.array(1))", "TypeError", ["r_col", "int64"]),
    ("boolean r_source", "xb.Drive(True)", "TypeError", ["r_source", "bool", "float"]),
    ("integer r_in", "xb.VirtualGround(np.array([1, 2]))", "TypeError", ["r_in", "int64"]),
    ("complex v_in", "xb.read(make(), np.ones(3, complex))", "TypeError",
     ["v_in", "complex128", "must be real"]),
    ("a complex list", "xb.read(make(), [1j, 0, 1])", "TypeError",
     ["v_in", "list", "complex128", "must be real"]),
    ("half-precision v_in", "xb.read(make(), np.ones(3, np.float16))", "TypeError",
     ["v_in", "float16", "float32 or float64"]),
    ("half-precision g", "make(g.astype(jnp.bfloat16))", "TypeError",
     ["g ", "bfloat16", "float32 or float64"]),
    ("a circuit in half precision",
     "xb.read(jax.tree.map(lambda x: x.astype(jnp.bfloat16), make()), jnp.full(3, 0.1))",
     "TypeError", ["crossbar", "bfloat16", "float32 or float64"]),
    ("a mask", "make(np.ma.masked_less(np.asarray(g), 1.0))", "TypeError",
     ["g ", "6 masked entries", "g.filled"]),
    ("a ragged list", "xb.read(make(), [[0.1], [0.1, 0.2]])", "ValueError",
     ["v_in", "list", "length"]),
    ("a list of booleans", "xb.read(make(), [True, False, True])", "TypeError", ["v_in", "bool"]),
    ("boolean v_in", "xb.read(make(), np.array([True, False, True]))", "TypeError",
     ["v_in", "bool"]),
    ("boolean bias", "xb.Bias(v, v, np.array([False, True]), v[:2])", "TypeError",
     ["v_col", "bool"]),
    ("a string for g", "xb.Ohmic('1e-5')", "TypeError", ["g ", "floating array"]),
    ("a string for r_row", "xb.Wires('1', 1.0)", "TypeError", ["r_row", "'1'"]),
    ("None for v_in", "xb.read(make(), None)", "TypeError", ["v_in", "None"]),
    # circuits
    ("an ideal line between voltages",
     "xb.read(make(drive=xb.Drive(0.0, 0.0)), xb.Bias(v, v + 0.1, v[:2], v[:2]))", "ValueError",
     ["ideal", "different voltages", "resistance"]),
    ("an ideal bit line between voltages",
     "xb.read(make(readout=xb.VirtualGround(0.0, 0.0)), xb.Bias(v, v, v[:2], v[:2] + 0.1))",
     "ValueError", ["ideal", "different voltages", "resistance"]),
    ("too few steps",
     "xb.read(make(jnp.asarray(np.linspace(1e-5, 1e-4, 48).reshape(8, 6)), wires=xb.Wires(1e5,"
     " 1e5)), jnp.linspace(0.1, 0.5, 8), solver=xb.LadderCG(max_steps=1))",
     "RuntimeError", ["max_steps", "further apart than float64"]),
    ("pulses for conductances",
     "xb.nn.in_situ.row_by_row(xb.variability.PulseResponse(xb.variability.LinearStep(1e-7),"
     " xb.variability.LinearStep(1e-7), 1e-6, 1e-4), g, g, 1e-7, jax.random.key(0))",
     "TypeError", ["devices", "(3, 2)", "Pulsed", "pulsed(response, g, 0)"]),
    ("a query of another width", "xb.cam.search(memory(), [1.0, 0.0, 1.0])", "ValueError",
     ["query", "(3,)", "(2,)"]),
    ("a query that is NaN", "xb.cam.search(memory(), [1.0, nan])", "ValueError",
     ["query[1]", "nan"]),
    ("a bit that is none", "xb.cam.search(memory(), [1.0, 0.7])", "ValueError",
     ["query", "0, 1 and 0.5"]),
    ("halves of cells of different shapes", "memory(g=jnp.full((2, 2), 1e-5))", "ValueError",
     ["g_one", "g_zero", "(2, 2)", "(3, 2)"]),
    ("match lines of another shape", "memory(r_match=jnp.ones((2, 3)))", "ValueError",
     ["r_match", "(2, 3)", "(3, 2)"]),
    ("no cells of a memory", "xb.cam.Tile(g)", "TypeError", ["cell", "xb.cam.Analog6T2M"]),
    ("an array for a memory", "xb.cam.search(make(), [1.0, 0.0])", "TypeError",
     ["tile", "Crossbar", "xb.cam.Tile"]),
    ("a switch that is no transistor", "xb.cam.Ternary2T2R(g, g, xb.Ohmic(g))", "TypeError",
     ["switch", "Ohmic", "Mosfet"]),
    ("a stored bit that is none", "xb.cam.TernaryCam([[0, 0.7]])", "ValueError",
     ["words", "0, 1 and 0.5"]),
    ("more of the best rows than rows",
     "xb.cam.nearest(xb.cam.search(memory(), [1.0, 0.0]), k=4)", "ValueError", ["k is 4", "3"]),
    ("columns without a partner", "xb.cam.differences(make(g=jnp.full((3, 3), 1e-5)), v)",
     "ValueError", ["3 columns", "even"]),
    ("an automaton of states that there are not",
     "xb.cam.automaton([[0, 2], [1, 0]], [True, False])", "ValueError",
     ["transitions", "0 to 2", "there are 2"]),
    ("times of a search that do not rise", "xb.cam.search(memory(), [1.0, 0.0], [2e-9, 1e-9])",
     "ValueError", ["ts[1]", "rise"]),
    ("a time before a search", "xb.cam.search(memory(), [1.0, 0.0], [-1e-9])", "ValueError",
     ["ts[0]", "at least 0"]),
    ("steps of a search", "xb.cam.search(memory(), [1.0, 0.0], rtol=0.0)", "ValueError",
     ["rtol", "above 0"]),
]  # fmt: skip
RUN = """
found = {}
for name, expression in json.loads(sys.stdin.read()):
    try:
        found[name] = ["nothing", repr(eval(expression))[:200]]
    except Exception as error:
        found[name] = [type(error).__name__, str(error)]
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    xb.read(make(drive=xb.Drive(inf), readout=xb.VirtualGround(inf)), v)
found["warnings"] = [str(len(caught)), caught[0].filename]
print(json.dumps(found))
"""


@cache
def outcomes() -> dict[str, list[str]]:
    todo = json.dumps([(name, expression) for name, expression, *_ in CASES])
    command = [sys.executable, "-c", SETUP + RUN]
    done = subprocess.run(command, input=todo, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES, ids=[name.replace(" ", "_") for name, *_ in CASES])
def test_bad_input_is_named(case: tuple[str, str, str, list[str]]) -> None:
    name, _, kind, words = case
    raised, message = outcomes()[name]
    assert raised == kind, message
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message and len(message) < 300


def test_no_cure_drops_a_part_or_calls_a_list_an_array() -> None:
    for name, (_, message) in outcomes().items():
        if "complex" in name or "list" in name:
            assert "astype" not in message


@pytest.mark.parametrize(
    "g", [[[1e-5, 2e-5]], [[jnp.asarray(1e-5), 2e-5]], pandas.DataFrame([[1e-5, 2e-5]])]
)
def test_lists_and_frames_are_taken_as_conductances(g: Any) -> None:
    found = xb.Ohmic(g).g
    assert found.dtype == jnp.float64
    np.testing.assert_array_equal(found, [[1e-5, 2e-5]])


@pytest.mark.parametrize("one", [2, np.int64(2), np.uint8(2), 2.0, np.float64(2)])
def test_numbers_of_any_kind_are_taken_as_resistances(one: Any) -> None:
    found = xb.Wires(one).r_row
    assert found.dtype == jnp.float64 and found == 2


WHOLE = [
    [1, 0, 1, 2],
    (1, 0, 1, 2),
    np.array([1, 0, 1, 2], np.int8),
    jnp.array([1, 0, 1, 2]),
    np.array([1, 0, 1, 2], ">i4"),
    np.array([1, 0, 1, 2], ">f8"),
    np.array([1, 0, 1, 2], np.longdouble),
    pandas.Series([1, 0, 1, 2]),
    np.ma.masked_greater(np.array([1.0, 0.0, 1.0, 2.0]), 9.0),  # of which none is masked
    [jnp.asarray(1.0), 0, 1.0, 2],
]


@pytest.mark.parametrize("v", WHOLE)
def test_whole_numbers_lists_and_other_floats_are_taken_as_voltages(v: Any) -> None:
    """They are the same voltages, in float64, wherever voltages, gates and weights are meant."""
    want = np.array([1.0, 0.0, 1.0, 2.0])
    xbar = xb.Crossbar(xb.Ohmic(jnp.full((4, 4), 1e-5)))
    for found in (
        xb.read(xbar, v).bias.v_row,
        xb.Bias(v, v, v, v, v).v_gate,
        xb.schemes.transposed(xbar, v).v_col,
        xb.VirtualGround(v_ref=v).v_ref,
        xb.waveform.step(v, 1e-9).v[1],
    ):
        assert found is not None and found.dtype == jnp.float64
        np.testing.assert_array_equal(found, want)
    pair = xb.nn.tile([v], xb.DifferentialPair(1e-6, 1e-4), lambda g: xb.Crossbar(xb.Ohmic(g)))
    np.testing.assert_allclose(pair.weights()[0], want, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [">f4", ">f8", np.longdouble])
def test_conductances_of_other_floats_are_taken_as_they_are(dtype: Any) -> None:
    cell = xb.Ohmic(np.array([[1e-5, 2e-5]], dtype))
    want = jnp.float32 if dtype == ">f4" else jnp.float64
    assert cell.g.dtype == want
    np.testing.assert_array_equal(cell.g, np.array([[1e-5, 2e-5]], want))


@pytest.mark.parametrize("on", [[1, 0], [True, False], np.array([True, False]), np.array([1, 0])])
def test_gates_are_on_or_off_by_whole_numbers_and_booleans(on: Any) -> None:
    cell = xb.Series(xb.Mosfet(1e-3, 0.45, 0), xb.Ohmic(jnp.full((2, 3), 1e-5)))
    bias = xb.schemes.gated(xb.Crossbar(cell), on, v_read=1, v_on=2)
    np.testing.assert_array_equal(bias.v_gate, [2.0, 0.0])
    np.testing.assert_array_equal(bias.v_row, [1.0, 1.0])


def island() -> xb.Crossbar:
    """Row 1 and column 2 are cut off from everything but each other; row 3 is a dead end."""
    g = np.full((4, 3), 1e-4)
    g[1], g[:, 2] = 0, 0
    g[1, 2] = 1e-4
    r_source = np.array([0.0, np.inf, 0.0, 0.0])
    r_in = np.array([0.0, 0.0, np.inf])
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(1.0, 2.0), xb.Drive(r_source), xb.VirtualGround(r_in))


V = jnp.array([0.3, 0.2, 0.1, -0.2])


def test_an_island_is_warned_of_by_its_nodes() -> None:
    with pytest.warns(UserWarning, match="no path to any source or ground") as caught:
        sol = xb.read(island(), V)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "word-line node (1, 0)" in text and "bit-line node (0, 2)" in text
    assert text == xb.explain(sol)
    assert xb.Status(int(sol.status)) == xb.Status.FLOATING
    row, col = np.zeros((4, 3), bool), np.zeros((4, 3), bool)
    row[1], col[:, 2] = True, True
    np.testing.assert_array_equal(sol.floating_row, row)
    np.testing.assert_array_equal(sol.floating_col, col)


def test_the_warning_points_at_the_line_of_the_call() -> None:
    assert outcomes()["warnings"] == ["1", "<string>"]


def test_everything_but_the_island_is_right() -> None:
    with pytest.warns(UserWarning):
        sol = xb.read(island(), V)
    assert (np.asarray(sol.v_row)[1] == 0).all() and (np.asarray(sol.v_col)[:, 2] == 0).all()
    assert (np.asarray(sol.i_cell)[1] == 0).all() and float(sol.i_out[2]) == 0
    assert (np.asarray(sol.i_row)[1] == 0).all() and (np.asarray(sol.i_col)[:, 2] == 0).all()
    # what is left is the array of rows 0, 2, 3 and columns 0, 1, whose columns run 2 ohm per row
    keep = np.array([0, 2, 3])
    r_col = jnp.array([[4.0, 4.0], [2.0, 2.0], [2.0, 2.0]])
    rest = xb.Crossbar(xb.Ohmic(jnp.full((3, 2), 1e-4)), xb.Wires(1.0, r_col))
    want = xb.read(rest, V[keep])
    np.testing.assert_allclose(sol.i_out[:2], want.i_out, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(sol.v_row)[keep, :2], want.v_row, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(sol.v_col)[keep, :2], want.v_col, rtol=1e-12)


def test_a_single_isolated_node_is_named() -> None:
    """A node between two breaks, whose cell is stuck off."""
    g, r = np.full((4, 3), 1e-4), np.ones((4, 3))
    g[2, 1], r[2, 1], r[2, 2] = 0, np.inf, np.inf
    xbar = xb.Crossbar(xb.Ohmic(g), xb.Wires(r, 2.0))
    with pytest.warns(UserWarning, match=r"^word-line node \(2, 1\) has no path") as caught:
        sol = xb.read(xbar, V)
    assert "more" not in str(caught[0].message) and "bit-line" not in str(caught[0].message)
    assert np.argwhere(sol.floating_row).tolist() == [[2, 1]]
    assert not np.any(sol.floating_col)
    assert np.isfinite(sol.i_out).all() and float(sol.residual) < 1e-15


def test_a_good_read_and_a_split_line_say_nothing() -> None:
    good = xb.Crossbar(xb.Ohmic(jnp.full((4, 3), 1e-4)), xb.Wires(1.0, 2.0))
    split = xb.Crossbar(xb.Ohmic(jnp.full((4, 3), 1e-4)), xb.Wires(0.0, 2.0), xb.Drive(0.0, 0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sol = xb.read(good, V)
        assert xb.explain(sol) == "" and int(sol.status) == 0
        sol = xb.read(split, V)
    assert xb.Status(int(sol.status)) == xb.Status.SPLIT
    assert "word line 0 (and 3 more) is ideal wire" in xb.explain(sol)
    np.testing.assert_array_equal(sol.split_row, np.ones(4, bool))
    assert (np.asarray(sol.i_row_far) == 0).all()


class Square(xb.AbstractCell):
    g: jnp.ndarray
    is_linear = False
    is_reciprocal = True

    @property
    def shape(self):
        return self.g.shape

    def current(self, v_row, v_col):
        return self.g * (v_row - v_col) * jnp.abs(v_row - v_col)

    def conductances(self, v_row, v_col):
        return 2 * self.g * jnp.abs(v_row - v_col), 2 * self.g * jnp.abs(v_row - v_col)

    def valid(self):
        return self.g >= 0


def test_transfer_refuses_cells_that_are_not_linear() -> None:
    """Only the type is asked, so any other cell will do."""
    with pytest.raises(ValueError, match="linear"):
        xb.transfer(xb.Crossbar(Square(jnp.full((2, 2), 1e-4))))


def test_read_refuses_or_solves_cells_that_are_not_linear() -> None:
    """A linear solve of a nonlinear cell is no solution and may not pass for one."""

    xbar = xb.Crossbar(Square(jnp.array([[1e-3]])), xb.Wires(1e3, 0.0))
    try:
        sol = xb.read(xbar, jnp.array([1.0]))
    except (ValueError, NotImplementedError, RuntimeError):
        return
    v = (np.sqrt(1 + 4) - 1) / 2  # v + r g v^2 = 1 with r g = 1
    assert float(sol.i_out[0]) == pytest.approx(1e-3 * v * v, rel=1e-8)
