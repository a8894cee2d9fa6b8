"""Which reads to make next: those after which least is unknown of what is wanted."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .._types import promoting, require_positive
from .measured import Measured, width
from .predict import by_admittance, predicted
from .problem import Problem
from .twin import Twin
from .uncertainty import EXACT

UNKNOWN = 1e6  # deviations, in units of the largest one, of a direction that no read shows
RATE = 0.1  # of the descent


class NextReads(eqx.Module):
    """Reads that tell most.

    **Attributes:**

    - `v_row`, `v_col`: voltages [V] of the near ends of the lines, `(reads, lines)` and
        `(reads, cols)`, as for `Measured`.
    - `before`, `after`: root of the sum of the variances of what is wanted, now and as expected
        after these reads.
    - `history`: `after` at every step of the search.
    """

    v_row: Float[Array, "reads lines"]
    v_col: Float[Array, "reads cols"]
    before: Float[Array, ""]
    after: Float[Array, ""]
    history: Float[Array, " steps"]


def next_reads(
    twin: Twin,
    count: int,
    v_max: float,
    *,
    drive: tuple[str, ...] = ("row",),
    wanted: Callable[[Any], Any] | None = None,
    steps: int = 300,
    seed: int = 0,
) -> NextReads:
    """Inputs of `count` further reads, chosen by gradient descent on what they would leave unknown.

    With the covariance `C` of the parameters of a twin, reads with the Jacobian `J` and noise of
    variance `S` leave

        C - C J^T (S + J C J^T)^-1 J C,

    and what is wanted has the variance that the linearised function makes of it (A-optimal design:
    F. Pukelsheim, Optimal Design of Experiments, SIAM, 2006, doi:10.1137/1.9780898719109). The same
    is sensed, with the same noise, as in the first `Measured` of the twin.

    **Arguments:**

    - `twin`: a `Twin` of an array of ohmic cells with at most 600 parameters. A few reads or a
        `sigma` for what is unknown are enough to begin with.
    - `count`: number of reads; `v_max`: largest voltage [V] of a terminal, of either sign.
    - `drive`: the near ends to drive, `"row"`, `"col"` or both; others stay at 0 V.
    - `wanted`: function of the crossbar whose variances are summed; by default all unknown
        numbers, in units of the mean of their kind. For products after compensation it is the
        product itself, such as `lambda c: v @ xb.transfer(c)`: compensation makes it right for the
        twin, so that what is unknown of it is the error.
    - `steps`: of Adam; `seed`: of the inputs from which it starts.

    **Returns:** a `NextReads`.

    **Errors:** `ValueError` for a twin of nonlinear cells or too many parameters, another `drive`,
    and counts below 1.
    """
    problem, template = twin.problem, twin.problem.measured[0]
    if not by_admittance(problem.crossbar, template):
        raise ValueError(
            "twin has nonlinear cells, a nonlinear readout, straps or parallel source lines:"
            " next_reads needs an array whose reads add up."
        )
    size = sum(x.size for x in twin.u)
    if size > EXACT:
        raise ValueError(
            f"twin has {size} parameters, and next_reads writes out the covariance of at most"
            f" {EXACT}: tie some, or plan for a smaller array with the same wires."
        )
    if not drive or set(drive) - {"row", "col"}:
        raise ValueError(f"drive is {drive!r}; name 'row', 'col' or both.")
    for name, x in (("count", count), ("steps", steps)):
        if x < 1:
            raise ValueError(f"{name} is {x}; it must be at least 1.")
    require_positive(jnp.asarray(v_max), "v_max", "V")
    v, before, history = _chosen(
        problem, twin.spread, twin.unseen, v_max, jnp.asarray(seed), count, drive, wanted, steps
    )
    lines = problem.crossbar.lines
    v_row, v_col = _voltages(v, drive, lines, problem.crossbar.shape[1])
    return NextReads(v_row, v_col, before, history[-1], history)


def _voltages(v: Array, drive: tuple[str, ...], lines: int, cols: int) -> tuple[Array, Array]:
    """Voltages [V] of rows and columns from those of the driven ends."""
    still = lambda n: jnp.zeros((v.shape[0], n), v.dtype)
    if drive == ("row",):
        return v, still(cols)
    if drive == ("col",):
        return still(lines), v
    return v[:, :lines], v[:, lines:]


@eqx.filter_jit
def _chosen(
    problem: Problem,
    spread,
    unseen,
    v_max,
    seed,
    count: int,
    drive: tuple[str, ...],
    wanted: Callable | None,
    steps: int,
):
    template, crossbar = problem.measured[0], problem.crossbar
    lines, (_, cols) = crossbar.lines, crossbar.shape
    start, dtype = problem.start, spread.dtype
    flat, unravel = ravel_pytree(start)
    ends = lines * ("row" in drive) + cols * ("col" in drive)

    # reads add up: the Jacobian of any read follows from those with 1 V at one end alone
    units = jnp.concatenate([jnp.zeros((1, ends), dtype), jnp.eye(ends, dtype=dtype)])
    v_row, v_col = _voltages(units, tuple(sorted(drive, reverse=True)), lines, cols)
    blank = {k: jnp.zeros((ends + 1, width(crossbar, k)), dtype) for k in template.sensed}
    reads = Measured(v_row, blank, v_col=v_col, open_ends=template.open_ends)

    def seen(flat):
        found, _ = predicted(problem.at(unravel(flat)), reads, problem.solver, problem.ends[0])
        sigma = {k: jnp.sqrt(jnp.mean(x**2)) for k, x in template.sigma.items()}  # pyright: ignore
        return jnp.concatenate([found[k] / sigma[k] for k in sorted(found)], axis=1)

    largest = jnp.max(jnp.abs(spread)) * UNKNOWN
    directions = jnp.concatenate([spread, largest * unseen])
    _, forward = jax.linearize(seen, flat)
    every = lax.map(forward, directions)  # (directions, ends + 1, outputs)
    still, each = every[:, 0], every[:, 1:] - every[:, :1]

    def relative(u):
        """The unknown numbers, those of an unknown in units of their mean size."""
        means = [p.means(p.values(x)) for p, x in zip(problem.parameters, u)]
        sizes = [lax.stop_gradient(jnp.mean(jnp.abs(x))) for x in means]
        return [x / jnp.where(size > 0, size, 1) for x, size in zip(means, sizes)]

    function = relative if wanted is None else lambda u: wanted(problem.at(u))
    _, push = jax.linearize(lambda flat: ravel_pytree(function(unravel(flat)))[0], flat)
    w = lax.map(push, directions)  # (directions, wanted)

    def left(v):
        """Root of the summed variances after reads at voltages `v` [V], (reads, ends)."""
        j = (still[:, None] + jnp.einsum("ke,seo->sko", v, each)).reshape(len(directions), -1)
        # in the basis of the directions, in which the covariance is 1
        information = jnp.eye(len(directions), dtype=dtype) + j @ j.T
        factor = jnp.linalg.cholesky(information)
        rest = jax.scipy.linalg.solve_triangular(factor, w, lower=True)
        return jnp.sqrt(jnp.sum(rest**2))

    volts = lambda z: v_max * jnp.tanh(z)
    optimiser = optax.adam(RATE)

    def step(carry, _):
        z, state = carry
        value, slope = jax.value_and_grad(lambda z: jnp.log(left(volts(z))))(z)
        with promoting():
            updates, state = optimiser.update(slope, state, z)
            return (optax.apply_updates(z, updates), state), jnp.exp(value)

    z = jax.random.normal(jax.random.key(seed), (count, ends), dtype)
    (z, _), history = lax.scan(step, (z, optimiser.init(z)), length=steps)
    v = volts(z)
    history = jnp.append(history, left(v))
    return v, left(jnp.zeros_like(v)), history
