"""Compensation of IR drop: conductances with which the real array multiplies by the wanted matrix.

With wires, an array of conductances `g` has an effective matrix `T(g)` that differs from `g`.
Compensation finds conductances within bounds and one digital gain per column such that

    combine(T(g))[i, j] = gain[j] (zero + k weights[i, j]).

Outputs divided by `gain`, less the share of `zero` (of a `DigitalOffset`), and divided by `k` are
then products with `weights`. A closed loop has an effective matrix, too: that of the system which
it solves (`InverseLoop`). A gain below 1 gives up a part of a column's range: a column that cannot
reach its full-scale target can reach a smaller one.
"""

import abc
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optax
from jax import lax
from jaxtyping import PRNGKeyArray

from .._types import (
    PerCell,
    PerCol,
    Scalar,
    Values,
    as_physical,
    between,
    promoting,
    require_finite,
)
from ..crossbar import Crossbar
from ..solvers import AutoLadder
from .mapping import AbstractMapping, Stack
from .missed import Tried, advice, stalled
from .target import AbstractHardware, OpenArrays, Problem, Report

OnStep = Callable[[int, float], None]


class AbstractMethod(eqx.Module):
    """Compensation method: from a problem to conductances, gains and the error at each step."""

    rtol: eqx.AbstractVar[float]

    @abc.abstractmethod
    def run(self, problem: Problem, on_step: OnStep) -> tuple[Stack, PerCol, list[float]]:
        """Conductances [S] `(arrays, rows, physical)`, gains `(cols,)`, and the error after each
        step."""


class Compensation(eqx.Module):
    """Compensated conductances and their accuracy.

    **Attributes:**

    - `g`: conductances [S] of the physical arrays, `(arrays, rows, physical)`.
    - `gain`, `(cols,)`, and `k` [S per unit of weight]: a product is
        `(mapping.combine(i_out) / gain - mapping.zero sum(v_in)) / k`.
    - `before`, `after`: `Report` of the plain mapping, and of `g`.
    - `history`: relative rms error (or loss) after each step.
    - `reached`: whether the tolerance of the method was met.
    - `advice`: if not, the cause and its remedy.
    """

    g: Stack
    gain: PerCol
    k: Scalar
    before: Report
    after: Report
    history: Sequence[float] = eqx.field(static=True)
    reached: bool = eqx.field(static=True)
    advice: str = eqx.field(static=True, default="")

    def summary(self) -> str:
        """Summary of both reports in words."""
        before, after = self.before, self.after
        lines = [
            f"relative rms error of the weights: {float(before.rms):.2e} before,"
            f" {float(after.rms):.2e} after {len(self.history)} steps",
            f"worst column: {float(jnp.max(before.error)):.2e} before,"
            f" {float(jnp.max(after.error)):.2e} after",
            f"column gains {float(jnp.min(self.gain)):.3f} to {float(jnp.max(self.gain)):.3f};"
            f" range used {float(jnp.min(after.used)):.0%} to {float(jnp.max(after.used)):.0%}",
            f"saturated cells: {int(jnp.sum(after.saturated))} of {after.saturated.size}",
        ]
        if not self.reached:
            lines.append(
                "The target was not reached: these are the best conductances found within their"
                f" bounds. {self.advice}"
            )
        return "\n".join(lines)


class FixedPoint(AbstractMethod):
    """Quasi-Newton fixed point on the effective matrix.

    Each cell moves by the error of its weight divided by its attenuation `slope = T / g`, the
    fraction of its conductance that the wires leave. Up to sneak paths, `slope` is the diagonal of
    the Jacobian `dT/dg`. In a loop, whose arrays are not seen one by one, it is 1: a step then
    leaves the part `1 - T / g` of an error. With free gains, each column is scaled so that its
    largest cell just fits.

    **Arguments:**

    - `rtol`: relative rms error of the weights at which to stop.
    - `max_steps`: largest number of steps; each step is one `transfer` per array, or one loop.
    - `free_gain`: whether columns may have a gain below 1; if not, cells are clipped.
    """

    rtol: float = eqx.field(static=True, default=1e-9)
    max_steps: int = eqx.field(static=True, default=60)
    free_gain: bool = eqx.field(static=True, default=True)

    def run(self, problem: Problem, on_step: OnStep) -> tuple[Stack, PerCol, list[float]]:
        g = problem.mapping.program(problem.weights, problem.k)
        gain = jnp.ones(problem.weights.shape[1], g.dtype)
        best, history, settled = (g, gain, jnp.inf), [], jnp.array(False)
        for step in range(self.max_steps):
            effective, slope = problem.effective(g)
            next_g, next_gain, rms = _fixed_point_step(
                problem.mapping, problem.wanted, effective, slope, g, gain, settled, self.free_gain
            )
            still = jnp.max(jnp.abs(next_gain / gain - 1)) < 1e-3
            settled = settled | still | (step + 1 >= SETTLE)
            history.append(float(rms))
            on_step(step, history[-1])
            if history[-1] < best[2]:
                best = g, gain, history[-1]
            if history[-1] <= self.rtol or stalled(history, SETTLE + 6):
                break
            g, gain = next_g, next_gain
        return best[0], best[1], history


