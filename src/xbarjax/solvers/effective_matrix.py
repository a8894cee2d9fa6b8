"""Routes to the effective matrix of a network: one solve per line of its shorter side, or block
elimination, checked against one solve."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from .. import _native
from .._types import PerCell
from ..kirchhoff.network import Network
from . import elimination, products
from .blocks import turn, turned
from .products import Products

# One solve: from voltages [V] of the shorter side's lines to the currents [A] out of the longer
# side's lines and the status.
Line: TypeAlias = Callable[[Array], tuple[Array, Array]]

# Limits within which block elimination takes less time than one solve in JAX per line of the
# shorter side, on the two cores that experiments/speed was run on.
SHORT = 16  # lines of the shorter side, at least
LONG = 16  # ratio of the longer to the shorter side, at most
MOST = 2**25  # numbers kept for derivatives by elimination, one matrix per row, at most
TOGETHER = 32  # right-hand sides per direct solve on a CPU, few enough for its caches


def solves_are_fast() -> bool:
    """Whether one solve per line is no slower than elimination, and compiles far faster."""
    return _native.available() and jax.default_backend() == "cpu"


def elimination_fits(shape: tuple[int, int]) -> bool:
    """Whether, in JAX, block elimination is faster than one solve per line for an array of a
    shape."""
    short, long = sorted(shape)
    return short >= SHORT and long <= LONG * short


def derivative_fits(shape: tuple[int, int]) -> bool:
    """Whether the voltages across all cells for every driven line, which a derivative needs, are
    few enough to keep (`MOST`)."""
    rows, cols = shape
    return rows * cols * min(rows, cols) <= MOST


def by_solves(line: Line, size: int, dtype, chunk: int) -> tuple[Array, Int[Array, ""]]:
    """Currents [A] for 1 V on each of `size` lines in turn, `chunk` solves at a time, and their
    common status."""
    # the last chunk is filled with zero voltages, whose solves take no iteration
    chunks = -(-size // chunk)
    units = jnp.eye(chunks * chunk, size, dtype=dtype)
    lines, status = lax.map(jax.vmap(line), units.reshape(chunks, chunk, size))
    return lines.reshape(chunks * chunk, -1)[:size], jnp.bitwise_or.reduce(status.ravel())


def by_elimination(line: Line, network: Network) -> tuple[Array, Int[Array, ""]]:
    """Effective matrix by block elimination, checked against one solve with all lines driven, and
    the status.

    One solve per line replaces elimination in two cases:

    - the check fails;
    - lines of the shorter side end in two terminals, so that elimination does not apply."""
    lines = _eliminated(network)
    size = lines.shape[0]
    probe, expected, bound = _probe(lines)

    def solve_next(carry):
        k, _, lines, status = carry
        is_probe = k < 0
        found, new = line(jnp.where(is_probe, probe, (jnp.arange(size) == k).astype(probe.dtype)))
        agrees = is_probe & jnp.all(jnp.abs(found - expected) <= bound)
        found = jnp.where(is_probe, lines[0], found)
        return k + 1, agrees, lines.at[jnp.maximum(k, 0)].set(found), status | new

    def unfinished(carry):
        k, agrees, *_ = carry
        return ~agrees & (k < size)

    start = jnp.asarray(-1), jnp.asarray(False), lines, jnp.zeros((), jnp.int32)
    *_, lines, status = lax.while_loop(unfinished, solve_next, start)
    return lines, status


def with_products(line: Line, network: Network) -> tuple[Products, Int[Array, ""], Bool[Array, ""]]:
    """Effective matrix by elimination, checked against one solve.

    **Returns:** the matrix with the data that its derivatives need, the status of the solve, and
    whether the two agree."""
    rows, cols = network.g_rc.shape
    found = products.products(network if cols <= rows else turned(network))
    matrix = upright(found.matrix, (rows, cols))
    probe, expected, bound = _probe(matrix if rows <= cols else matrix.T)
    driven, status = line(probe)
    return found, status, jnp.all(jnp.abs(driven - expected) <= bound)


def upright(x: PerCell, shape: tuple[int, int]) -> PerCell:
    """`x` with rows and columns exchanged if the array's `shape` is wider than tall, so that it is
    no wider than tall. A second call undoes the exchange."""
    rows, cols = shape
    return x if cols <= rows else turn(x)


def _probe(lines: Array) -> tuple[Array, Array, Array]:
    """Probe voltages [V] of the shorter side's lines, the currents [A] that `lines` predicts, and
    their tolerance [A]."""
    size = lines.shape[0]
    tolerance = 1e-11 if lines.dtype == jnp.float64 else 1e-5
    probe = jnp.cos(jnp.arange(size) ** 2).astype(lines.dtype)  # irregular, unlike any error
    with jax.default_matmul_precision("highest"):
        return probe, probe @ lines, tolerance * jnp.max(jnp.abs(probe) @ jnp.abs(lines))


def _eliminated(network: Network) -> Array:
    """Conductances [S] from each line of the shorter side to each of the longer side, by
    elimination with blocks of the shorter side; zeros if lines of the shorter side end in two
    terminals. By reciprocity, either side may be driven."""
    rows, cols = network.g_rc.shape
    network = network if cols <= rows else turned(network)
    found = lax.cond(
        elimination.far_ends_open(network),
        elimination.near_currents,
        lambda network: jnp.zeros_like(network.g_rc),
        network,
    )
    found = found if cols <= rows else turn(found)
    return found if rows <= cols else found.T
