"""Guards the kernel in C++: it gives what its form in JAX gives, alone and in batches, on any
number of threads, and nothing needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference import random_circuits
from xbarjax import _native
from xbarjax.kirchhoff.circuit import Circuit, Reference
from xbarjax.kirchhoff.islands import Islands, determined
from xbarjax.kirchhoff.judgement import judged
from xbarjax.kirchhoff.network import Field, Network, Segments
from xbarjax.kirchhoff.solution import usable
from xbarjax.solvers import LadderBiCGStab, LadderCG, TwinLadders
from xbarjax.solvers.implicit import factor, solve
from xbarjax.solvers.shorts import Kinds
from xbarjax.solvers.turns import Frame, State, Turn

LOOKS = ["solve", "on load lines", "shorten"]
built = pytest.mark.skipif(not _native.available(), reason="the kernel was not built")
SHAPE = (7, 5)


def network(seed: int, kind: str, dtype: Any = jnp.float64) -> tuple[Network, Field]:
    """Cells and wires of a random circuit, with whatever may be injected into it."""
    rng = np.random.default_rng(seed)
    g, r_row, r_col, *_ = random_circuits.circuit(rng, *SHAPE, shorts=kind == "shorts")
    r_row[:, 0] = r_col[-1] = 1.0  # every node of a line that is whole is held
    r_row, r_col = (np.where(np.isinf(r), 1e7, r) for r in (r_row, r_col))
    array = lambda x: jnp.asarray(x, dtype)
    other = array(g) if kind != "unsymmetric" else array(g * rng.uniform(0.5, 2, g.shape))
    shunt = lambda: array(rng.uniform(0, 1e-5, SHAPE)) if kind == "shunts" else None
    lines = Segments(array(r_row)), Segments(array(r_col))
    kinds = kind != "unsymmetric", False, None, jnp.asarray(kind == "hangs")
    made = Network(*lines, array(g), other, shunt(), shunt(), *kinds)
    of = lambda x: array(rng.normal(size=x.shape))
    injected = 1e-4 * of(g), of(r_row), 1e-4 * of(g), of(r_col)
    return made, Field(*injected)


def of_field(of: Any) -> Field:
    rows, cols = SHAPE
    return Field(of(rows, cols), of(rows, cols + 1), of(rows, cols), of(rows + 1, cols))


def solver(made: Network, native: bool):
    return LadderCG(native=native) if made.symmetric else LadderBiCGStab(native=native)


@built
@pytest.mark.few(3)
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("kind", ["plain", "shorts", "shunts", "hangs", "unsymmetric"])
def test_it_solves_as_the_form_in_jax_does(kind: str, dtype: Any) -> None:
    tolerance = 1e-8 if dtype == jnp.float64 else 1e-3
    solved = [
        jax.jit(lambda n, b, k=k: solve(factor(n, solver(n, k)), b)[0]) for k in (True, False)
    ]
    for seed in range(12):
        made, vector = network(seed, kind, dtype)
        got, want = (f(made, vector) for f in solved)
        voltages = jnp.concatenate([want.row, want.col])
        highest = float(jnp.max(jnp.abs(voltages)))
        currents = lambda x, of=made: (
            of.row.alpha * x.row_segments,
            of.col.alpha * x.col_segments,
        )
        most = max(float(jnp.max(jnp.abs(i))) for i in currents(want))
        for x, y in zip((got.row, got.col), (want.row, want.col), strict=True):
            np.testing.assert_allclose(x, y, atol=tolerance * highest, rtol=0)
        for x, y in zip(currents(got), currents(want), strict=True):
            np.testing.assert_allclose(x, y, atol=tolerance * most, rtol=0)


@built
@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("shorts", "dtype"),
    [(True, jnp.float64), (False, jnp.float64), (False, jnp.float32), (True, jnp.float32)],
)
def test_a_read_at_once_is_that_of_its_parts(shorts: bool, dtype: Any) -> None:
    """Circuits with islands, loops, shorts and straps, from a start, and what moves with them."""
    tolerance = 1e-8 if dtype == jnp.float64 else 2e-3
    rng, (rows, cols) = np.random.default_rng(6), SHAPE
    weights = [jnp.asarray(rng.normal(size=n), dtype) for n in (rows, cols)]

    def loss(values: tuple, start: Any, solver: LadderCG) -> Any:
        g, r_row, r_col, tap, *v = values
        drive = xb.Drive(0.0, r_row[:, -1], r_strap=tap)
        wires = xb.Wires(r_row[:, :-1], r_col[1:])
        crossbar = xb.Crossbar(xb.Ohmic(g), wires, drive, xb.VirtualGround(0.0, r_col[0]))
        s = xb.read(crossbar, xb.Bias(*v), solver=solver, start=start)
        seen = s.i_out @ weights[1] + jnp.mean(s.v_col**2) * 1e-3
        return seen + jnp.mean(s.v_row) * 1e-3 + s.i_in @ weights[0], s

    def move(values: tuple, start: Any, native: bool) -> Any:
        of = partial(loss, start=start, solver=LadderCG(native=native))
        (_, s), slope = jax.value_and_grad(of, has_aux=True)(values)
        return s, slope

    both = [jax.jit(partial(move, native=native)) for native in (True, False)]
    seen, start = set(), None
    for k in range(40):
        g, r_row, r_col, *v = random_circuits.circuit(rng, rows, cols, shorts)
        tap = np.where(rng.random(SHAPE) < 0.1 * (k % 2), 10.0, np.inf)
        values = tuple(jnp.asarray(x, dtype) for x in (g, r_row, r_col, tap, *v))
        (got, slope), (want, slope_want) = (f(values, start) for f in both)
        assert int(got.status) == int(want.status) or dtype == jnp.float32
        seen.add(int(want.status))
        if not usable(want.status) or not usable(got.status):
            continue
        finite = np.where(np.isfinite(g), g, 0)  # what is injected is rounded
        rounding = 64 * float(jnp.finfo(dtype).eps) * finite.max() * np.abs(v[0]).max()
        masks = [jax.tree.leaves(s.undetermined) for s in (got, want)]
        for x, y in zip(*masks, strict=True):
            np.testing.assert_array_equal(x, y)
        parts = [
            [(s.v_row, s.v_col), (s.i_cell, s.i_row_segments, s.i_col_segments, s.i_out)]
            for s in (got, want)
        ]
        if dtype == jnp.float64:  # single precision has few digits of slopes, in either form
            moved = slope, slope_want
            parts = [[*p, *((x,) for x in m)] for p, m in zip(parts, moved, strict=True)]
        for x, y in zip(*parts, strict=True):
            off = max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(x, y, strict=True))
            assert off <= tolerance * max(float(jnp.max(jnp.abs(b))) for b in y) + rounding, k
        start = want if dtype == jnp.float64 and start is None else None
    assert len(seen) > 2


@built
@pytest.mark.parametrize("native", [True, False])
def test_a_transposed_network_is_solved(native: bool) -> None:
    made, vector = network(3, "unsymmetric")
    turned = made.transpose()
    x, _ = solve(factor(turned, LadderBiCGStab(native=native)), vector)
    off = turned.violation(vector, x)
    assert max(float(jnp.max(jnp.abs(leaf))) for leaf in (off.row, off.col)) < 1e-11


@built
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("shorts", [False, True])
def test_it_looks_at_networks_as_the_forms_in_jax_do(parallel: bool, shorts: bool) -> None:
    rng, (rows, cols) = np.random.default_rng(5), SHAPE
    forms = {"islands": Islands(parallel), "kinds": Kinds(parallel)}
    by_jax = {name: jax.jit(lambda *x, f=form: f(*x)) for name, form in forms.items()}
    seen = {name: 0 for name in forms}
    for _ in range(150):
        g, r_row, r_col, *_ = random_circuits.circuit(rng, rows, cols, shorts)
        if parallel:
            r_row = random_circuits.circuit(rng, rows, cols, shorts)[2]
        shunt = np.where(rng.random(SHAPE) < 0.1, 1e-6, 0)
        operands = [jnp.asarray(x) for x in (r_row, r_col, g, g, shunt, shunt)]
        for name, form in forms.items():
            want = by_jax[name](*operands)
            results = [(x.shape, x.dtype) for x in want]
            got = _native.call(name, operands, results, form, g.dtype, parallel=parallel)
            for x, y in zip(got, want, strict=True):
                if x.dtype == bool:
                    np.testing.assert_array_equal(x, y)
                else:
                    np.testing.assert_allclose(x, y, rtol=1e-12)
            seen[name] += bool(np.any(~want[0] if name == "islands" else want[0]))
    assert seen["islands"] > 10 and (seen["kinds"] > 100 or not shorts)


@built
@pytest.mark.few(3)
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("kind", ["plain", "shorts", "shunts", "unsymmetric"])
def test_it_judges_as_the_form_in_jax_does(kind: str, parallel: bool, monkeypatch: Any) -> None:
    """Solutions, and what is off by a little and by much; everything broken, and nothing driven."""
    rng, seen = np.random.default_rng(8), set()

    def solved(made: Network, b: Field) -> tuple[Network, Field]:
        factored = factor(made, TwinLadders() if parallel else solver(made, True))
        x = solve(factored, b)[0]
        if factored.network.shorts is not None and x.cell is None:
            x = x._replace(cell=jnp.zeros(SHAPE))
        return factored.network, x

    def verdict(native: bool, of_vector: bool, made: Network, x: Field, left: Field, of: Field):
        monkeypatch.setattr(_native, "available", lambda: native)
        lines = SHAPE[1] if parallel else SHAPE[0]
        v = jnp.linspace(0.1, 0.4, lines), jnp.linspace(0.0, 0.1, SHAPE[1])
        forces = of.row_segments, of.col_segments
        around = Circuit(
            xb.Ohmic(made.g_rc),
            made.row,
            made.col,
            *forces,
            Reference(*v),
            v[0] == 0,
            v[1] == 0,
            (),
            (),
            jnp.asarray([-1.0, 0.3, 1.0]),
            parallel,
        )
        error = jnp.asarray(1e-14)
        return judged(around, made, x, left, of.row, error, of_vector=of_vector)

    solved = jax.jit(solved)
    forms = [jax.jit(partial(verdict, native), static_argnums=0) for native in (True, False)]
    for seed in range(30):
        made, b = network(seed, kind, jnp.float64)
        if parallel:
            r_row = jnp.asarray(random_circuits.circuit(rng, *SHAPE, kind == "shorts")[2])
            r_row = jnp.where(jnp.isinf(r_row), 1e7, r_row).at[0].set(1.0)
            own = {"symmetric": made.symmetric, "parallel": True, "hangs": made.hangs}
            cells = made.g_rc, made.g_cr, made.shunt_row, made.shunt_col
            made = Network(Segments(r_row), made.col, *cells, **own)
            b = b._replace(row_segments=jnp.asarray(rng.normal(size=r_row.shape)))
        if seed % 5 == 0:
            b = jax.tree.map(jnp.zeros_like, b)
        made, x = solved(made, b)
        noise = [0, 1e-13, 1e-9, 1e-3, np.nan][seed % 5 if seed else 0]
        x = x._replace(row=x.row * (1 + noise * rng.normal(size=SHAPE)))
        if seed % 7 == 3:
            x = x._replace(col_segments=x.col_segments + noise)
        for of_vector in (True, False):
            left = b if of_vector else made.violation(b, x)
            got, want = (form(of_vector, made, x, left, b) for form in forms)
            assert int(got.status) == int(want.status), (seed, noise)
            seen.add(int(got.status))
            np.testing.assert_allclose(got.residual, want.residual, rtol=1e-9, atol=1e-25)
            for mask, other in ((got.split, want.split), (got.lost, want.lost)):
                assert (mask is None) == (other is None)
                if mask is not None and other is not None:
                    np.testing.assert_array_equal(mask, other)
    assert {0, 4, 12} <= seen


def array(g: Any) -> xb.Crossbar:
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(3.0, 5.0))


def read(g: Any, v: Any) -> Any:
    return xb.read(array(g), v).i_out


@built
def test_batches_are_what_their_members_are_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    g = jnp.asarray(10 ** rng.uniform(-6, -3, (3, 4, *SHAPE)))
    v = jnp.asarray(rng.uniform(-0.3, 0.3, (4, SHAPE[0])))
    many = jax.vmap(jax.vmap(read), (0, None))(g, v)  # each array its own, inputs shared
    shared = jax.vmap(read, (None, 0))(g[0, 0], v)  # one array, many inputs
    for j in range(4):
        np.testing.assert_array_equal(shared[j], read(g[0, 0], v[j]))
        for i in range(3):
            np.testing.assert_array_equal(many[i, j], read(g[i, j], v[j]))


@built
def test_an_empty_batch_has_empty_results() -> None:
    g, v = jnp.full(SHAPE, 1e-5), jnp.zeros((0, SHAPE[0]))
    assert jax.jit(jax.vmap(read, (None, 0)))(g, v).shape == (0, SHAPE[1])


THREADS = """
import os, sys
os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:int(sys.argv[1])]))
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import xbarjax as xb
rng = np.random.default_rng(1)
g = jnp.asarray(10 ** rng.uniform(-6, -3, (40, 24, 19)))
v = jnp.asarray(rng.uniform(-0.3, 0.3, (40, 24)))
of = lambda g, v: xb.read(xb.Crossbar(xb.Ohmic(g), xb.Wires(3.0, 5.0)), v).i_out
print(np.asarray(jax.vmap(of)(g, v)).tobytes().hex())