SETTLE = 12  # steps after which gains may only shrink, unless they come to rest before
MARGIN = 0.999  # fraction of the range, so that a column's largest cell stays free to move


@eqx.filter_jit
def _fixed_point_step(
    mapping, wanted, effective, slope, g: Stack, gain: PerCol, settled, free_gain: bool
):
    """Next conductances and gains, and the relative rms error of the present ones."""
    rms = jnp.linalg.norm(effective / gain[None] - wanted) / jnp.linalg.norm(wanted - mapping.zero)
    if free_gain:
        used = mapping.used(mapping.move(g, gain[None] * wanted - effective, slope)) / MARGIN
        shrink_only = jnp.where(used > 1 / MARGIN, 1 / used, 1)
        gain = jnp.minimum(gain * jnp.where(settled, shrink_only, used**-0.5), 1)
    moved = mapping.move(g, gain[None] * wanted - effective, slope)
    return jnp.clip(moved, mapping.g_min, mapping.g_max), gain, rms


class Descent(AbstractMethod):
    """Gradient descent through the exact arrays, with optax.

    Conductances are `g_min + (g_max - g_min) sigmoid(z)`, which keeps the bounds by construction,
    and gains are `exp(theta)`. The two sides of a pair move independently: the common mode is free.

    **Arguments:**

    - `loss`: function from the weights that the arrays compute with, `(rows, cols)`, to a scalar;
        by default their relative rms error.
    - `programming`: `(g, key) -> g`, the effect of programming on conductances (`Spread`, `Levels`,
        or a composition). The result then fits what programming can write.
    - `draws`: number of programmings over which a step averages; `fresh_draws`: whether each step
        draws new ones. With fresh draws the last step is the result, otherwise the best step.
    - `start`: method that gives the starting point, by default 20 steps of a `FixedPoint`. The
        result is never worse than the starting point.
    - `optimiser`: optax transformation; `max_steps`: step limit; `seed`: seed of the draws.
    - `rtol`: loss at which to stop.
    - `free_gain`: whether columns may have a gain of their own.
    """

    loss: Callable[[PerCell], Scalar] | None = None
    programming: Callable[[Stack, PRNGKeyArray], Stack] | None = None
    start: AbstractMethod | None = None
    optimiser: optax.GradientTransformation = eqx.field(
        static=True, default_factory=lambda: optax.adam(2e-2)
    )
    max_steps: int = eqx.field(static=True, default=200)
    draws: int = eqx.field(static=True, default=1)
    fresh_draws: bool = eqx.field(static=True, default=True)
    rtol: float = eqx.field(static=True, default=1e-6)
    free_gain: bool = eqx.field(static=True, default=True)
    seed: int = eqx.field(static=True, default=0)

    def run(self, problem: Problem, on_step: OnStep) -> tuple[Stack, PerCol, list[float]]:
        start = self.start or FixedPoint(rtol=1e-4, max_steps=20, free_gain=self.free_gain)
        g, gain, _ = start.run(problem, on_step)
        fresh = self.programming is not None and self.fresh_draws
        key = lambda step: jax.random.fold_in(jax.random.key(self.seed), step if fresh else 0)
        begun = float(_loss(self, problem, g, gain, key(self.max_steps)))
        parameters = _to_free(problem.mapping, g), jnp.log(gain)
        state = self.optimiser.init(parameters)
        best, history = (g, gain, begun), []
        for step in range(self.max_steps):
            next_parameters, state, loss = _descent_step(
                self, problem, parameters, state, key(step)
            )
            history.append(float(loss))
            on_step(step, history[-1])
            # losses on different draws do not tell which step was the best
            if history[-1] < best[2] or fresh:
                best = *_from_free(problem.mapping, parameters), history[-1]
            if history[-1] <= self.rtol or stalled(history, 0, window=50):
                break
            parameters = next_parameters
        if fresh and float(_loss(self, problem, *best[:2], key(self.max_steps))) > begun:
            best = g, gain, begun
        return best[0], best[1], history


