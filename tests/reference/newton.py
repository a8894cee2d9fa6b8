"""Reference solution of a crossbar with nonlinear cells: damped Newton (numpy and scipy only).

It shares no code and no method with the package: this is textbook nodal analysis in 1/r over all
nodes, those inside series cells included.

Circuit. Cell (i, j) joins row node (i, j) to column node (i, j); its current I(v_row, v_col) is
positive from row to column. Column line j is a chain from the top: far terminal, r_col[0, j], node
(0, j), r_col[1, j], ..., node (rows-1, j), r_col[rows, j], near terminal (the sense end). The lines
of the row family run across: near terminal, r_row[i, 0], node (i, 0), r_row[i, 1], ..., node
(i, cols-1), r_row[i, cols], far terminal; or along the columns (source lines): near terminal,
r_row[0, j], node (0, j), ..., node (rows-1, j), r_row[rows, j], far terminal. The terminals are
ideal voltage sources. Any r may be 0 (an ideal wire) or inf (no wire).

Method.
1. Nodes joined by r = 0 are merged; a group of merged nodes that holds a terminal is a known
   voltage. Groups without a path to a terminal through wires and cells (islands) are left out.
2. Newton from v = 0 with the sources turned up in as few steps as work. The Newton step, from a
   float64 LU of the Jacobian, is shortened until the next step by the same LU is a shorter one
   (Deuflhard's natural monotonicity test); a source step that fails is halved.
3. Voltages and currents are longdouble, and the residual is a sum over edges of currents computed
   from the differences v_a - v_b, never from the assembled matrix. So an edge current that is wrong
   by rounding acts as a source in series of the size of the rounding of v, and the last, full
   Newton steps refine the solution to a few longdouble roundings even where 1/r >> dI/dv.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import SuperLU, splu

Array = NDArray[Any]
LD = np.longdouble
U_T = LD(1.380649e-23) * LD(300.15) / LD(1.602176634e-19)  # k T / q at 27 C
E = LD(1e-3)  # V, rounds off |v| in poole_frenkel and schottky


class Cell(Protocol):
    """Current from the row to the column node and its derivatives by both voltages. Parameters are
    scalars or arrays that broadcast to (rows, cols)."""

    def current(self, v_row: Array, v_col: Array) -> Array: ...

    def derivative(self, v_row: Array, v_col: Array) -> tuple[Array, Array]: ...


class TwoTerminal:
    """A cell whose current is a function of v = v_row - v_col only."""

    def of(self, v: Array) -> Array:
        raise NotImplementedError

    def slope(self, v: Array) -> Array:
        raise NotImplementedError

    def current(self, v_row: Array, v_col: Array) -> Array:
        return self.of(v_row - v_col)

    def derivative(self, v_row: Array, v_col: Array) -> tuple[Array, Array]:
        slope = self.slope(v_row - v_col)
        return slope, -slope


@dataclass(frozen=True)
class Ohmic(TwoTerminal):
    g: ArrayLike

    def of(self, v: Array) -> Array:
        return _x(self.g) * v

    def slope(self, v: Array) -> Array:
        return _x(self.g) + 0 * v


@dataclass(frozen=True)
class Sinh(TwoTerminal):
    g: ArrayLike
    b: ArrayLike

    def of(self, v: Array) -> Array:
        b = _x(self.b)
        return _x(self.g) / b * np.sinh(b * v)

    def slope(self, v: Array) -> Array:
        return _x(self.g) * np.cosh(_x(self.b) * v)


@dataclass(frozen=True)
class Polynomial(TwoTerminal):
    g: ArrayLike
    g_2: ArrayLike
    g_3: ArrayLike

    def of(self, v: Array) -> Array:
        return v * (_x(self.g) + v * (_x(self.g_2) + v * _x(self.g_3)))

    def slope(self, v: Array) -> Array:
        return _x(self.g) + v * (2 * _x(self.g_2) + v * 3 * _x(self.g_3))


@dataclass(frozen=True)
class PooleFrenkel(TwoTerminal):
    """I = g v exp((sqrt(|v|) - sqrt(e)) / sqrt(v_pf)) with |v| rounded off to sqrt(v^2 + e^2)."""

    g: ArrayLike
    v_pf: ArrayLike

    def _factor(self, v: Array) -> Array:
        root = np.sqrt(np.hypot(v, E))
        return _x(self.g) * np.exp((root - np.sqrt(E)) / np.sqrt(_x(self.v_pf)))

    def of(self, v: Array) -> Array:
        return v * self._factor(v)

    def slope(self, v: Array) -> Array:
        rise = v**2 / (2 * np.hypot(v, E) ** LD(1.5) * np.sqrt(_x(self.v_pf)))
        return self._factor(v) * (1 + rise)


@dataclass(frozen=True)
class Rectifying(TwoTerminal):
    """(g/b) sinh(b v) forward, `ratio` times less in reverse; in between, over about w volts, the
    forward part is (1 - 1/ratio) sinh(b h) with h = v^3 / (v^2 + w^2)."""

    g: ArrayLike
    b: ArrayLike
    ratio: ArrayLike
    w: ArrayLike

    def of(self, v: Array) -> Array:
        b, ratio, w2 = _x(self.b), _x(self.ratio), _x(self.w) ** 2
        p = np.maximum(v, 0)
        h = p**3 / (p**2 + w2)
        return _x(self.g) / b * (np.sinh(b * v) / ratio + (1 - 1 / ratio) * np.sinh(b * h))

    def slope(self, v: Array) -> Array:
        b, ratio, w2 = _x(self.b), _x(self.ratio), _x(self.w) ** 2
        p = np.maximum(v, 0)
        h = p**3 / (p**2 + w2)
        dh = p**2 * (p**2 + 3 * w2) / (p**2 + w2) ** 2
        return _x(self.g) * (np.cosh(b * v) / ratio + (1 - 1 / ratio) * np.cosh(b * h) * dh)


@dataclass(frozen=True)
class Schottky(TwoTerminal):
    """A diode whose reverse current rises with exp(sqrt(u / v_b)), u = the reverse voltage rounded
    off: image-force lowering of the barrier."""

    i_s: ArrayLike
    n: ArrayLike
    v_b: ArrayLike

    def _lowering(self, v: Array) -> tuple[Array, Array]:
        """i_s exp(sqrt(u / v_b) - sqrt(e / 2 / v_b)) and its logarithmic derivative."""
        s = np.hypot(v, E)
        u = np.where(v > 0, E**2 / (2 * (s + np.abs(v))), (s - v) / 2)  # without cancellation
        root = np.sqrt(u / _x(self.v_b))
        return _x(self.i_s) * np.exp(root - np.sqrt(E / 2 / _x(self.v_b))), -root / (2 * s)

    def of(self, v: Array) -> Array:
        return self._lowering(v)[0] * np.expm1(v / (_x(self.n) * U_T))

    def slope(self, v: Array) -> Array:
        u_n = _x(self.n) * U_T
        i, rate = self._lowering(v)
        return i * (np.exp(v / u_n) / u_n + rate * np.expm1(v / u_n))


@dataclass(frozen=True)
class Diode(TwoTerminal):
    i_s: ArrayLike
    n: ArrayLike

    def of(self, v: Array) -> Array:
        return _x(self.i_s) * np.expm1(v / (_x(self.n) * U_T))

    def slope(self, v: Array) -> Array:
        u_n = _x(self.n) * U_T
        return _x(self.i_s) / u_n * np.exp(v / u_n)


@dataclass(frozen=True)
class Antiparallel(TwoTerminal):
    i_s: ArrayLike
    n: ArrayLike

    def of(self, v: Array) -> Array:
        return 2 * _x(self.i_s) * np.sinh(v / (_x(self.n) * U_T))

    def slope(self, v: Array) -> Array:
        u_n = _x(self.n) * U_T
        return 2 * _x(self.i_s) / u_n * np.cosh(v / u_n)


@dataclass(frozen=True)
class BackToBack(TwoTerminal):
    i_s: ArrayLike
    n: ArrayLike

    def of(self, v: Array) -> Array:
        return _x(self.i_s) * np.tanh(v / (2 * _x(self.n) * U_T))

    def slope(self, v: Array) -> Array:
        u_n = 2 * _x(self.n) * U_T
        return _x(self.i_s) / u_n / np.cosh(v / u_n) ** 2


@dataclass(frozen=True)
class Ekv:
    """MOSFET in all regions, drain on the row side, source on the column side, bulk at 0 V."""

    beta: ArrayLike
    v_t: ArrayLike
    n: ArrayLike
    lam: ArrayLike
    v_gate: ArrayLike

    def _parts(self, d: Array, s: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
        n = _x(self.n)
        v_p = (_x(self.v_gate) - _x(self.v_t)) / n
        x_s, x_d = (v_p - s) / (2 * U_T), (v_p - d) / (2 * U_T)
        l_s, l_d = np.logaddexp(0, x_s), np.logaddexp(0, x_d)
        # F(s) - F(d) = (l_s - l_d)(l_s + l_d), the first factor without cancellation.
        apart = (d - s) / (2 * U_T)
        rise = np.log1p(np.expm1(np.abs(apart)) * _sigmoid(np.minimum(x_s, x_d)))
        difference = np.sign(apart) * rise * (l_s + l_d)
        return 2 * n * _x(self.beta) * U_T**2, difference, x_s, x_d, l_s, l_d

    def current(self, v_row: Array, v_col: Array) -> Array:
        i_0, difference, *_ = self._parts(v_row, v_col)
        return i_0 * (1 + _x(self.lam) * np.abs(v_row - v_col)) * difference

    def derivative(self, v_row: Array, v_col: Array) -> tuple[Array, Array]:
        i_0, difference, x_s, x_d, l_s, l_d = self._parts(v_row, v_col)
        lam = _x(self.lam)
        length = i_0 * lam * np.sign(v_row - v_col) * difference
        i_0 = i_0 * (1 + lam * np.abs(v_row - v_col)) / U_T
        return length + i_0 * l_d * _sigmoid(x_d), -length - i_0 * l_s * _sigmoid(x_s)


@dataclass(frozen=True)
class Level1:
    """MOSFET, SPICE level 1 without bulk diodes, drain on the row side, bulk at 0 V. In reverse
    drain and source change places; the lower terminal is the source, from which the body effect
    counts (and which goes on linearly below 0 V)."""

    beta: ArrayLike
    v_t: ArrayLike
    lam: ArrayLike
    gamma: ArrayLike
    phi: ArrayLike
    v_gate: ArrayLike

    def _channel(self, low: Array, v_ds: Array) -> tuple[Array, Array, Array]:
        """Current, its derivative by the lower voltage at constant v_ds, and by v_ds."""
        beta, lam, phi = _x(self.beta), _x(self.lam), _x(self.phi)
        s_0 = np.sqrt(phi)
        above = np.sqrt(phi + np.maximum(low, 0))
        below = np.maximum(s_0 + np.minimum(low, 0) / (2 * s_0), 0)
        s = np.where(low >= 0, above, below)
        ds = np.where(low >= 0, 1 / (2 * above), np.where(below > 0, 1 / (2 * s_0), 0))
        v_th = _x(self.v_t) + _x(self.gamma) * (s - s_0)
        over = np.maximum(_x(self.v_gate) - low - v_th, 0)
        drop = np.minimum(v_ds, over)  # over in saturation
        channel = beta * drop * (over - drop / 2)
        d_over = beta * drop  # also in saturation, where drop moves with over
        factor = 1 + lam * v_ds
        slope = lam * channel + factor * beta * (over - drop)
        return factor * channel, -factor * d_over * (1 + _x(self.gamma) * ds), slope

    def current(self, v_row: Array, v_col: Array) -> Array:
        v = v_row - v_col
        return np.sign(v) * self._channel(np.minimum(v_row, v_col), np.abs(v))[0]

    def derivative(self, v_row: Array, v_col: Array) -> tuple[Array, Array]:
        v = v_row - v_col
        _, by_low, by_ds = self._channel(np.minimum(v_row, v_col), np.abs(v))
        forward = v >= 0
        return (
            np.where(forward, by_ds, by_ds - by_low),
            np.where(forward, by_low - by_ds, -by_ds),
        )


@dataclass(frozen=True)
class Series:
    """`a` on the row side, `b` on the column side; `solve` gives the node between them a voltage of
    its own."""

    a: Any
    b: Any


KINDS: dict[str, Any] = {
    "ohmic": Ohmic,
    "sinh": Sinh,
    "polynomial": Polynomial,
    "poole_frenkel": PooleFrenkel,
    "rectifying": Rectifying,
    "schottky": Schottky,
    "diode": Diode,
    "antiparallel": Antiparallel,
    "back_to_back": BackToBack,
    "ekv": Ekv,
    "level1": Level1,
}


def build(spec: Mapping[str, Any]) -> Any:
    """The cell of a dictionary of "kind" and parameters; "series" has two dictionaries, a and b."""
    parameters = {k: v for k, v in spec.items() if k != "kind"}
    if spec["kind"] == "series":
        return Series(build(parameters["a"]), build(parameters["b"]))
    return KINDS[spec["kind"]](**parameters)


def derivative_error(cell: Cell, v_row: ArrayLike, v_col: ArrayLike, h: float = 1e-6) -> float:
    """Largest difference of the derivatives from central differences, relative to their size."""
    r, c = _x(v_row), _x(v_col)
    got = cell.derivative(r, c)
    want = (
        (cell.current(r + h, c) - cell.current(r - h, c)) / (2 * LD(h)),
        (cell.current(r, c + h) - cell.current(r, c - h)) / (2 * LD(h)),
    )
    scale = np.abs(got[0]) + np.abs(got[1])
    scale = np.where(scale > 0, scale, 1)
    return float(max((np.abs(a - b) / scale).max() for a, b in zip(got, want)))


class Solution(NamedTuple):
    """Voltages and currents, float64; see the module docstring for the circuit."""

    v_row: Array  # (rows, cols); NaN where row_floating
    v_col: Array  # (rows, cols); NaN where col_floating
    i_cell: Array  # (rows, cols), from row to column; 0 in islands
    i_out: Array  # (cols,) into the terminals of the column lines: the sum of the cell currents
    v_inner: Array  # (k, rows, cols): nodes in series cells, from the row side on; NaN in islands
    row_floating: Array  # bool (rows, cols): no path to any terminal
    col_floating: Array  # bool (rows, cols)
    iterations: int  # factorisations
    imbalance: float  # A, sum of all source currents; NaN where an end segment is ideal


def solve(
    cell: Any,
    r_row: ArrayLike,
    r_col: ArrayLike,
    v_row_near: ArrayLike,
    v_row_far: ArrayLike,
    v_col_near: ArrayLike,
    v_col_far: ArrayLike,
    *,
    along: bool = False,
) -> Solution:
    """Solve the circuit. ValueError for invalid input, including ideal wires that join terminals
    of different voltages; ArithmeticError without convergence or for a singular Jacobian."""
    r_row, r_col = np.asarray(r_row, float), np.asarray(r_col, float)
    rows, cols = r_col.shape[0] - 1, r_col.shape[1]
    lines = cols if along else rows
    terminals = [np.asarray(x, float) for x in (v_row_near, v_row_far, v_col_near, v_col_far)]
    shapes = [(rows + 1, cols) if along else (rows, cols + 1), (rows + 1, cols)]
    shapes += [(lines,), (lines,), (cols,), (cols,)]
    if [x.shape for x in (r_row, r_col, *terminals)] != shapes:
        raise ValueError(f"r_row, r_col and the terminal voltages must have shapes {shapes}")
    v_terminal = np.concatenate(terminals)
    if not ((r_row >= 0).all() and (r_col >= 0).all() and np.isfinite(v_terminal).all()):
        raise ValueError("r must be >= 0, terminal voltages must be finite")

    # Number the nodes: row nodes, column nodes, inner nodes, terminals.
    elements = _flatten(cell)
    inner = rows * cols
    row_node = np.arange(inner).reshape(rows, cols)
    col_node = inner + row_node
    inner_node = [(2 + k) * inner + row_node for k in range(len(elements) - 1)]
    ends = (1 + len(elements)) * inner + np.arange(2 * (lines + cols))
    near_r, far_r, near_c, far_c = np.split(ends, np.cumsum([lines, lines, cols]))
    if along:
        row_chain = np.vstack([near_r[None], row_node, far_r[None]]).T
        r_row = r_row.T
    else:
        row_chain = np.hstack([near_r[:, None], row_node, far_r[:, None]])
    col_chain = np.vstack([far_c[None], col_node, near_c[None]])
    a = np.concatenate([row_chain[:, :-1].ravel(), col_chain[:-1].ravel()])
    b = np.concatenate([row_chain[:, 1:].ravel(), col_chain[1:].ravel()])
    r = np.concatenate([r_row.ravel(), r_col.ravel()])

    # Merge what ideal wires join, and look for islands in what is left.
    group = _components(a[r == 0], b[r == 0], ends[-1] + 1)
    n = int(group.max()) + 1
    known = np.zeros(n, bool)
    known[group[ends]] = True
    v_known = np.zeros(n, LD)
    v_known[group[ends]] = v_terminal
    if (v_known[group[ends]] != v_terminal).any():
        raise ValueError("ideal wires join terminals of different voltages")
    keep = (r > 0) & np.isfinite(r) & (group[a] != group[b])
    a, b, y = group[a[keep]], group[b[keep]], 1 / r[keep].astype(LD)
    nodes = [group[x] for x in (row_node, *inner_node, col_node)]
    pairs = [(p, q) for p, q in zip(nodes[:-1], nodes[1:])]
    joined = [np.broadcast_to(_conducts(e), (rows, cols)) for e in elements]
    part = _components(
        np.concatenate([a, *(p[m] for (p, _), m in zip(pairs, joined))]),
        np.concatenate([b, *(q[m] for (_, q), m in zip(pairs, joined))]),
        n,
    )
    floating = ~np.isin(part, part[known])
    circuit = _Circuit(elements, pairs, joined, a, b, y, ~known & ~floating)
    v = circuit.solve(v_known)

    i_cell = np.zeros((rows, cols), LD) + elements[0].current(v[pairs[0][0]], v[pairs[0][1]])
    i_cell[~np.logical_and.reduce(joined)] = 0
    i_out = i_cell.sum(0)
    balance = np.concatenate([(v[a] - v[b]) * y, (v[b] - v[a]) * y])[known[np.concatenate([a, b])]]
    exact = not (r_row[:, [0, -1]] == 0).any() and not (r_col[[0, -1]] == 0).any()
    v[floating] = np.nan
    voltages = [v[x].astype(float) for x in nodes]
    return Solution(
        voltages[0],
        voltages[-1],
        i_cell.astype(float),
        i_out.astype(float),
        np.array(voltages[1:-1]).reshape(-1, rows, cols),
        floating[nodes[0]],
        floating[nodes[-1]],
        circuit.factorisations,
        float(abs(balance.sum())) if exact else np.nan,
    )


def _x(value: ArrayLike) -> Array:
    return np.asarray(value, LD)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _flatten(cell: Any) -> list[Any]:
    """The elements of a cell from row to column."""
    return _flatten(cell.a) + _flatten(cell.b) if isinstance(cell, Series) else [cell]


def _conducts(element: Any) -> Array:
    """False where the element is no path at any voltage: g, i_s or beta is 0."""
    scale = next(vars(element)[k] for k in ("g", "i_s", "beta") if k in vars(element))
    return np.asarray(scale) != 0


def _components(a: Array, b: Array, n: int) -> Array:
    """Label of the connected component of each of n nodes under the edges (a, b)."""
    return connected_components(coo_matrix((np.ones(a.size), (a, b)), shape=(n, n)), False)[1]


class _Circuit:
    """Wires y between groups a and b, elements between the groups of `pairs`, unknowns `free`."""

    def __init__(
        self,
        elements: list[Any],
        pairs: list[tuple[Array, Array]],
        joined: list[Array],
        a: Array,
        b: Array,
        y: Array,
        free: Array,
    ) -> None:
        self.elements, self.pairs, self.joined = elements, pairs, joined
        self.a, self.b, self.y, self.free = a, b, y, free
        self.index = np.full(free.size, -1)
        self.index[free] = np.arange(free.sum())
        self.factorisations = 0

    def residual(self, v: Array) -> Array:
        """Current into each unknown node."""
        total = np.zeros(v.size, LD)
        current = self.y * (v[self.a] - v[self.b])
        np.add.at(total, self.a, -current)
        np.add.at(total, self.b, current)
        for element, (p, q), joined in zip(self.elements, self.pairs, self.joined):
            current = np.where(joined, element.current(v[p], v[q]), 0)
            np.add.at(total, p, -current)
            np.add.at(total, q, current)
        return total[self.free]

    def factor(self, v: Array) -> SuperLU:
        """LU of minus the derivative of the residual."""
        y = self.y.astype(float)
        p, q, by_p, by_q = [self.a], [self.b], [y], [-y]
        for element, (k, l), joined in zip(self.elements, self.pairs, self.joined):  # noqa: E741
            d = element.derivative(v[k], v[l])
            d = [np.broadcast_to(np.where(joined, x, 0), k.shape).astype(float) for x in d]
            for to, x in zip((p, q, by_p, by_q), (k, l, *d)):
                to.append(x.ravel())
        p, q = self.index[np.concatenate(p)], self.index[np.concatenate(q)]
        by_p, by_q = np.concatenate(by_p), np.concatenate(by_q)
        k = np.concatenate([p, p, q, q])
        l = np.concatenate([p, q, p, q])  # noqa: E741
        values = np.concatenate([by_p, by_q, -by_p, -by_q])
        keep = (k >= 0) & (l >= 0)
        m = int(self.free.sum())
        matrix = csc_matrix((values[keep], (k[keep], l[keep])), shape=(m, m))
        self.factorisations += 1
        try:
            options = {"SymmetricMode": True}
            return splu(matrix, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        except RuntimeError as error:
            raise ArithmeticError("singular Jacobian") from error

    def solve(self, v_known: Array) -> Array:
        """All voltages, from those of the sources; 0 in islands."""
        v = np.zeros_like(v_known)
        if not self.free.any() or not v_known.any():
            return np.where(self.free, 0, v_known)
        top = float(np.abs(v_known).max())
        done, step = 0.0, 1.0
        while done < 1:
            target = min(done + step, 1.0)
            trial = np.where(self.free, v, target * v_known)
            if self.newton(trial, 1e-5 * top):
                v, done, step = trial, target, 2 * step
            else:
                step = (target - done) / 2
                if step < 1e-6:
                    raise ArithmeticError(f"no convergence beyond {done} of the sources")
        self.refine(v, 100 * float(np.finfo(LD).eps) * top, 1e-14 * top)
        return v

    def newton(self, v: Array, tolerance: float) -> bool:
        """Damped Newton in place until the step is below the tolerance. False if it gives up."""
        share = 1.0
        with np.errstate(all="ignore"):
            f = self.residual(v)
            for _ in range(60):
                lu = self.factor(v)
                step = self.direction(lu, f)
                size = np.abs(step).max()
                if not np.isfinite(size):
                    return False
                share = min(1.0, 4 * share)
                while True:
                    trial = v.copy()
                    trial[self.free] += LD(share) * step
                    f = self.residual(trial)
                    if np.isfinite(f).all():
                        after = np.abs(self.direction(lu, f)).max()
                        if after <= (1 - share / 4) * size:
                            break
                    share /= 2
                    if share < 1e-5:
                        return False
                v[:] = trial
                if share == 1 and size <= tolerance:
                    return True
        return False

    def refine(self, v: Array, tolerance: float, acceptable: float) -> None:
        """Full Newton steps in place down to rounding: `tolerance`, or where the steps no longer
        shrink, if that is below `acceptable`."""
        last = np.inf
        lu = None
        for _ in range(60):
            lu = self.factor(v) if lu is None or last > 1e-9 else lu
            step = self.direction(lu, self.residual(v))
            size = np.abs(step).max()
            if not np.isfinite(size):
                break
            if size <= acceptable and size > last / 2:
                return
            v[self.free] += step
            if size <= tolerance:
                return
            last = size
        raise ArithmeticError("the last Newton steps did not converge")

    @staticmethod
    def direction(lu: SuperLU, f: Array) -> Array:
        """Solution with the right-hand side scaled so that float64 cannot underflow."""
        scale = np.abs(f).max()
        if scale == 0:
            return np.zeros_like(f)
        return lu.solve((f / scale).astype(float)) * scale