# one large array, of which threads share the work, with a coarse grid
g = jnp.asarray(10 ** rng.uniform(-5, -3, (200, 170)))
v = jnp.asarray(rng.uniform(-0.3, 0.3, 200))
print(np.asarray(jax.grad(lambda g: of(g, v) @ jnp.arange(170.0))(g)).tobytes().hex())

# and one that is not symmetric
from xbarjax.kirchhoff.judgement import judged
from xbarjax.kirchhoff.network import Field, Network, Segments
from xbarjax.solvers import LadderBiCGStab
from xbarjax.solvers.implicit import factor, solve
r = [np.full(s, 2.0) for s in ((200, 171), (201, 170))]
r[0][:, -1] = r[1][0] = np.inf
lines = (Segments(jnp.asarray(x)) for x in r)
made = Network(*lines, g, 0.6 * g, None, None, False)
b = jnp.asarray(1e-4 * rng.normal(size=(2, 200, 170)))
vector = Field(b[0], jnp.zeros((200, 171)), b[1], jnp.zeros((201, 170)))
print(np.asarray(solve(factor(made, LadderBiCGStab()), vector)[0].col).tobytes().hex())
"""


def run(code: str, *args: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    return done.stdout


@built
@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="there is one core",
)
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    found = run(THREADS, "1").split()
    assert run(THREADS, "2").split() == found and len(found) == 3


WITHOUT = """
import jax.numpy as jnp
import xbarjax as xb
from xbarjax import _native
assert not _native.available() and _native.width() is None
g = jnp.asarray([[1e-5, 2e-5], [3e-5, 4e-5]])
s = xb.read(xb.Crossbar(xb.Ohmic(g)), jnp.asarray([0.1, 0.2]))
print(float(s.i_out[0]))
"""


def test_nothing_needs_it() -> None:
    assert float(run(WITHOUT, XBARJAX_NATIVE="0")) == pytest.approx(7e-6, rel=1e-5)


def test_programs_for_elsewhere_are_free_of_it() -> None:
    g, v = jnp.full(SHAPE, 1e-5), jnp.full(SHAPE[0], 0.2)
    exported = jax.export.export(jax.jit(read), platforms=["cpu", "cuda", "tpu"])(g, v)
    assert "custom_call" not in exported.mlir_module()
    np.testing.assert_allclose(exported.call(g, v), read(g, v), rtol=1e-10)


@built
def test_a_program_for_a_cpu_has_no_loop_of_its_own() -> None:
    text = jax.jit(read).lower(jnp.full(SHAPE, 1e-5), jnp.full(SHAPE[0], 0.2)).as_text()
    assert "xbarjax_read_f64" in text and "stablehlo.while" not in text


@built
@pytest.mark.parametrize("bad", [np.nan, -1e-5, np.inf])
@pytest.mark.parametrize("part", ["g", "r", "v"])
def test_whatever_goes_in_a_status_comes_out(part: str, bad: float) -> None:
    values = {"g": np.full(SHAPE, 1e-5), "r": np.full(SHAPE, 3.0), "v": np.full(SHAPE[0], 0.2)}
    values[part].flat[2] = bad

    @jax.jit
    def status(g, r, v):
        return xb.read(xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r)), v).status

    harmless = (part == "g" and bad > 0) or (part == "r" and bad > 0) or (part == "v" and bad < 0)
    said = int(status(*(jnp.asarray(x) for x in values.values())))
    assert bool(said & ~int(xb.Status.FLOATING | xb.Status.SPLIT)) != harmless


@built
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("kind", ["plain", "unsymmetric"])
def test_what_is_not_finite_spoils_no_other_system_of_a_batch(kind: str, dtype: Any) -> None:
    """Systems of one network are solved one after another, in the same memory."""
    made, b = network(3, kind, dtype)
    bad = [b._replace(row=b.row.at[1, 2].set(x)) for x in (jnp.nan, jnp.inf, 1e38)]
    stack = jax.tree.map(lambda *x: jnp.stack(x), *[x for each in bad for x in (each, b)])
    solver = LadderCG() if kind == "plain" else LadderBiCGStab()
    f = jax.jit(lambda b: solve(factor(made, solver), b)[0])
    found, alone = jax.vmap(f)(stack), f(b)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
        for k in (1, 3, 5):
            np.testing.assert_array_equal(x[k], y)


@built
@pytest.mark.slow
def test_a_thousand_shapes() -> None:
    """From 1x1 to 300x7. What they have in common are programs, one a shape."""
    rng, seen = np.random.default_rng(9), set()

    @jax.jit
    def left(made: Network, vector: Field) -> Any:
        off = made.violation(vector, solve(factor(made, LadderCG()), vector)[0])
        return jnp.maximum(jnp.max(jnp.abs(off.row)), jnp.max(jnp.abs(off.col)))

    for k in range(1000):
        rows, cols = (int(x) for x in np.exp(rng.uniform(0, np.log([300, 8]))))
        rows, cols = (rows, cols) if k % 2 else (cols, rows)
        g = jnp.asarray(10 ** rng.uniform(-7, -3, (rows, cols)))
        b = 1e-4 * jnp.asarray(rng.normal(size=(2, rows, cols)))
        r = [np.full(s, 2.0) for s in ((rows, cols + 1), (rows + 1, cols))]
        r[0][:, -1] = r[1][0] = np.inf
        row, col = (Segments(jnp.asarray(x)) for x in r)
        made = Network(row, col, g, g, None, None, True)
        vector = Field(b[0], jnp.zeros((rows, cols + 1)), b[1], jnp.zeros((rows + 1, cols)))
        assert left(made, vector) < 1e-14, (rows, cols)
        seen.add((rows, cols))
        if len(seen) % 100 == 0:
            jax.clear_caches()
    assert len(seen) > 300


@built
@pytest.mark.few(5)
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("kind", ["plain", "shunts", "unsymmetric"])
def test_it_takes_newtons_turns_as_the_form_in_jax_does(kind: str, dtype: Any, look: str) -> None:
    """From any state: to a network of tangents, to load lines, along them, and to shorter steps."""
    rng, least = np.random.default_rng(3), 1e-9 if dtype == jnp.float64 else 2e-3
    number = LOOKS.index(look)
    went = set()

    def turns(frame: Frame, s: State, tangents: Any) -> tuple[State, State]:
        linear = LadderCG() if kind != "unsymmetric" else LadderBiCGStab()
        turn = Turn(linear, 1e-12, 100, frame.symmetric, False, determined)
        plain = turn._replace(linear=linear.plain)
        return turn(frame, s, tangents), plain.in_jax(frame, s, tangents)

    of = lambda *shape, scale=1.0: jnp.asarray(scale * rng.normal(size=shape), dtype)
    cells = lambda scale=1.0: of(*SHAPE, scale=scale)
    both = jax.jit(turns)
    for seed in range(40):
        made, b = network(seed, kind, dtype)
        if seed % 4 == 0:  # a piece that hangs on nothing
            made = eqx.tree_at(lambda n: n.g_rc, made, made.g_rc.at[:, 2].set(0))
            made = eqx.tree_at(lambda n: n.g_cr, made, made.g_cr.at[:, 2].set(0))
            r = made.col.r.at[3:, 2].set(jnp.inf).at[:2, 2].set(jnp.inf)
            made = eqx.tree_at(lambda n: n.col.r, made, r)
        none = made.shunt_row is None
        injected = None if none else cells(1e-5), None if none else cells(1e-5)
        v = of(SHAPE[0], scale=0.3), of(SHAPE[1], scale=0.1)
        forces = 0.1 * b.row_segments, 0.1 * b.col_segments
        wires = made.row, made.col, made.shunt_row, made.shunt_col
        far = jnp.full(1, 50.0 if seed % 3 else 0.1, dtype)
        sources = jnp.concatenate([*v, far, -far])
        frame = Frame(*wires, *injected, *forces, *v, sources, made.symmetric, False, determined)
        x = jax.tree.map(lambda x: 0.1 * x, of_field(of))
        flag = lambda: jnp.asarray(rng.random() < 0.5)
        scalar = lambda scale: jnp.asarray(scale * rng.random(), dtype)
        count = lambda most: jnp.asarray(rng.integers(0, most), jnp.int32)
        most = {"solve": 1, "on load lines": 14, "shorten": 26}[look]
        i = cells(1e-5)
        miss = 10.0 ** rng.uniform(-14, 1) if seed % 8 != 1 else 0.0
        current = jnp.where(jnp.asarray(rng.random(SHAPE) < 0.1), i, i * (1 + miss * cells()))
        is_x = flag()
        state = State(
            cells(0.1),
            cells(0.1),
            x,
            i,
            made.g_cr,
            made.g_rc,
            (cells(0.1), cells(0.1), cells(1e-5)),
            of_field(of),
            cells(0.1),
            cells(0.1),
            cells(1e-6),
            jnp.abs(cells(3.0)),
            jnp.abs(cells(3.0)).at[1, 1].set(jnp.inf).at[2, 2].set(0),
            cells() > 1,
            scalar(0.5),
            scalar(1.0),
            -scalar(1e-6),
            scalar(1e-6),
            scalar(1e-12),
            scalar(1.0),
            scalar(1.0),
            is_x,
            flag() & ~is_x,
            flag(),
            flag(),
            count(1) + number,
            count(most),
            count(9),
            count(60),
            count(60),
        )
        got, want = both(frame, state, (current, made.g_cr, made.g_rc))
        went.add((int(want.look), bool(want.ended), bool(want.out), bool(want.converged)))
        for (path, x), y in zip(
            jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True
        ):
            size = float(np.max(np.abs(np.where(np.isfinite(y), y, 0))))
            loose = float(want.asked) if int(want.steps) > int(state.steps) else 0.0
            tolerance = 0 if y.dtype.kind in "bi" else max(least, loose) * size
            if "linear_steps" in str(path):
                tolerance = 2 + int(want.linear_steps - state.linear_steps) // 2  # last bits
            np.testing.assert_allclose(x, y, rtol=0, atol=tolerance, err_msg=f"{path} {seed}")
    assert len(went) > (4 if look == "solve" else 1)
