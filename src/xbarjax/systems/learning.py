"""Linear models that loops of arrays learn in one step: the data are the conductances."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .._types import as_physical
from ..analyses.response import response
from ..elements import OpAmp
from ..programming.mapping import AbstractMapping
from ..solvers import AutoLadder, Solver
from ..variability import AbstractPerturbation
from ..wires import Wires
from .loops.equations import Amplifier, least_squares

__all__ = ["classifier", "regression"]


def __dir__() -> list[str]:
    return __all__


def regression(
    features: ArrayLike,
    targets: ArrayLike,
    *,
    mapping: AbstractMapping,
    vary: AbstractPerturbation | None = None,
    key: PRNGKeyArray | None = None,
    wires: Wires | None = None,
    amplifier: Amplifier = OpAmp,
    integrator: Amplifier | None = None,
    r_feedback: ArrayLike = 1e4,
    solver: Solver = AutoLadder(),
) -> Float[Array, "features outputs"]:
    """Weights that a loop fits: `w` minimises `|X w - t|`, up to wires, gain and programming.

    The features are programmed into both arrays of `loops.least_squares`; targets are currents into
    the loop. One solution of the loop (`xb.response`) gives the weights of all outputs.

    **Arguments:**

    - `features`: `X`, `(samples, features)`, of full column rank.
    - `targets`: `t`, `(samples, outputs)`.
    - `mapping`: of features to two arrays, such as `xb.DifferentialPair(1e-6, 1e-4)`.
    - `vary`, `key`: what programming does to the conductances, on which die.
    - `wires`, `amplifier`, `integrator`, `r_feedback`: as of `loops.least_squares`.
    - `solver`: as of `xb.solve`.

    **Returns:** weights, `(features, outputs)`. **Errors:** `ValueError` for targets of another
    number of samples; those of `xb.solve`.
    """
    x, t = (
        as_physical(features, "features", whole=True),
        as_physical(targets, "targets", whole=True),
    )
    if x.ndim != 2 or t.ndim != 2 or x.shape[0] != t.shape[0]:
        raise ValueError(
            f"features have shape {x.shape} and targets {t.shape}; they must be (samples, features)"
            " and (samples, outputs)."
        )
    k = mapping.siemens_per_weight(x)
    g = mapping.program(x, k)
    if vary is not None:
        if key is None:
            raise ValueError("key is None, but vary draws random numbers: pass jax.random.key(0).")
        g = vary(g, key)
    rest = jnp.zeros(x.shape[0], g.dtype)
    loop = least_squares(
        g,
        rest,
        r_feedback=r_feedback,
        wires=wires,
        amplifier=amplifier,
        integrator=integrator,
    )
    found = response(loop, "source", "x", solver=solver)
    return -k * found.gain @ t.astype(g.dtype)


def classifier(
    features: ArrayLike, labels: ArrayLike, classes: int, **hardware
) -> Float[Array, "features classes"]:
    """Weights of a linear classifier that a loop learns in one step.

    It is the regression of targets that are 1 for the class of a sample and -1 for all others. The
    class of a sample is the largest entry of its features times the weights. (Z. Sun, G. Pedretti,
    A. Bricalli, D. Ielmini, Sci. Adv. 6, eaay2378 (2020), doi:10.1126/sciadv.aay2378, who train
    logistic regression so, with the pseudoinverse of the data.)

    **Arguments:** as of `regression`, with

    - `features`: `(samples, features)`, with a column of ones for the bias.
    - `labels`: `(samples,)` whole numbers from 0.
    - `classes`: their number.

    **Returns:** weights, `(features, classes)`.
    """
    targets = 2 * jax.nn.one_hot(jnp.asarray(labels), classes) - 1
    return regression(features, targets, **hardware)
