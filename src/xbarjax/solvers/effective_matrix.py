"""Routes to the effective matrix of a network: a solve for each line of its shorter side, or block
elimination, which is held against a solve."""

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

# Currents [A] out of the lines of the longer side, and the status, for voltages [V] of the shorter.
Line: TypeAlias = Callable[[Array], tuple[Array, Array]]

# Where block elimination takes less time than a solve in JAX for each of the shorter side's lines,
# on the two cores that experiments/speed was run on.
SHORT = 16  # lines, at least
LONG = 16  # times as long as short, at most
MOST = 2**25  # numbers of one matrix a row, for derivatives by elimination
TOGETHER = 32  # right-hand sides of a direct solve on a CPU: few enough for its caches


def solves_are_fast() -> bool:
    """Whether a solve for each line takes no longer than elimination, and far less to compile."""
    return _native.available() and jax.default_backend() == "cpu"


def elimination_fits(shape: tuple[int, int]) -> bool:
    """Whether block elimination is faster in JAX for an array of that shape."""
    short, long = sorted(shape)
    return short >= SHORT and long <= LONG * short


def derivative_fits(shape: tuple[int, int]) -> bool:
    """Whether the voltages across all cells for every line, which a derivative takes, can be
    kept."""
    rows, cols = shape
    return rows * cols * min(rows, cols) <= MOST


def by_solves(line: Line, size: int, dtype, chunk: int) -> tuple[Array, Int[Array, ""]]:
    """Currents for 1 V on each of `size` lines in turn, `chunk` solves at a time, and a status."""
    # whole chunks: the solves of zeros that fill the last one take no iteration
    chunks = -(-size // chunk)
    units = jnp.eye(chunks * chunk, size, dtype=dtype)
    lines, status = lax.map(jax.vmap(line), units.reshape(chunks, chunk, size))
    return lines.reshape(chunks * chunk, -1)[:size], jnp.bitwise_or.reduce(status.ravel())


def by_elimination(line: Line, network: Network) -> tuple[Array, Int[Array, ""]]:
    """Block elimination, held against a solve with all lines driven; where the two differ, and
    where lines end in two terminals, so that it does not apply, a solve for each line."""
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
    """The effective matrix by elimination with what its derivatives take, the status of a solve
    that it is held against, and whether the two agree."""
    rows, cols = network.g_rc.shape
    found = products.products(network if cols <= rows else turned(network))
    matrix = upright(found.matrix, (rows, cols))
    probe, expected, bound = _probe(matrix if rows <= cols else matrix.T)
    driven, status = line(probe)
    return found, status, jnp.all(jnp.abs(driven - expected) <= bound)


def upright(x: PerCell, shape: tuple[int, int]) -> PerCell:
    """To and from an array that is no wider than tall."""
    rows, cols = shape
    return x if cols <= rows else turn(x)


def _probe(lines: Array) -> tuple[Array, Array, Array]:
    """Voltages of the shorter side's lines, what they should give, and how far off that may be."""
    size = lines.shape[0]
    tolerance = 1e-11 if lines.dtype == jnp.float64 else 1e-5
    probe = jnp.cos(jnp.arange(size) ** 2).astype(lines.dtype)  # no pattern an error could share
    with jax.default_matmul_precision("highest"):
        return probe, probe @ lines, tolerance * jnp.max(jnp.abs(probe) @ jnp.abs(lines))


def _eliminated(network: Network) -> Array:
    """Conductances from every line of the shorter side to those of the longer one, by elimination
    of the shorter ones as blocks, if they end in one terminal each; else zeros. By reciprocity
    either side may be the one that is driven."""
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
