"""Every derivative the package gives, against differences of its own reads, and each other."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb

TOL = 1e-6
INF = np.inf
ROWS, COLS = 5, 4
OUTPUTS = ("i_out", "v_row", "v_col", "i_row", "i_col", "i_out_far", "p_dissipated")
CROSSBAR = ("g", "r_row", "r_col", "r_source", "r_source_far", "r_in", "r_in_far")
VOLTAGES = ("v_row", "v_row_far", "v_col", "v_col_far")
Params = dict[str, Any]


def circuit(seed: int = 0, *, scalar: bool = False) -> Params:
    """Both ends of everything, every parameter an array of its own, or a scalar."""
    rng = np.random.default_rng(seed)
    shapes = {k: (ROWS, COLS) for k in ("g", "r_row", "r_col")}
    shapes |= {k: (ROWS,) for k in ("r_source", "r_source_far", "v_in")}
    shapes |= {k: (COLS,) for k in ("r_in", "r_in_far", "v_ref", "v_offset")}
    ranges = {"g": (1e-5, 1e-3), "v_in": (-0.3, 0.3), "v_ref": (0.0, 0.2), "v_offset": (-0.1, 0.1)}
    p = {}
    for k, shape in shapes.items():
        low, high = ranges.get(k, (20.0, 300.0))
        p[k] = rng.uniform(low, high, () if scalar and k not in ("g", "v_in") else shape)
    return {k: jnp.asarray(v) for k, v in p.items()}


def with_voltages(p: Params, seed: int = 0) -> Params:
    """The same circuit under a `Bias` of four arrays."""
    rng = np.random.default_rng(seed)
    rest = {k: v for k, v in p.items() if k in CROSSBAR}
    size = {"v_row": ROWS, "v_row_far": ROWS, "v_col": COLS, "v_col_far": COLS}
    return rest | {k: jnp.asarray(rng.uniform(-0.3, 0.3, n)) for k, n in size.items()}


def build(p: Params) -> tuple[xb.Crossbar, Any]:
    readout = {k: p[k] for k in ("r_in", "r_in_far", "v_ref", "v_offset") if k in p}
    xbar = xb.Crossbar(
        xb.Ohmic(p["g"]),
        xb.Wires(p["r_row"], p["r_col"]),
        xb.Drive(p["r_source"], p["r_source_far"]),
        xb.VirtualGround(**readout),
    )
    return xbar, p["v_in"] if "v_in" in p else xb.Bias(*(p[k] for k in VOLTAGES))


def outputs(p: Params, solver: Any) -> dict[str, Any]:
    """Of the order of one each: currents in 0.1 mA, powers in 10 uW."""
    sol = xb.read(*build(p), solver=solver)
    unit = {"v": 1.0, "i": 1e4, "p": 1e5}
    return {k: unit[k[0]] * getattr(sol, k) for k in OUTPUTS}


def loss(p: Params, weights: dict[str, Any], solver: Any) -> Any:
    """Linear in the outputs but for a square, so that no curvature hides."""
    out = outputs(p, solver)
    return sum(jnp.sum(weights[k] * (out[k] + 0.3 * out[k] ** 2)) for k in OUTPUTS)


CG, DENSE = xb.LadderCG(), xb.Dense()
value = eqx.filter_jit(lambda p, w: loss(p, w, DENSE))
gradient = eqx.filter_jit(lambda p, w: jax.grad(loss)(p, w, CG))
gradient_dense = eqx.filter_jit(lambda p, w: jax.grad(loss)(p, w, DENSE))


def weigh(*only: str, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shape = {"v_row": (ROWS, COLS), "v_col": (ROWS, COLS), "i_row": (ROWS, COLS)}
    shape |= {"i_col": (ROWS, COLS), "i_out": (COLS,), "i_out_far": (COLS,), "p_dissipated": ()}
    on = only or OUTPUTS
    return {k: jnp.asarray(rng.normal(size=shape[k]) * (k in on)) for k in OUTPUTS}


def scale_of(k: str, x: Any) -> Any:
    """A natural step of a parameter: itself, or what is usual where it is 0."""
    x = np.asarray(x)
    usual = {"g": 1e-4, "r": 30.0, "v": 0.3}[k[0]]
    return np.where(np.isfinite(x) & (x != 0) & (k[0] != "v"), np.abs(x), usual)


def difference(f: Any, p: Params, k: str, step: Any, *, one_sided: bool = False) -> float:
    """d f(p + t step) / dt at t = 0, of fourth order, or of third from one side."""

    def at(t: float) -> float:
        return float(f(p | {k: p[k] + t * step}))

    if one_sided:
        h = 1e-4
        return (-11 * at(0.0) + 18 * at(h) - 9 * at(2 * h) + 2 * at(3 * h)) / (6 * h)
    h = 3e-3
    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)


def assert_leaf(f: Any, p: Params, k: str, grad: Any, where: Any = True, **how: Any) -> None:
    """The derivative along random directions of one leaf, relative to its gradient's norm, in
    which every entry is measured by its natural step."""
    scale = np.broadcast_to(np.where(where, scale_of(k, p[k]), 0), np.shape(p[k]))
    slope = np.where(scale != 0, np.asarray(grad) * scale, 0)
    assert np.isfinite(slope).all(), k
    assert np.linalg.norm(slope) > 0, k
    rng = np.random.default_rng(len(k))
    for _ in range(3):
        d = rng.uniform(0.2, 1.0, scale.shape)
        d = d if how.get("one_sided") else d * rng.choice([-1.0, 1.0], scale.shape)
        d = d / np.linalg.norm(d)
        off = difference(f, p, k, jnp.asarray(scale * d), **how) - np.sum(slope * d)
        assert abs(off) <= TOL * np.linalg.norm(slope), (k, off / np.linalg.norm(slope))


ARRAYS, SCALARS = circuit(0), circuit(1, scalar=True)
BIASED = with_voltages(ARRAYS)
CASES = {"arrays": ARRAYS, "scalars": SCALARS, "bias": BIASED}


@pytest.mark.parametrize("case", CASES)
def test_every_leaf_has_its_derivative(case: str) -> None:
    p = CASES[case]
    w = weigh()
    grad = gradient(p, w)
    for k in p:
        assert grad[k].shape == p[k].shape and grad[k].dtype == p[k].dtype
        assert_leaf(lambda q: value(q, w), p, k, grad[k])


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_has_its_derivative(output: str) -> None:
    w = weigh(output)
    grad = gradient(BIASED, w)
    for k in ("g", "r_row", "r_in_far", "v_row", "v_col_far"):
        assert_leaf(lambda q: value(q, w), BIASED, k, grad[k])


def faulty() -> Params:
    """Ideal and broken segments, free ends, cells that are stuck off, all among ordinary ones."""
    p = {k: np.array(v) for k, v in circuit(2).items()}
    p["r_row"][0, :2] = p["r_row"][3] = p["r_col"][1:3, 0] = 0
    p["r_row"][1, 2] = p["r_col"][2, 2] = INF
    p["r_source_far"][[0, 2]] = p["r_in_far"][1] = INF
    p["r_source"][4] = p["r_in"][0] = 0
    p["r_source"][2] = 40.0
    p["g"][2, 1] = p["g"][0, 3] = p["g"][4, 0] = 0
    return {k: jnp.asarray(v) for k, v in p.items()}


def isolated() -> Params:
    """A word line and a bit line that float, joined to each other alone."""
    p = {k: np.array(v) for k, v in circuit(3).items()}
    p["g"][1] = p["g"][:, 2] = 0
    p["g"][1, 2] = 1e-4
    p["r_source"][1] = p["r_source_far"][1] = p["r_in"][2] = p["r_in_far"][2] = INF
    return {k: jnp.asarray(v) for k, v in p.items()}


def all_ideal() -> Params:
    p = circuit(4)
    zero = {k: jnp.zeros_like(p[k]) for k in ("r_row", "r_col", "r_source", "r_in")}
    return p | zero | {k: jnp.full_like(p[k], INF) for k in ("r_source_far", "r_in_far")}


FAULTY = faulty()


@pytest.mark.parametrize("make", [faulty, isolated, all_ideal])
def test_gradients_are_finite_at_ideal_broken_and_stuck(make: Any) -> None:
    grad = gradient(make(), weigh())
    for k, x in grad.items():
        assert np.isfinite(x).all(), k


@pytest.mark.parametrize("k", CROSSBAR)
def test_ordinary_entries_among_faulty_ones_have_their_derivative(k: str) -> None:
    w = weigh()
    x = np.asarray(FAULTY[k])
    grad = gradient(FAULTY, w)[k]
    assert_leaf(lambda q: value(q, w), FAULTY, k, grad, np.isfinite(x) & (x > 0))


@pytest.mark.parametrize("k", ["g", "r_row", "r_col", "r_source", "r_in"])
@pytest.mark.parametrize("make", [faulty, all_ideal])
def test_derivative_at_zero_is_that_from_above(make: Any, k: str) -> None:
    p, w = make(), weigh()
    zero = np.asarray(p[k]) == 0
    if not zero.any():
        pytest.skip("all_ideal has no cell at 0")
    grad = gradient(p, w)[k]
    assert_leaf(lambda q: value(q, w), p, k, grad, zero, one_sided=True)


@pytest.mark.parametrize("k", [k for k in CROSSBAR if k != "g"])
def test_derivative_by_a_broken_wire_is_zero(k: str) -> None:
    broken = np.isinf(FAULTY[k])
    grad = np.asarray(gradient(FAULTY, weigh())[k])
    assert (grad[broken] == 0).all()


@pytest.mark.parametrize("r", [3e5, 1e6, 3e6, 1e8, 1e10])
def test_derivative_by_a_nearly_open_wire(r: float) -> None:
    """Relative to the gradient of the nearly open segments alone."""
    p = {k: np.array(v) for k, v in circuit(5).items()}
    for k, at in (("r_row", (1, 2)), ("r_row", (3, 0)), ("r_col", (2, 1))):
        p[k][at] = r
    p["r_source_far"][:], p["r_in_far"][:] = r, INF
    p = {k: jnp.asarray(v) for k, v in p.items()}
    w = weigh()
    grad = gradient(p, w)
    for k in ("r_row", "r_col", "r_source_far"):
        which = np.asarray(p[k]) == r
        scale = np.where(which, r, 0)
        slope = np.asarray(grad[k]) * scale
        got = np.sum(slope)
        # a large step of 1/r, which the circuit is linear in: rounding is small against it
        at = lambda t, k=k, m=which: float(value(p | {k: jnp.where(m, p[k] / (1 - t), p[k])}, w))
        h = 0.2
        want = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        assert got == pytest.approx(want, rel=1e-8, abs=1e-13), k


def test_forward_and_reverse_mode_agree() -> None:
    rng = np.random.default_rng(7)
    forward = eqx.filter_jit(lambda p, d: jax.jvp(lambda q: outputs(q, CG), (p,), (d,))[1])
    reverse = eqx.filter_jit(lambda p, w: jax.vjp(lambda q: outputs(q, CG), p)[1](w)[0])
    for p in (ARRAYS, FAULTY):
        fixed = {k: np.isfinite(v) for k, v in p.items()}
        d = {
            k: jnp.asarray(rng.normal(size=v.shape) * scale_of(k, v) * fixed[k])
            for k, v in p.items()
        }
        w = weigh(seed=8)
        there, back = forward(p, d), reverse(p, w)
        a = sum(float(jnp.vdot(w[k], there[k])) for k in OUTPUTS)
        terms = [float(jnp.vdot(back[k], d[k])) for k in p]
        assert a == pytest.approx(sum(terms), abs=1e-10 * sum(map(abs, terms)))


@pytest.mark.parametrize("make", [circuit, faulty, isolated])
def test_both_solvers_give_one_gradient(make: Any) -> None:
    p, w = make(), weigh()
    a, b = gradient(p, w), gradient_dense(p, w)
    for k, x in p.items():
        scale = scale_of(k, x)
        size = np.linalg.norm(b[k] * scale)
        assert np.linalg.norm((a[k] - b[k]) * scale) <= 1e-9 * size, k


def test_second_derivative_is_right_and_symmetric() -> None:
    """Hessian-vector products against differences of gradients."""
    w = weigh()
    hessian_vector = eqx.filter_jit(
        lambda p, d: jax.jvp(lambda q: jax.grad(loss)(q, w, CG), (p,), (d,))[1]
    )
    rng = np.random.default_rng(9)
    draw = lambda: {
        k: jnp.asarray(rng.normal(size=v.shape) * scale_of(k, v)) for k, v in ARRAYS.items()
    }
    d, e = draw(), draw()
    h = 1e-3
    moved = lambda t: gradient_dense({k: v + t * d[k] for k, v in ARRAYS.items()}, w)
    want = jax.tree.map(
        lambda a, b, c, f: (8 * (a - b) - (c - f)) / (12 * h),
        *(moved(t) for t in (h, -h, 2 * h, -2 * h)),
    )
    by_d, by_e = hessian_vector(ARRAYS, d), hessian_vector(ARRAYS, e)
    for k, x in ARRAYS.items():
        scale = scale_of(k, x)
        assert np.isfinite(by_d[k]).all()
        size = np.linalg.norm(want[k] * scale)
        assert np.linalg.norm((by_d[k] - want[k]) * scale) <= 1e-6 * size, k
    there = sum(float(jnp.vdot(e[k], by_d[k])) for k in ARRAYS)
    back = sum(float(jnp.vdot(d[k], by_e[k])) for k in ARRAYS)
    assert there == pytest.approx(back, rel=1e-9)
    for x in jax.tree.leaves(hessian_vector(FAULTY, jax.tree.map(jnp.zeros_like, d))):
        assert np.isfinite(x).all()


def test_gradient_of_transfer() -> None:
    w = jnp.asarray(np.random.default_rng(10).normal(size=(ROWS, COLS)) * 1e4)
    total = lambda p, solver: jnp.sum(w * xb.transfer(build(p)[0], solver=solver))
    plain = eqx.filter_jit(lambda p: total(p, DENSE))
    for p in (ARRAYS, FAULTY):
        grad = eqx.filter_jit(lambda p: jax.grad(lambda q: total(q, CG))(p))(p)
        for k in CROSSBAR:
            x = np.asarray(p[k])
            assert np.isfinite(grad[k]).all()
            assert_leaf(plain, p, k, grad[k], np.isfinite(x) & (x > 0))
        assert (grad["v_in"] == 0).all() and (grad["v_ref"] == 0).all()


def test_one_sided_gradient_with_default_ends() -> None:
    """The shape that users have: ideal sources and grounds, scalar wires, defaults elsewhere."""
    w = jnp.asarray(np.random.default_rng(11).normal(size=COLS) * 1e4)

    def total(p: Params, solver: Any) -> Any:
        xbar = xb.Crossbar(xb.Ohmic(p["g"]), xb.Wires(p["r_row"], p["r_col"]))
        return jnp.vdot(w, xb.read(xbar, p["v_in"], solver=solver).i_out)

    p = {k: SCALARS[k] for k in ("g", "r_row", "r_col", "v_in")}
    grad = eqx.filter_jit(lambda p: jax.grad(total)(p, CG))(p)
    plain = eqx.filter_jit(lambda p: total(p, DENSE))
    for k in p:
        assert_leaf(plain, p, k, grad[k])


def test_second_derivatives_by_inputs_alone() -> None:
    """Of a loss that sees some currents alone: forward over reverse and forward twice."""
    x = xb.Crossbar(xb.Ohmic(jnp.full((2, 3), 1e-4)), xb.Wires(5.0, 5.0))
    loss = lambda s: jnp.sum(xb.read(x, s * jnp.asarray([0.1, 0.2])).i_out ** 2)
    want = 2 * loss(1.0)
    for second in (jax.hessian(loss), jax.jacfwd(jax.jacfwd(loss))):
        np.testing.assert_allclose(jax.jit(second)(1.0), want, rtol=1e-9)
