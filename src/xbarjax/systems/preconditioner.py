"""Approximate inverses of sparse matrices by analog loops, as preconditioners of Krylov methods.

A loop of at most some tens of lines inverts one diagonal block of a matrix (`loops.inverse`). A
large matrix is split into overlapping domains, with one loop each, and one more for a coarse matrix
with one unknown per domain. Domains correct the solution one after another, forwards, then the
coarse unknowns, then the domains backwards (multiplicative Schwarz method: J. Xu, SIAM Rev. 34, 581
(1992), doi:10.1137/1034116). Loops as preconditioners: B. Feinberg et al., HPCA 2021,
doi:10.1109/HPCA51647.2021.00069.

    apply = schwarz(matrix, partial(by_loops, mapping=pair, wires=wires), key)
    z = apply(residual)                                          # in a flexible method
    options = {"preconditioner": apply.operator}                 # in lineax's GMRES
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jax.experimental.sparse import BCOO
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from .. import elements as el
from .._types import described
from ..analyses.response import Response, response
from ..drive.encoding import Phases, add_up
from ..elements import OpAmp
from ..elements.circuit import Circuit
from ..kirchhoff.advice import finish
from ..programming.mapping import AbstractMapping
from ..readout import AbstractConverter
from ..variability import AbstractPerturbation
from ..wires import Wires
from .loops.equations import Amplifier, inverse

__all__ = ["Bank", "Domains", "Schwarz", "by_loops", "schwarz", "split"]


def __dir__() -> list[str]:
    return __all__


SMOOTHING = 2 / 3  # of a damped Jacobi step
Blocks: TypeAlias = Float[Array, "blocks size size"]


def exact(x: Array, v_max: ArrayLike) -> Phases:
    """Encoding by ideal converters: one phase at voltages `v_max x` [V]."""
    return Phases(jnp.asarray(v_max, x.dtype) * x[None], jnp.ones((1,), x.dtype))


class Bank(eqx.Module):
    """Analog circuits that multiply vectors by matrices, one each, between converters.

    A vector, `(size,)`, is multiplied by `sides` entry by entry, which gives `r`. It is divided by
    its largest entry, which digital logic keeps, and encoded as voltages `v_max r / max |r|`. A
    circuit answers phase by phase with `matrix v + v_zero` [V]. Its outputs are converted, added
    up, and multiplied by `scale max |r| / v_max` and by `sides`.

    **Attributes:**

    - `matrix`: output voltages per input voltage [1], `(blocks, size, size)`.
    - `v_zero`: output voltages [V] without input, `(blocks, size)`.
    - `scale`: of the result, per block, `(blocks,)`.
    - `sides`: of each entry of vectors and results, `(blocks, size)`.
    - `encode`: an encoding of numbers, called as `encode(x, v_max)`, such as
        `functools.partial(xb.encoding.sliced, bits=8, slices=(4, 4))`.
    - `converter`: of output voltages `(blocks, phases, size)`; None is exact.
    - `v_max`: largest input voltage [V].
    """

    matrix: Blocks
    v_zero: Float[Array, "blocks size"]
    scale: Float[Array, " blocks"]
    sides: Float[Array, "blocks size"]
    encode: Callable[..., Phases] = exact
    converter: AbstractConverter | None = None
    v_max: ArrayLike = 0.1

    def __call__(self, r: Float[Array, "blocks size"]) -> Float[Array, "blocks size"]:
        """Products of all blocks, with one vector each."""
        r = self.sides * r
        largest = jnp.max(jnp.abs(r), axis=1)
        largest = jnp.where(largest > 0, largest, 1)
        phases = jax.vmap(lambda x: self.encode(x, self.v_max))(r / largest[:, None])
        outputs = jnp.einsum("bij,bpj->bpi", self.matrix, phases.v) + self.v_zero[:, None]
        if self.converter is not None:
            outputs = self.converter(outputs)
        scale = (self.scale * largest / self.v_max)[:, None]
        return self.sides * scale * jax.vmap(add_up)(phases, outputs)

    @property
    def linear(self) -> "Bank":
        """The same circuits with exact converters and without offsets."""
        zero = jnp.zeros_like(self.v_zero)
        return Bank(self.matrix, zero, self.scale, self.sides, v_max=self.v_max)


Converting: TypeAlias = Callable[[Float[Array, "blocks 1 1"]], AbstractConverter]


def by_loops(
    blocks: Blocks,
    key: PRNGKeyArray,
    *,
    mapping: AbstractMapping,
    vary: AbstractPerturbation | None = None,
    wires: Wires | None = None,
    amplifier: Amplifier = OpAmp,
    r_in: ArrayLike = 1e5,
    encode: Callable[..., Phases] = exact,
    converter: Converting | None = None,
    v_max: float = 0.1,
) -> Bank:
    """Loops that multiply by the inverses of matrices.

    Each loop is solved once, wires and amplifiers included (`xb.response`). Applying it is then a
    product with one small matrix.

    Digital logic scales rows and columns of each matrix to a diagonal of 1 and -1, where it is not
    0. So unknowns with small entries do not drown in the errors of those with large ones.

    **Arguments:**

    - `blocks`: matrices, `(blocks, size, size)`, whose loops are stable.
    - `key`: of the programming errors, one die for all loops.
    - `mapping`: of weights to two arrays, such as `xb.DifferentialPair(1e-6, 1e-4)`; each matrix
        uses the full range.
    - `vary`: what programming does to the conductances.
    - `wires`, `amplifier`: as of `loops.inverse`.
    - `r_in`: output resistance [ohm] of the converters that drive the inputs.
    - `encode`, `v_max`: as of a `Bank`.
    - `converter`: makes the converters of the outputs from the largest voltages [V] that inputs can
        lead to, `(blocks, 1, 1)`, such as `lambda v: xb.Adc(10, -v, v)`; None is exact.

    **Returns:** a `Bank`. **Errors:** those of `xb.solve`, as for a loop that is unstable.
    """
    sides = jnp.sqrt(jnp.abs(jnp.diagonal(blocks, axis1=1, axis2=2)))
    sides = 1 / jnp.where(sides > 0, sides, 1)
    blocks = sides[:, :, None] * blocks * sides[:, None, :]
    keys = jax.random.split(key, len(blocks))
    # one by one: one compiled program serves all, in the memory of one
    solved = lambda block, key: _solved(block, key, mapping, vary, wires, amplifier, r_in)
    parts = [solved(block, key) for block, key in zip(blocks, keys)]
    found, scale = jax.tree.map(lambda *x: jnp.stack(x), *parts)
    finish(None, found.status)
    largest = v_max * jnp.max(jnp.sum(jnp.abs(found.gain), axis=2), axis=1)
    converters = None if converter is None else converter(largest[:, None, None])
    return Bank(found.gain, found.v_zero, scale, sides, encode, converters, v_max)


@eqx.filter_jit
def _solved(block, key, mapping, vary, wires, amplifier, r_in) -> tuple[Response, Array]:
    """The response of the loop of one matrix to its inputs, and the scale of its result."""
    k = mapping.siemens_per_weight(block)
    g = mapping.program(block.T, k)
    g = g if vary is None else vary(g, key)
    rest = jnp.zeros(len(block), g.dtype)
    loop = inverse(g, rest, wires=wires, amplifier=amplifier)
    made: dict[str, Any] = loop.elements | {"source": el.VoltageSource(to="e", v=rest, r=r_in)}
    return response(Circuit(**made), "source", "x"), -k * r_in


class Domains(eqx.Module):
    """Overlapping domains of the unknowns of a matrix.

    **Attributes:**

    - `nodes`: unknowns of each domain, `(domains, size)`, filled up with the number `unknowns`.
    - `owned`: whether an unknown is this domain's own, `(domains, size)`. Each unknown has one
        owner.
    - `turn`: when each domain answers, `(domains,)`. Domains of one turn share no unknown and no
        nonzero entry, and answer at the same time.
    - `unknowns`, `turns`: their numbers.
    """

    nodes: Int[Array, "domains size"]
    owned: Bool[Array, "domains size"]
    turn: Int[Array, " domains"]
    unknowns: int = eqx.field(static=True)
    turns: int = eqx.field(static=True)


def split(matrix: BCOO, most: int = 64, overlap: int = 1) -> Domains:
    """Domains of at most `most` unknowns, overlap included.

    A domain owns neighbouring unknowns. It also has all unknowns within `overlap` steps of these,
    from neighbour to neighbour by nonzero entries, which other domains own. A domain answers one
    turn after the last of the earlier domains that touch it.

    Raises `TypeError` for a matrix that is no BCOO, and `ValueError` for one that is not square or
    has an unknown with `most` others around it.
    """
    _require_square(matrix)
    n = matrix.shape[0]
    around: list[set[int]] = [{k} for k in range(n)]
    for (i, j), entry in zip(np.asarray(matrix.indices), np.asarray(matrix.data), strict=True):
        if entry and max(i, j) < n:
            around[i].add(int(j))
            around[j].add(int(i))
    near = around
    around = [{k} for k in range(n)]
    for _ in range(overlap):
        around = [set().union(*(near[j] for j in ball)) for ball in around]
    widest = max(map(len, around))
    if widest > most:
        raise ValueError(
            f"most is {most}, but an unknown of the matrix has {widest - 1} others within"
            f" overlap = {overlap} steps: raise most to {widest}, or lower overlap."
        )
    free, domains = set(range(n)), []
    while free:
        inside = lambda k: len(around[k] & free)
        first = min(free, key=lambda k: (inside(k), k))  # corners first: they leave no crumbs
        owned, whole, front = [], set(), {first}
        while front:
            k = min(front, key=lambda k: (len(around[k] - whole), inside(k), k))  # compact domains
            front.remove(k)
            if len(whole | around[k]) > most:
                break
            whole |= around[k]
            owned.append(k)
            free.remove(k)
            front |= near[k] & free
        domains.append((owned, sorted(whole - set(owned))))
    turn: list[int] = []
    wholes = [{*owned, *rest} for owned, rest in domains]
    for whole in wholes:
        reach = set().union(*(near[k] for k in whole))
        before = [at for at, other in zip(turn, wholes) if reach & other]
        turn.append(1 + max(before, default=-1))
    size = min(most, n)
    nodes = np.full((len(domains), size), n)
    own = np.zeros((len(domains), size), bool)
    for k, (owned, rest) in enumerate(domains):
        nodes[k, : len(owned) + len(rest)] = owned + rest
        own[k, : len(owned)] = True
    return Domains(
        jnp.asarray(nodes), jnp.asarray(own), jnp.asarray(turn), n, 1 + max(turn, default=-1)
    )


def blocks_of(matrix: BCOO, domains: Domains) -> Blocks:
    """The diagonal block of each domain."""
    (i, j), a = np.asarray(matrix.indices).T, np.asarray(matrix.data)
    nodes, n = np.asarray(domains.nodes), domains.unknowns
    blocks = np.zeros((*nodes.shape, nodes.shape[1]), a.dtype)
    for block, mine in zip(blocks, nodes, strict=True):
        place = np.full(n + 1, -1)
        place[mine] = np.arange(len(mine))
        place[n] = -1
        inside = (place[i] >= 0) & (place[j] >= 0)
        np.add.at(block, (place[i[inside]], place[j[inside]]), a[inside])
    return _filled(jnp.asarray(blocks))


def prolongation(matrix: BCOO, domains: Domains) -> Float[Array, "unknowns coarse"]:
    """Unknowns for a unit of each coarse unknown: 1 on the own unknowns of one domain, smoothed by
    a damped Jacobi step (smoothed aggregation: P. Vanek, J. Mandel, M. Brezina, Computing 56, 179
    (1996), doi:10.1007/BF02238511). There is one column per domain, and columns of zeros if a
    domain has more unknowns than there are domains."""
    n, (count, size) = domains.unknowns, domains.nodes.shape
    own = jnp.where(domains.owned, domains.nodes, n)
    ones = jnp.zeros((n + 1, max(count, size)), matrix.dtype)
    ones = ones.at[own, jnp.arange(count)[:, None]].set(1)[:n]
    (i, j), a = matrix.indices.T, matrix.data
    diagonal = jnp.zeros(n, matrix.dtype).at[i].add(jnp.where(i == j, a, 0))
    return ones - SMOOTHING * (matrix @ ones) / diagonal[:, None]


def _filled(blocks: Blocks) -> Blocks:
    """Matrices with their largest diagonal entry in rows of zeros, which stand for no unknown."""
    lacking = ~jnp.any(blocks != 0, axis=2)
    diagonal = jnp.abs(jnp.diagonal(blocks, axis1=1, axis2=2))
    largest = jnp.max(diagonal, axis=1, keepdims=True)
    return blocks + jax.vmap(jnp.diag)(jnp.where(lacking, largest, 0))


class Schwarz(eqx.Module):
    """An approximate inverse of a matrix: one analog inverse per domain, and a coarse one.

    In each turn, its domains solve for what is left, `r - A z`, at their unknowns, and add the
    answers to `z`. After all turns, what is left is brought to the coarse unknowns by the
    transposed prolongation, and the coarse inverse corrects `z`. Then the turns follow once more,
    the last one first. If the matrix is symmetric and positive definite and the inverses are exact,
    the approximate inverse is so, too.

    Calling it with a residual, `(unknowns,)`, gives `z`. With converters, this is no linear
    function: use it in a flexible method, such as FGMRES (Y. Saad, SIAM J. Sci. Comput. 14, 461
    (1993), doi:10.1137/0914028). `operator` is its linear part.

    **Attributes:** `matrix`; `domains`; `local`: a `Bank`; `prolongation`: `(unknowns, coarse)`
    and `coarse`: a `Bank` of one matrix, both None without a coarse matrix.
    """

    matrix: BCOO
    domains: Domains
    local: Bank
    prolongation: Float[Array, "unknowns coarse"] | None
    coarse: Bank | None

    def __call__(self, r: Float[Array, " unknowns"]) -> Float[Array, " unknowns"]:
        domains = self.domains
        nodes, n = domains.nodes, domains.unknowns

        def corrected(z, now):
            answers = self.local(jnp.append(r - self.matrix @ z, 0)[nodes]).astype(z.dtype)
            answers = jnp.where((domains.turn == now)[:, None], answers, 0)
            return jnp.append(z, 0).at[nodes].add(answers)[:n], None

        turns = jnp.arange(domains.turns)
        z, _ = lax.scan(corrected, jnp.zeros_like(r), turns)
        if self.prolongation is not None and self.coarse is not None:
            left = self.prolongation.T @ (r - self.matrix @ z)
            z = z + (self.prolongation @ self.coarse(left[None])[0]).astype(z.dtype)
        return lax.scan(corrected, z, turns[::-1])[0]

    @property
    def operator(self) -> lx.FunctionLinearOperator:
        """The linear part, without offsets and the rounding of converters, as a preconditioner of
        lineax's methods."""
        like = jax.ShapeDtypeStruct((self.domains.unknowns,), self.matrix.dtype)
        zero = jnp.zeros(like.shape, like.dtype)
        coarse = None if self.coarse is None else self.coarse.linear
        plain = Schwarz(self.matrix, self.domains, self.local.linear, self.prolongation, coarse)
        return lx.FunctionLinearOperator(lambda r: jax.jvp(plain, (zero,), (r,))[1], like)