def _to_free(mapping: AbstractMapping, g: Stack) -> Stack:
    part = (g - mapping.g_min) / (mapping.g_max - mapping.g_min)
    return jax.scipy.special.logit(jnp.clip(part, 1e-3, 1 - 1e-3))  # bounds are at infinity


def _from_free(mapping: AbstractMapping, parameters) -> tuple[Stack, PerCol]:
    z, theta = parameters
    return between(mapping.g_min, mapping.g_max, jax.nn.sigmoid(z)), jnp.exp(theta)


@eqx.filter_jit
def _loss(method: Descent, problem: Problem, g: Stack, gain: PerCol, key) -> Scalar:
    weights = problem.weights
    if not method.free_gain:
        gain = lax.stop_gradient(gain)

    def one(key):
        programmed = g if method.programming is None else method.programming(g, key)
        products = problem.products(programmed, gain)
        if method.loss is not None:
            return method.loss(products)
        return jnp.sqrt(jnp.mean((products - weights) ** 2) / jnp.mean(weights**2))

    if method.programming is None:
        return one(key)
    return jnp.mean(lax.map(one, jax.random.split(key, method.draws)))


@eqx.filter_jit
def _descent_step(method: Descent, problem: Problem, parameters, state, key):
    loss = lambda parameters: _loss(method, problem, *_from_free(problem.mapping, parameters), key)
    value, gradient = jax.value_and_grad(loss)(parameters)
    with promoting():
        updates, state = method.optimiser.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, value


def _tried(method: AbstractMethod, after: Report, history: list[float]) -> Tried:
    known = isinstance(method, (FixedPoint, Descent))
    return Tried(
        method.rtol,
        history,
        method.max_steps if known else None,
        not known or method.free_gain,
        isinstance(method, Descent) and method.programming is not None,
        bool(jnp.any(after.saturated)),
    )


def compensate(
    weights: Values,
    mapping: AbstractMapping,
    build: Callable[[PerCell], Crossbar] | AbstractHardware,
    *,
    scale: float = 1.0,
    method: AbstractMethod | None = None,
    solver: lx.AbstractLinearSolver = AutoLadder(),
    on_step: OnStep | None = None,
) -> Compensation:
    """Compensated conductances, with which arrays or a loop compute with `weights`, wires included.

    **Arguments:**

    - `weights`: wanted matrix, `(rows, cols)`.
    - `mapping`: mapping of weights to conductances, for example `DifferentialPair(g_min, g_max)`.
    - `build`: function from conductances `(rows, physical)` to an array, for example
        `lambda g: Crossbar(Ohmic(g), Wires(1.0, 1.0))`; or an `InverseLoop`, which solves with the
        matrix instead of multiplying by it.
    - `scale`: fraction of the range for the largest weight, in (0, 1].
    - `method`: `FixedPoint()` (the default) or `Descent()`.
    - `solver`: linear solver of the networks; the default is that of `transfer`.
    - `on_step`: function called with each step's number and error, for progress.

    **Returns:** a `Compensation`. If the target cannot be reached, the result says so and holds the
    best answer within the bounds.

    **Errors:** `ValueError` for weights that are no finite matrix or all 0, or another scale.
    """
    weights = as_physical(weights, "weights", whole=True)
    if weights.ndim != 2 or 0 in weights.shape:
        raise ValueError(f"weights has shape {weights.shape}; it must be (rows, cols).")
    require_finite(weights, "weights", "")
    if not 0 < scale <= 1:
        raise ValueError(f"scale is {scale}; it must be in (0, 1], a fraction of the range.")
    if not bool(jnp.any(weights != 0)):
        raise ValueError("weights are all 0; there is nothing to compensate.")
    method = FixedPoint() if method is None else method
    k = mapping.siemens_per_weight(weights, scale)
    hardware = build if isinstance(build, AbstractHardware) else OpenArrays(build)
    problem = Problem(weights, k, mapping, hardware, solver)
    plain = mapping.program(weights, k)
    before = Report.of(problem, plain, jnp.ones(weights.shape[1], weights.dtype))
    g, gain, history = method.run(problem, on_step or (lambda step, error: None))
    after = Report.of(problem, g, gain)
    reached = bool(min(history) <= method.rtol)
    said = "" if reached else advice(_tried(method, after, history), after.rms.dtype)
    return Compensation(g, gain, k, before, after, tuple(history), reached, said)
