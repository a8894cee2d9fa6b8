"""Analog loops as preconditioners: iterations of FGMRES, against ILU(0).

    python -m experiments.preconditioner.run

Matrices of up to 2304 unknowns are split into domains of at most 64 unknowns, which overlap by one
layer. Each has an analog inverse, and a coarse matrix with one unknown per domain has one more. The
domains answer one after another, forwards before the coarse matrix and backwards after it; those
that do not touch answer in the same turn (`xb.systems.preconditioner`). Cells of 1 to 100 uS, wires
of 1 ohm per segment, amplifiers with a gain of 1e5, inputs of 8 bits in two slices, outputs of 10
bits. Programming errors are normal, 1 % of each conductance (or 1 % of the range, for all cells
alike, where the table says so).

- loops: each block in the feedback of amplifiers, which solve with it.
- arrays: the inverse of each block, computed digitally, as conductances of an array that is read.
- digital: exact inverses of the same blocks.
- one level: loops without the coarse matrix.
- 12 bits: loops with inputs of 12 bits in three slices and outputs of 12 bits.
- ILU(0): incomplete LU factors without fill, of the whole matrix.

Iterations are those to a residual of 1e-8 of the right-hand side, medians of three random ones, by
`pyamg.krylov.fgmres` without restart. In an iteration, every loop answers twice, and what is left
is formed anew before every turn, for the unknowns of its domains. `products` counts the entries of
the sparse matrix that this takes, over all of its entries.
"""

import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.experimental.sparse import BCOO
from matplotlib.figure import Figure
from pyamg import gallery
from pyamg.krylov import fgmres
from rich.console import Console
from rich.table import Table
from scipy.sparse.linalg import LinearOperator
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph

import xbarjax as xb
from xbarjax.systems import preconditioner as analog
from xbarjax.variability.programming import Programming

from ..common import keep
from . import ilu

HERE = Path(__file__).parent
LOW, HIGH, WIRE, GAIN, ERROR = 1e-6, 1e-4, 1.0, 1e5, 0.01
R_FEEDBACK, V_MAX = 1e4, 0.1  # of the amplifiers that read arrays [ohm], and of the inputs [V]
RTOL, SIDES = 1e-8, 3
PAIR = xb.DifferentialPair(LOW, HIGH)
WIRES = xb.Wires(WIRE, WIRE)
ENCODE = partial(xb.encoding.sliced, bits=8, slices=(4, 4))
FINE = partial(xb.encoding.sliced, bits=12, slices=(4, 4, 4))
OF_EACH = Programming(jnp.asarray([0.0, ERROR * HIGH]), HIGH)
OF_RANGE = Programming(jnp.asarray([ERROR * (HIGH - LOW)]), HIGH)
LOOPS, ARRAYS, FINER = "loops", "arrays", "12 bits"


def converter(v: jax.Array, bits: int = 10) -> xb.Adc:
    return xb.Adc(bits, -v, v)


loops = partial(
    analog.by_loops,
    mapping=PAIR,
    wires=WIRES,
    amplifier=partial(xb.elements.OpAmp, gain=GAIN),
    encode=ENCODE,
    converter=converter,
    v_max=V_MAX,
)


