"""Kirchhoff's law, written once: the linearised array as a matrix-free linear operator.

Unknowns are drops and segment currents, never voltages: the drop `a` [V] of a row node below the
reference of its line, the rise `w` [V] of a column node above its reference, and the current `J_k`
[A] in segment `k` of a line, counted from the near end (the driver, the sense input). Every node
obeys

    row:      J_k - J_{k+1} + g_row a + g_rc w = b
    column:   J_k - J_{k+1} + g_cr a + g_col w = b

and every segment, with the drops or rises `d` at its two ends,

    alpha (d_k - d_{k-1}) - beta y_k = e_k,    J_k = alpha y_k,

with `(alpha, beta) = (1, r)` up to `r = R_BROKEN` and `(sqrt(R_BROKEN / r), R_BROKEN)` beyond it.
Nothing is divided by a resistance, so r = 0 and r = inf are ordinary values with ordinary
derivatives. The operator is symmetric if `g_rc = g_cr`. The parts of a circuit enter as follows:

- a cell `I(v_row, v_col)` by its small-signal conductances, `dI/dv_row` in `g_row` and `g_cr`,
  `-dI/dv_col` in `g_col` and `g_rc`;
- a shunt at a node in `g_row` or `g_col`, an injected current in `b`, a source in a wire in `e`.

A cell that conducts far better than the wires at its nodes, up to a short with `g = inf`, has no
conductances here. Its current `y` [A] is an unknown, added in the equations of both its nodes, and
obeys a law like that of a segment:

    (a + w) - y / g = e.

The lines of the row family run along the rows. Source lines in parallel with the bit lines run
along the columns instead.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from .._types import CellMask, PerCell, PerColSegment, PerRowSegment, Scalar

R_BROKEN = (
    1e6  # [ohm] beyond which a segment's law is rescaled, so that inf stays finite; any value works
)
CAP = 100.0  # times the conductance of the wires between the nodes of a cell: more is a short


class Segments(eqx.Module):
    """Wire segments of resistance `r` [ohm], 0 to inf, and the coefficients of their law."""

    r: Float[Array, "..."]

    @property
    def alpha(self) -> Float[Array, "..."]:
        """Coefficient [1] of the drops: 1 up to `R_BROKEN`, less beyond it, 0 for an open wire."""
        return _alpha(self.r)

    @property
    def beta(self) -> Float[Array, "..."]:
        """Coefficient [ohm] of the current: `r`, at most `R_BROKEN`."""
        return jnp.where(self.r > R_BROKEN, R_BROKEN, self.r)  # minimum halves the slope at a tie

    def over_alpha(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """`x / alpha`, and 0 for an open wire: the unknown `y` from a current [A], or the
        electromotive force [V] from a right-hand side `e`."""
        alpha = self.alpha
        is_open = alpha == 0
        return jnp.where(is_open, 0, x / jnp.where(is_open, 1, alpha))


@jax.custom_jvp
def _alpha(r):
    # With the slope in terms of alpha itself, a gradient keeps one array and not four.
    return lax.rsqrt(jnp.where(r > R_BROKEN, r / R_BROKEN, 1))


@_alpha.defjvp
def _(primals, tangents):
    alpha = _alpha(*primals)
    slope = jnp.where(primals[0] > R_BROKEN, alpha**3 * (-0.5 / R_BROKEN), 0)
    return alpha, slope * tangents[0]


class Shorts(eqx.Module):
    """Cells whose current `y` [A] is an unknown, with the law `alpha (a + w) - beta y = e`.

    All other cells have `alpha = 0` and `y = 0`."""

    alpha: PerCell  # [1]: 1 or 0
    beta: PerCell  # [ohm]: 1 / g, 0 for g = inf; 1 where alpha is 0
    cap: PerCell  # [S]: large beside the wires' conductance; 0 where ideal wires hold both nodes
    open: CellMask  # beside ideal wires, and perhaps in a loop with them

    @property
    def gain(self) -> PerCell:
        """Conductance [S] that turns a violation [V] of the law into a correction of `y` [A]:
        `cap`, or the cell's own conductance where ideal wires hold both nodes."""
        held = (self.alpha > 0) & (self.cap == 0)
        own = 1 / jnp.where(held & (self.beta > 0), self.beta, 1)
        return jnp.where(held, own, self.cap)


class Field(NamedTuple):
    """A vector of the network. Unknowns are drops [V] and scaled segment currents `y` [A]; a
    right-hand side has injected currents [A] and electromotive forces `e` [V] in their places."""

    row: PerCell
    row_segments: PerRowSegment
    col: PerCell
    col_segments: PerColSegment
    cell: PerCell | None = None  # `y` or `e` of `Shorts`