def schwarz(
    matrix: BCOO,
    invert: Callable[[Blocks, PRNGKeyArray], Bank],
    key: PRNGKeyArray,
    *,
    most: int = 64,
    overlap: int = 1,
    coarse: bool = True,
) -> Schwarz:
    """An approximate inverse of a sparse matrix by analog inverses of its domains.

    **Arguments:**

    - `matrix`: `(unknowns, unknowns)`, such as `BCOO.from_scipy_sparse(a)`.
    - `invert`: makes a `Bank` of inverses from matrices and a key: `by_loops`, with its other
        arguments by `functools.partial`.
    - `key`: of the programming errors.
    - `most`: largest number of unknowns of a domain: lines of an array.
    - `overlap`: layers of unknowns around those that a domain owns.
    - `coarse`: whether to have a coarse matrix, with one unknown per domain.

    **Returns:** a `Schwarz`. **Errors:** those of `split` and of `invert`.
    """
    domains = split(matrix, most, overlap)
    here, there = jax.random.split(key)
    local = invert(blocks_of(matrix, domains), here)
    if not coarse:
        return Schwarz(matrix, domains, local, None, None)
    p = prolongation(matrix, domains)
    return Schwarz(matrix, domains, local, p, invert(_filled((p.T @ (matrix @ p))[None]), there))


def _require_square(matrix: BCOO) -> None:
    if not isinstance(matrix, BCOO):
        raise TypeError(
            f"matrix is {described(matrix)}; pass a jax.experimental.sparse.BCOO, such as"
            " BCOO.from_scipy_sparse(a)."
        )
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix has shape {matrix.shape}; it must be square.")
