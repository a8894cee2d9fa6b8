"""Second derivatives in all four orders, against closed forms of a dense nodal matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb

F, R = jax.jacfwd, jax.jacrev
ORDERS = {
    "reverse over reverse": lambda f: R(R(f)),
    "reverse over forward": lambda f: R(F(f)),
    "forward over reverse": lambda f: F(R(f)),
    "forward over forward": lambda f: F(F(f)),
}
order = pytest.mark.parametrize("twice", ORDERS.values(), ids=ORDERS)
few = pytest.mark.few  # each compiles for up to a minute: the hardest orders are quick tests
G, OHM = 1e-4, 3.0


def products(shape: tuple[int, int]) -> list[np.ndarray]:
    """The effective matrix [S] of equal cells and wires, and what a scale of all cells does to it,
    once and twice: with `A = W + s C`, `d(A^-1) = -A^-1 C A^-1`."""
    rows, cols = shape
    n = rows * cols
    at = np.arange(n).reshape(shape)
    a, c = np.zeros((2 * n, 2 * n)), np.zeros((2 * n, 2 * n))

    def joined(matrix, k, to, g):
        matrix[[k, to], [k, to]] += g
        matrix[[k, to], [to, k]] -= g

    for i in range(rows):
        a[at[i, 0], at[i, 0]] += 1 / OHM
        for j in range(cols - 1):
            joined(a, at[i, j], at[i, j + 1], 1 / OHM)
    for j in range(cols):
        a[n + at[-1, j], n + at[-1, j]] += 1 / OHM
        for i in range(rows - 1):
            joined(a, n + at[i, j], n + at[i + 1, j], 1 / OHM)
    for k in range(n):
        joined(c, k, n + k, G)
    b = np.zeros((2 * n, rows))
    b[at[:, 0], np.arange(rows)] = 1 / OHM
    v = np.linalg.solve(a + c, b)
    once = -np.linalg.solve(a + c, c @ v)
    twice = -2 * np.linalg.solve(a + c, c @ once)
    return [x[n + at[-1]].T / OHM for x in (v, once, twice)]


def of_squares(t, once, twice):
    """Second derivative of the sum of squares."""
    return 2 * np.sum(once**2 + t * twice)


def array(shape, cells=1.0, wires=1.0):
    return xb.Crossbar(xb.Ohmic(cells * jnp.full(shape, G)), xb.Wires(wires * OHM, wires * OHM))


def test_the_closed_form_is_the_one_of_the_issue():
    assert of_squares(*products((16, 16))) == pytest.approx(3.6714e-6, rel=1e-4)


@few(1)
@pytest.mark.usefixtures("by_elimination")
@order
def test_of_transfer_by_elimination(twice):
    loss = lambda s: jnp.sum(xb.transfer(array((16, 16), s)) ** 2)
    want = of_squares(*products((16, 16)))
    np.testing.assert_allclose(jax.jit(twice(loss))(1.0), want, rtol=1e-9)


@few(1)
@order
@pytest.mark.parametrize("shape", [(5, 4), (18, 16), (16, 18)], ids=str)
def test_of_transfer_by_cells(shape, twice):
    loss = lambda s: jnp.sum(xb.transfer(array(shape, s)) ** 2)
    np.testing.assert_allclose(jax.jit(twice(loss))(1.0), of_squares(*products(shape)), rtol=1e-9)


@few(1)
@order
@pytest.mark.parametrize("shape", [(5, 4), (16, 16)], ids=str)
def test_of_transfer_by_wires(shape, twice):
    """Wires `s` times as resistive are cells `s` times as good, and currents divided by `s`."""
    t, once, second = products(shape)
    want = of_squares(t, once - t, second - 2 * once + 2 * t)
    loss = lambda s: jnp.sum(xb.transfer(array(shape, wires=s)) ** 2)
    np.testing.assert_allclose(jax.jit(twice(loss))(1.0), want, rtol=1e-8)


@few(3)
@order
@pytest.mark.parametrize("by", ["cells", "wires", "inputs"])
def test_of_a_read(by, twice):
    v = np.linspace(0.1, 0.3, 5)
    t, once, second = (v @ x for x in products((5, 4)))
    if by == "wires":
        once, second = once - t, second - 2 * once + 2 * t
    if by == "inputs":
        once, second = t, 0 * t

    def loss(s):
        x = array((5, 4)) if by == "inputs" else array((5, 4), **{by: s})
        return jnp.sum(xb.read(x, s * v if by == "inputs" else jnp.asarray(v)).i_out ** 2)

    np.testing.assert_allclose(jax.jit(twice(loss))(1.0), of_squares(t, once, second), rtol=1e-9)


@few(1)
@order
def test_of_a_read_of_nonlinear_cells(twice):
    """`I = (g / b) sinh(b V)` at the ends of ideal wires is a function of one voltage."""
    b, v = 5.0, np.asarray([0.1, 0.3])
    x = xb.Crossbar(xb.Sinh(jnp.full((2, 3), G), b), xb.Wires(0.0, 0.0))
    loss = lambda s: jnp.sum(xb.read(x, s * v).i_out)
    want = 3 * np.sum(G / b * np.sinh(b * v) * (b * v) ** 2)
    np.testing.assert_allclose(jax.jit(twice(loss))(1.0), want, rtol=1e-9)
