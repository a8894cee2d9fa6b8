"""Identification: the array that explains what was measured at its terminals."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from jax.flatten_util import ravel_pytree

from .._types import is_concrete, widest
from ..crossbar import Crossbar, require_crossbar
from ..kirchhoff.circuit import working_dtype
from ..solvers import AutoLadder, Solver
from .measured import Measured, width
from .predict import ends_of, is_fixed, resistance
from .problem import Problem, Scale, Scaled, U
from .scaling import balanced, units, within_reach, written_out
from .truncated_cg import TruncatedCG
from .twin import Twin
from .uncertainty import EXACT, twin_of
from .unknown import Unknown, parameters_of

CLOSE = 1e-2  # deviations that a step must fall below for a round to end early
IDLE = 2  # rounds that gain nothing, after which the search is at rest
FORCING = 1e-3, 1e-4  # residuals of steps far from the end and near to it, relative
MOST = 300  # products of a search for the best step
ROUND = 5  # steps before the coordinates are made anew
FIRST = 10.0  # deviations in a unit of the search, whose first damping is 1: little
CHANGE = 1e-3, 1e3  # of this unit within a round, at most

OnStep = Callable[[int, float], None]


def identify(
    measured: Measured | Sequence[Measured],
    crossbar: Crossbar,
    free: Unknown | Sequence[Unknown],
    *,
    robust: float = 5.0,
    solver: Solver = AutoLadder(),
    atol: float = 0.1,
    max_steps: int = 200,
    samples: int = 64,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Twin:
    """The twin of an array: the crossbar that explains reads at its terminals, and how sure it is.

    It minimises the squares of `(predicted - measured) / sigma` and of what was known before, by
    the Levenberg-Marquardt method (D. W. Marquardt, J. Soc. Ind. Appl. Math. 11, 431, 1963,
    doi:10.1137/0111030). Up to 600 parameters its steps come from the Jacobian; beyond, from
    conjugate gradients on products with the Jacobian and its transpose. In arrays of ohmic cells a
    product costs no solve: one solve per terminal gives all derivatives.

    **Arguments:**

    - `measured`: the reads; several `Measured` where reads left other ends open.
    - `crossbar`: the first guess, and all that is known.
    - `free`: what is unknown, an `Unknown` or several, for example
        `[xb.Unknown(lambda c: c.cell.g), xb.Unknown(lambda c: c.wires.r_row, per="array")]`.
    - `robust`: residuals beyond this number of standard deviations count less, so that single bad
        reads do not move the twin; inf counts all alike.
    - `solver`: solver of the reads.
    - `atol`: the search ends when a few steps lower the sum of squares by less than this. A single
        parameter that is one standard deviation off raises it by 1. `max_steps`: step limit.
    - `samples`: number of draws from the posterior for the deviations of more than 600 parameters.
        They are then known to `1 / sqrt(2 samples)`. `seed`: of the draws.
    - `on_step`: called with each step's number and error, the rms of all residuals in standard
        deviations, for progress.

    **Returns:** a `Twin`. A value that is NaN is left out and counted there.

    **Errors:** `TypeError` for other kinds of arguments. `ValueError` for terminals that the array
    does not have, for readings that are a power of a thousand off the first guess, for fewer
    readings than parameters without `sigma`, for traced arguments, and what `Unknown` refuses.
    Everything else is in `Twin.converged` and `Twin.advice`.
    """
    require_crossbar(crossbar)
    every = (measured,) if isinstance(measured, Measured) else tuple(measured)
    unknowns = (free,) if isinstance(free, Unknown) else tuple(free)
    for x, kind, name in [(m, Measured, "measured") for m in every] + [
        (f, Unknown, "free") for f in unknowns
    ]:
        if not isinstance(x, kind):
            raise TypeError(f"{name} holds {type(x).__name__}; pass xb.{kind.__name__} objects.")
    if not is_concrete(eqx.filter((every, crossbar), eqx.is_array)):
        raise ValueError("identify cannot be traced; call it outside of jax.jit, vmap and grad.")
    dtype = widest(working_dtype(crossbar), *(m.v_row for m in every))
    crossbar, parameters = parameters_of(unknowns, crossbar, dtype)
    for m in every:
        _require_fit(m, crossbar)
    _require_enough(every, parameters)
    estimate = any(m.sigma is None for m in every)
    given = tuple(_with_sigma(m) if m.sigma is None else m for m in every)
    ends = tuple(ends_of(crossbar, m) for m in given)
    problem = Problem(crossbar, parameters, given, jnp.asarray(robust, dtype), solver, ends)
    _require_units(problem)
    problem, steps, rests = _search(problem, atol, seed, max_steps, on_step)
    return twin_of(problem, steps, rests, estimate=estimate, samples=samples, seed=seed)


def _search(
    problem: Problem, atol: float, seed: int, max_steps: int, on_step: OnStep | None
) -> tuple[Problem, int, bool]:
    """The problem at the end of the search, its steps, and whether it came to rest.

    Far from the reads every residual is large: first all of them count alike."""
    robust = problem.robust
    limit, steps, count = jnp.full_like(robust, jnp.inf), 0, sum(m.count for m in problem.measured)
    least = 10 * float(jnp.finfo(robust.dtype).eps)
    first = jnp.asarray(FIRST, robust.dtype)
    idle = 0
    while steps < max_steps:
        limited = eqx.tree_at(lambda p: p.robust, problem, limit)
        began = float(first)
        u, first, taken, close, before, after, left = _round(
            limited, jnp.asarray(seed), first, jnp.asarray(atol, first.dtype)
        )
        problem, steps = problem.moved(u), steps + max(int(taken), 1)
        if on_step is not None:
            on_step(steps, float(np.sqrt(2 * after / count)))
        gains = bool(before - after > atol / 2 + least * before)
        idle = 0 if gains else idle + 1
        if not bool(close) and int(taken) < ROUND:
            break  # a step is not finite
        # numbers at their bounds may go on sliding, which changes nothing
        rests = not gains and (bool(close) or idle == IDLE)
        rests = rests or began >= FIRST and float(left) < atol / 10
        if rests and bool(limit == robust):
            return problem, steps, True
        if rests or gains and not after < 0.9 * before:
            limit, idle = robust, 0
    return problem, steps, False


@eqx.filter_jit
def _round(problem: Problem, seed, first, atol) -> tuple[U, Any, Any, Any, Any, Any, Any]:
    """Parameters after a few steps in coordinates for where they begin, of which a unit is `first`
    deviations, that unit for further steps of the same damping, the number of steps, whether the
    last one was short, half the sum of squares before and after, and about how much it could still
    fall."""
    start = problem.start
    small = sum(x.size for x in start) <= EXACT
    jacobian, r, found = (
        written_out(problem, start)
        if small
        else (None, None, units(problem, start, jax.random.key(seed)))
    )
    unit = within_reach(problem, found)
    scale = Scale.plain(start, unit) if small else balanced(problem, start, unit)
    scaled = Scaled(problem, eqx.tree_at(lambda s: s.unit, scale, _times(first, scale.unit)))
    linear = (
        lx.QR() if small else lx.Normal(TruncatedCG(jnp.where(jnp.isinf(problem.robust), *FORCING)))
    )
    solver = optx.LevenbergMarquardt(1e-9, CLOSE / first, linear_solver=linear)
    # its own region grows where 99 % of the predicted fall come true, which is rarely
    region = optx.ClassicalTrustRegion(high_cutoff=0.75, low_cutoff=0.05, high_constant=6.0)
    solver = eqx.tree_at(lambda s: s.search, solver, region)
    begin = jnp.zeros(sum(x.size for x in start), unit[0].dtype)
    residuals = lambda z, scaled: scaled(z)
    end = optx.least_squares(residuals, solver, begin, args=scaled, max_steps=ROUND, throw=False)
    squares = lambda r: jnp.sum(r**2) / 2
    r_end, forward = jax.linearize(scaled, end.value)
    if jacobian is not None:  # by the first step
        left = _gain(jacobian * (first * ravel_pytree(unit)[0])[None], r)
    else:
        per_unit = lambda x: forward(x / first)
        left = _gain_by_products(per_unit, begin, r_end, atol)
    return (
        scaled.scale.u(end.value),
        first * jnp.clip(jnp.sqrt(end.state.search_state.step_size), *CHANGE),
        end.stats["num_steps"],
        end.result == optx.RESULTS.successful,
        squares(scaled(begin)),
        squares(r_end),
        left,
    )


def _gain(jacobian: Any, r: Any) -> Any:
    """What a linear model gains by a step of damping 1 from residuals `r`."""
    push = jacobian.T @ r
    curved = jacobian.T @ jacobian + jnp.eye(push.size, dtype=push.dtype)
    return push @ jnp.linalg.solve(curved, push) / 2


def _gain_by_products(forward: Any, begin: Any, r: Any, atol: Any) -> Any:
    """What a linear model gains by its best step from residuals `r`, by conjugate gradients from
    `begin`; inf where the squares still fall steeply or the step takes too many products."""
    transposed = jax.linear_transpose(forward, begin)
    push = transposed(r)[0]
    operator = lx.FunctionLinearOperator(
        lambda x: transposed(forward(x))[0],
        jax.eval_shape(lambda: begin),
        lx.positive_semidefinite_tag,
    )
    close = lx.CG(0.0, 1e-3 * jnp.sqrt(atol), norm=optx.two_norm, max_steps=MOST)  # pyright: ignore

    def best():
        found = lx.linear_solve(operator, push, close, throw=False)
        good = found.result == lx.RESULTS.successful
        return jnp.where(good, push @ found.value / 2, jnp.inf)

    flat = jnp.sum(push**2) / 2 < atol
    return jax.lax.cond(flat, best, lambda: jnp.full((), jnp.inf, push.dtype))


def _times(factor: Any, tree: Any) -> Any:
    return jax.tree.map(lambda x: factor * x, tree)


def _require_fit(measured: Measured, crossbar: Crossbar) -> None:
    """Raises `ValueError` for voltages or readings of lines that the array does not have."""
    (rows, cols), lines = crossbar.shape, crossbar.lines
    wanted = {"v_row": lines, "v_row_far": lines, "v_col": cols, "v_col_far": cols}
    for name, n in wanted.items():
        v = getattr(measured, name)
        if v is not None and v.shape[1:] != (n,):
            raise ValueError(
                f"{name} has {v.shape[-1]} lines, but the array of {rows} x {cols} cells has {n}."
            )
    for name, x in measured.sensed.items():
        if x.shape[1] != width(crossbar, name):
            raise ValueError(
                f"sensed[{name!r}] has {x.shape[1]} lines, but the array of {rows} x {cols} cells"
                f" has {width(crossbar, name)}."
            )
    for end in measured.open_ends:
        if is_fixed(crossbar, end) and not np.all(np.isinf(resistance(crossbar, end))):
            raise ValueError(
                f"open_ends has {end!r}, which {type(crossbar.readout).__name__} cannot leave open."
            )
    ends = ends_of(crossbar, measured)
    for name in measured.sensed:
        line, _, end = name.removeprefix("i_").partition("_")
        place = {"in": "row", "out": "col"}.get(line)
        if place and end and place + ("_far" if end == "far" else "") not in ends:
            raise ValueError(
                f"sensed has {name!r}, but this end is open: connect it in the crossbar, or leave"
                " the readings out."
            )
    if not any(end.startswith("row") for end in ends) and not any(
        end.startswith("col") for end in ends
    ):
        raise ValueError("open_ends leaves no end of the array connected.")


def _require_enough(every: tuple[Measured, ...], parameters) -> None:
    """Raises `ValueError` for more parameters than readings and knowledge."""
    count = sum(m.count for m in every)
    free = sum(p.start.size for p in parameters if p.sigma is None)
    if count < free:
        raise ValueError(
            f"there are {count} readings for {free} parameters of which nothing is known: measure"
            " more, tie some with per=, or give a sigma to their Unknown."
        )


def _with_sigma(measured: Measured) -> Measured:
    """Reads without noise, with a nominal one: a thousandth of their rms."""
    rms = {k: jnp.sqrt(jnp.nanmean(x**2)) for k, x in measured.sensed.items()}
    sigma = {k: jnp.where(x > 0, 1e-3 * x, 1) for k, x in rms.items()}
    return eqx.tree_at(lambda m: m.sigma, measured, sigma, is_leaf=lambda x: x is None)


def _require_units(problem: Problem) -> None:
    """Raises `ValueError` for readings that are a power of a thousand off the first guess."""
    for measured, off in zip(problem.measured, _off_at_start(problem)):
        for name, y in measured.sensed.items():
            y = np.asarray(y, float)
            seen = np.asarray(off[name]) * np.asarray(measured.sigma[name]) + y  # pyright: ignore
            known = np.isfinite(y)
            got, expected = (float(np.sqrt(np.mean(x[known] ** 2))) for x in (y, seen))
            if not (got > 0 and expected > 0):
                continue
            thousands = round(np.log10(got / expected) / 3)
            if thousands:
                raise ValueError(
                    f"sensed[{name!r}] is {got:.3g} rms, {got / expected:.2g} times the"
                    f" {expected:.3g} of the first guess: give SI units, here"
                    f" {'divide' if thousands > 0 else 'multiply'} by {10 ** abs(3 * thousands):g},"
                    " or start closer."
                )


@eqx.filter_jit
def _off_at_start(problem: Problem):
    return problem.off(problem.start)