class Network(lx.AbstractLinearOperator):
    """The linearised array as a linear operator. `mv` is Kirchhoff's law; see the module's
    docstring.

    Arrays are stored in the order of rows and columns. The near end of a row is at column 0, of a
    column at the last row, and of a source line in parallel with the columns at row 0.
    """

    row: Segments  # (rows, cols + 1), in parallel (rows + 1, cols); the last is the far segment
    col: Segments  # (rows + 1, cols); the first is the far segment
    g_rc: PerCell
    g_cr: PerCell
    shunt_row: PerCell | None  # [S] from every node to its reference, cells apart
    shunt_col: PerCell | None
    symmetric: bool = eqx.field(static=True)
    parallel: bool = eqx.field(static=True, default=False)
    shorts: Shorts | None = None
    hangs: Bool[Array, ""] | None = None  # whether any node is weakly held (islands.py)
    transposed: bool = eqx.field(static=True, default=False)

    @property
    def g_row(self) -> PerCell:
        """Conductance [S] from row nodes to their reference, of cell and shunt. A cell puts one
        current into both of its nodes; a transposed cell puts two, both proportional to `a + w`."""
        g = self.g_rc if self.transposed else self.g_cr
        return g if self.shunt_row is None else g + self.shunt_row

    @property
    def g_col(self) -> PerCell:
        g = self.g_cr if self.transposed else self.g_rc
        return g if self.shunt_col is None else g + self.shunt_col

    @property
    def row_axis(self) -> int:
        """Axis along which lines of the row family run."""
        return 0 if self.parallel else 1

    def mv(self, vector: Field) -> Field:
        a, _, w, _, y = vector
        wires = self.wires(vector)
        found = wires._replace(
            row=wires.row + self.g_row * a + self.g_rc * w,
            col=wires.col + self.g_cr * a + self.g_col * w,
        )
        if self.shorts is None or y is None:
            return found
        alpha, beta = self.shorts.alpha, self.shorts.beta
        passed = alpha * y
        law = alpha * (a + w) - beta * y
        return found._replace(row=found.row + passed, col=found.col + passed, cell=law)

    def cells(self, vector: Field) -> PerCell:
        """Reduction [A] of the cell currents by the drops."""
        less = self.g_cr * vector.row + self.g_rc * vector.col
        if self.shorts is None or vector.cell is None:
            return less
        return less + self.shorts.alpha * vector.cell

    def violation(self, vector: Field, x: Field) -> Field:
        """`vector - mv(x)`. The current of a cell is rounded once for both of its nodes, so that
        rounding charges no weakly held node."""
        wires = self.wires(x)
        if self.transposed and not self.symmetric:
            less_row, less_col = (g * (x.row + x.col) for g in (self.g_rc, self.g_cr))
        else:
            less_row = less_col = lax.optimization_barrier(self.cells(x))
        shunted = lambda g, drop: 0 if g is None else g * drop
        found = Field(
            (vector.row - less_row) - shunted(self.shunt_row, x.row) - wires.row,
            vector.row_segments - wires.row_segments,
            (vector.col - less_col) - shunted(self.shunt_col, x.col) - wires.col,
            vector.col_segments - wires.col_segments,
        )
        if self.shorts is None or vector.cell is None or x.cell is None:
            return found
        alpha, beta = self.shorts.alpha, self.shorts.beta
        # added last: beta y may be below the rounding of the drops
        return found._replace(cell=(vector.cell - alpha * (x.row + x.col)) + beta * x.cell)

    def i_row(self, x: Field) -> Float[Array, "..."]:
        """Currents [A] in the segments of the row family."""
        return self.row.alpha * x.row_segments

    def i_col(self, x: Field) -> Float[Array, "..."]:
        """Currents [A] in the segments of the columns."""
        return self.col.alpha * x.col_segments

    @property
    def capped(self) -> "Network":
        """The network with each short as the conductance `cap`, which solvers can resolve."""
        if self.shorts is None:
            return self
        return self.with_cells(self.g_rc + self.shorts.cap, self.g_cr + self.shorts.cap)

    def with_cells(self, g_rc: PerCell, g_cr: PerCell, shorts: Shorts | None = None) -> "Network":
        """The network with other cells. Symmetric cells stay one array."""
        g_cr = g_rc if self.symmetric else g_cr
        shunts, flags = (self.shunt_row, self.shunt_col), (self.symmetric, self.parallel)
        others = shorts, self.hangs, self.transposed
        return Network(self.row, self.col, g_rc, g_cr, *shunts, *flags, *others)

    def wires(self, vector: Field) -> Field:
        """Contribution of the wires to Kirchhoff's law: `mv` of an array without cells."""
        a, y_row, w, y_col, _ = vector
        axis = self.row_axis
        return Field(
            -jnp.diff(self.row.alpha * y_row, axis=axis),
            self.row.alpha * jnp.diff(a, axis=axis, prepend=0, append=0) - self.row.beta * y_row,
            jnp.diff(self.col.alpha * y_col, axis=0),
            -self.col.alpha * jnp.diff(w, axis=0, prepend=0, append=0) - self.col.beta * y_col,
        )

    def in_structure(self) -> Any:
        shape, dtype = self.g_rc.shape, self.g_rc.dtype
        rows, cols = shape
        along_rows = (rows + 1, cols) if self.parallel else (rows, cols + 1)
        shapes = shape, along_rows, shape, (rows + 1, cols)
        cell = None if self.shorts is None else jax.ShapeDtypeStruct(shape, dtype)
        return Field(*[jax.ShapeDtypeStruct(s, dtype) for s in shapes], cell)  # pyright: ignore

    def out_structure(self) -> Any:
        return self.in_structure()

    def transpose(self) -> "Network":
        shunts, flags = (self.shunt_row, self.shunt_col), (self.symmetric, self.parallel)
        others = self.shorts, self.hangs, not self.transposed
        return Network(self.row, self.col, self.g_cr, self.g_rc, *shunts, *flags, *others)

    def as_matrix(self) -> Float[Array, "size size"]:
        flat, unravel = ravel_pytree(
            jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), self.in_structure())
        )
        columns = jax.vmap(lambda x: ravel_pytree(self.mv(unravel(x)))[0])
        return columns(jnp.eye(flat.size, dtype=flat.dtype)).T


def largest(*xs: Array) -> Scalar:
    """Largest magnitude in all arrays."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in xs]))


@lx.is_symmetric.register(Network)
def _(operator: Network) -> bool:
    return operator.symmetric


@lx.is_positive_semidefinite.register(Network)
@lx.is_negative_semidefinite.register(Network)
def _(operator: Network) -> bool:
    return False  # drops and currents together make it indefinite