@jax.jit
def effective(weights: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Currents per volt [S] of pairs of arrays with wires, and siemens per weight."""
    crossbar = lambda g: xb.Crossbar(xb.Ohmic(g), WIRES)
    plus, minus = (xb.transfer(crossbar(side)) for side in g)
    return plus - minus, PAIR.siemens_per_weight(weights)


def by_arrays(blocks: jax.Array, key: jax.Array, *, vary: Programming) -> analog.Bank:
    """Arrays whose conductances are the inverses of matrices, read by amplifiers."""
    weights = jnp.swapaxes(jnp.linalg.inv(blocks), 1, 2)
    g = jax.vmap(lambda w: PAIR.program(w, PAIR.siemens_per_weight(w)))(weights)
    g = vary(g, key)
    parts = [effective(*given) for given in zip(weights, g, strict=True)]
    found, k = (jnp.stack(x) for x in zip(*parts, strict=True))
    matrix = R_FEEDBACK * jnp.swapaxes(found, 1, 2)
    v = V_MAX * jnp.max(jnp.sum(jnp.abs(matrix), axis=2), axis=1)[:, None, None]
    zero = jnp.zeros(matrix.shape[:2])
    return analog.Bank(matrix, zero, 1 / (k * R_FEEDBACK), zero + 1, ENCODE, converter(v), V_MAX)


def digital(blocks: jax.Array, key: jax.Array) -> analog.Bank:
    zero = jnp.zeros(blocks.shape[:2])
    return analog.Bank(jnp.linalg.inv(blocks), zero, jnp.ones(len(blocks)), zero + 1, v_max=1.0)


def neighbours() -> sp.csr_matrix:
    """Laplacian of the graph that joins each of 600 digits of scikit-learn with the five nearest to
    it, with 0.01 on the diagonal (as in spectral clustering and semi-supervised learning)."""
    near = kneighbors_graph(load_digits().data[:600], 5)
    joined = ((near + near.T) > 0).astype(float)
    degrees = sp.diags(np.ravel(joined.sum(axis=1)))
    return sp.csr_matrix(degrees - joined + 0.01 * sp.eye(600))


def shipped(name: str) -> sp.csr_matrix:
    """A matrix that pyamg ships, without the zeros that it stores."""
    found = sp.csr_matrix(gallery.load_example(name)["A"])
    found.eliminate_zeros()
    return found


def bilinear(n: int) -> sp.csr_matrix:
    stencil = gallery.diffusion_stencil_2d(epsilon=1.0, theta=0.0, type="FE")
    return gallery.stencil_grid(stencil, (n, n), format="csr")


MATRICES: dict[str, Callable[[], sp.csr_matrix]] = {
    "Poisson 32 x 32": lambda: gallery.poisson((32, 32), format="csr"),
    "Poisson 48 x 48": lambda: gallery.poisson((48, 48), format="csr"),
    "bilinear elements 40 x 40": lambda: bilinear(40),
    "neighbours of digits": neighbours,
    "knot": lambda: shipped("knot"),
    "airfoil": lambda: shipped("airfoil"),
    "recirculating flow": lambda: shipped("recirc_flow"),
}


def residuals(matrix, apply: Callable[[np.ndarray], np.ndarray], seed: int) -> list[float]:
    """Residuals of FGMRES over those at the start, one per iteration."""
    n, seen = matrix.shape[0], []
    b = np.random.default_rng(seed).normal(size=n)
    m = LinearOperator((n, n), matvec=lambda r: apply(np.ravel(r)), dtype=float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a cycle of n iterations
        x, _ = fgmres(matrix, b, tol=RTOL, restart=n, maxiter=1, M=m, residuals=seen)
    left = np.linalg.norm(b - matrix @ x) / np.linalg.norm(b)
    assert left < 1.01 * RTOL, left
    return [float(x / seen[0]) for x in seen]


def histories(matrix, apply) -> list[list[float]]:
    return [residuals(matrix, apply, seed) for seed in range(SIDES)]


def applied(schwarz: analog.Schwarz) -> Callable[[np.ndarray], np.ndarray]:
    apply = eqx.filter_jit(lambda schwarz, r: schwarz(r))
    return lambda r: np.asarray(apply(schwarz, r))


def case(name: str, console: Console) -> dict:
    """Histories of all preconditioners of one matrix."""
    matrix = MATRICES[name]()
    key, sparse = jax.random.key(0), BCOO.from_scipy_sparse(matrix)
    build = lambda invert: analog.schwarz(sparse, invert, key)
    found = {"ILU(0)": histories(matrix, ilu.preconditioner(matrix))}
    exact = build(digital)
    found["digital"] = histories(matrix, applied(exact))
    for words, vary in (("", OF_EACH), (", 1 % of range", OF_RANGE)):
        made = build(partial(loops, vary=vary))
        found[LOOPS + words] = histories(matrix, applied(made))
        if not words:
            alone = analog.Schwarz(sparse, made.domains, made.local, None, None)
            found["one level"] = histories(matrix, applied(alone))
            finer = partial(loops, vary=vary, encode=FINE, converter=partial(converter, bits=12))
            found[FINER] = histories(matrix, applied(build(finer)))
        made = build(partial(by_arrays, vary=vary))
        found[ARRAYS + words] = histories(matrix, applied(made))
        if not name.startswith("Poisson 32"):
            break
    console.print(name, {arm: [len(x) - 1 for x in runs] for arm, runs in found.items()})
    return {
        "matrix": name,
        "unknowns": matrix.shape[0],
        "entries": matrix.nnz,
        "domains": len(exact.domains.nodes),
        "turns": exact.domains.turns,
        "products": products(matrix, exact.domains),
        "iterations": {arm: [len(x) - 1 for x in runs] for arm, runs in found.items()},
        "residuals": {arm: runs[0] for arm, runs in found.items()},
    }


def products(matrix: sp.csr_matrix, domains: analog.Domains) -> float:
    """Entries of the matrix that one application of the preconditioner multiplies, over all."""
    nodes = np.asarray(domains.nodes)
    asked = np.diff(matrix.indptr)[nodes[nodes < domains.unknowns]].sum()
    return float(2 * asked / matrix.nnz + 1)


def median(case: dict, arm: str) -> float:
    return float(np.median(case["iterations"][arm]))


def figure(cases: list[dict]) -> Figure:
    made = Figure(figsize=(9, 4), layout="constrained")
    left, right = made.subplots(1, 2)
    styles = {"ILU(0)": ("0.6", "-"), LOOPS: ("0", "-"), ARRAYS: ("0", "--"), "digital": ("0", ":")}
    for arm, (color, line) in styles.items():
        left.plot(cases[0]["residuals"][arm], line, color=color, label=arm)
    left.set(
        yscale="log",
        xlabel="iterations of FGMRES",
        ylabel="residual over that at the start [1]",
        title=cases[0]["matrix"],
    )
    left.legend()
    names = [case["matrix"] for case in cases]
    for arm, mark in ((LOOPS, "o"), (ARRAYS, "x"), ("one level", "^")):
        part = [median(case, arm) / median(case, "ILU(0)") for case in cases]
        right.plot(part, range(len(cases)), mark, color="0", mfc="none", label=arm)
    right.axvline(0.5, color="0.6", lw=1, label="half of ILU(0)")
    right.axvline(1.0, color="0.6", lw=1, ls="--", label="ILU(0)")
    right.set(xlabel="iterations over those with ILU(0) [1]", xlim=(0, None))
    right.set_yticks(range(len(cases)), names)
    right.invert_yaxis()
    right.legend()
    return made


def main() -> None:
    began, console = time.perf_counter(), Console()
    jax.config.update("jax_enable_x64", True)
    cases = [case(name, console) for name in MATRICES]
    arms = list(cases[0]["iterations"])
    sizes = "unknowns", "domains", "turns"
    table = Table("matrix", *sizes, "products", *arms, "loops over ILU(0)")
    for one in cases:
        shown = [f"{median(one, arm):g}" if arm in one["iterations"] else "" for arm in arms]
        part = median(one, LOOPS) / median(one, "ILU(0)")
        counts = [str(one[size]) for size in sizes]
        table.add_row(one["matrix"], *counts, f"{one['products']:.1f}", *shown, f"{part:.2f}")
    console.print(table)
    console.print(keep(HERE, {"cases": cases}, figure(cases), began))


if __name__ == "__main__":
    main()
