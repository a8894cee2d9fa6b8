"""Statistics of a sweep: yield with confidence intervals, worst dies, sensitivities."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .batches import shapes
from .plan import Sweep

if TYPE_CHECKING:
    import xarray

Limits = Mapping[str, tuple[float, float]]


def good(results: xarray.Dataset, limits: Limits | None = None) -> xarray.DataArray:
    """Good dies: those within all limits. A die with a NaN metric is not good.

    **Arguments:** `results`: of `sweep`; `limits`: `(low, high)` by metric, in its unit; by default
    the limits of the sweep.

    **Returns:** booleans over the axes and `die`.

    Raises `ValueError` without limits, or for a limit of a metric that the results do not have.
    """
    limits = limits_of(results) if limits is None else limits
    if not limits:
        raise ValueError("limits is empty; give the limits of a good die, {metric: (low, high)}.")
    if unknown := set(limits) - set(results.data_vars):
        raise ValueError(
            f"limits has {sorted(unknown)[0]!r}; the results have"
            f" {', '.join(sorted(map(str, results.data_vars)))}."
        )
    within = [
        (results[name] >= low) & (results[name] <= high) for name, (low, high) in limits.items()
    ]
    answer = within[0]
    for other in within[1:]:
        answer = answer & other
    return answer


def limits_of(results: xarray.Dataset) -> dict[str, tuple[float, float]]:
    """The limits of the sweep that gave these results, by metric; inf for no limit."""
    ends = json.loads(results.attrs.get("limits", "{}"))
    number = lambda x, none: none if x is None else x
    return {name: (number(a, -np.inf), number(b, np.inf)) for name, (a, b) in ends.items()}


def yields(
    results: xarray.Dataset, limits: Limits | None = None, *, confidence: float = 0.95
) -> xarray.Dataset:
    """Yield at every setting, the fraction of good dies, with Wilson's confidence interval
    (J. Am. Stat. Assoc. 22, 209, 1927, 10.1080/01621459.1927.10502953).

    **Returns:** over the axes, `good`: the yield [1]; `low`, `high`: bounds of its interval;
    `dies`: number of computed dies; `failed`: number of dies with a NaN metric, which count as bad.

    Raises `ValueError` as `good` does, and for a `confidence` outside of 0 to 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1.")
    computed = results["status"] != -1
    floats = [name for name, x in results.data_vars.items() if np.issubdtype(x.dtype, np.floating)]
    nan = results[floats].isnull().to_dataarray().any("variable") & computed
    passed = good(results, limits) & computed & ~nan
    n, k = computed.sum("die"), passed.sum("die")
    z2 = statistics.NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    centre = (k + z2 / 2) / (n + z2)
    half = np.sqrt(z2 * (k * (n - k) / n + z2 / 4)) / (n + z2)
    answer = {"good": k / n, "low": centre - half, "high": centre + half}
    return results[[]].assign(answer | {"dies": n, "failed": nan.sum("die")})


def worst(
    results: xarray.Dataset, metric: str, count: int = 10, *, largest: bool = True
) -> list[dict[str, Any]]:
    """The `count` dies with the largest values of a metric (smallest with `largest=False`), the
    worst first. Each is a dict of its settings, its number `die` and its value.

    `plan.key(die)` reproduces a die: with a `Die`, `plan.die.crossbar(settings, plan.key(die))` is
    its array. Raises `ValueError` for a metric that the results do not have.
    """
    if metric not in results.data_vars:
        known = ", ".join(sorted(map(str, results.data_vars)))
        raise ValueError(f"metric is {metric!r}; the results have {known}.")
    values = results[metric].transpose(..., "die")
    flat = values.values.ravel()
    order = np.argsort(-flat if largest else flat)[: min(count, np.isfinite(flat).sum())]
    found = []
    for at in order:
        *point, die = np.unravel_index(at, values.shape)
        settings = {
            str(axis): float(results[axis].values[k])
            for axis, k in zip(values.dims, point, strict=False)
        }
        found.append({**settings, "die": int(die), metric: float(flat[at])})
    return found


def sensitivity(
    plan: Sweep, settings: Mapping[str, Any], metric: str, *, dies: int = 100
) -> dict[str, tuple[float, float]]:
    """Sensitivity of a metric `m` to a relative change of each setting `s`: the mean of `s dm/ds`
    over dies, by gradients. Dies with a NaN metric are left out.

    **Arguments:** `plan`: the sweep; `settings`: one number per axis, the point of the gradients;
    `metric`: its name; `dies`: number of dies averaged.

    **Returns:** by setting, mean and standard error in the unit of the metric, the largest mean
    first.

    Raises `ValueError` for settings that are not the axes of the plan and for an unknown metric;
    `RuntimeError` if the metric is finite for fewer than two dies.
    """
    if set(settings) != set(plan.axes):
        raise ValueError(f"settings has {sorted(settings)}; give {sorted(plan.axes)}.")
    if metric not in shapes(plan):
        raise ValueError(f"metric is {metric!r}; die returns {', '.join(shapes(plan))}.")
    where = {name: jnp.asarray(x, float) for name, x in settings.items()}
    slope = jax.value_and_grad(lambda s, n: plan.die(s, plan.key(n))[metric])
    slopes = jax.jit(lambda s, n: lax.map(lambda n: slope(s, n), n))
    values, each = slopes(where, jnp.arange(dies, dtype=jnp.uint32))
    fine = np.isfinite(values)
    if fine.sum() < 2:
        raise RuntimeError(
            f"{metric} is finite for only {fine.sum()} of {dies} dies; check the metric and the"
            " status of the dies."
        )
    scaled = {name: np.asarray(x)[fine] * float(where[name]) for name, x in each.items()}
    error = lambda x: float(x.std(ddof=1) / np.sqrt(x.size))
    answer = {name: (float(x.mean()), error(x)) for name, x in scaled.items()}
    return dict(sorted(answer.items(), key=lambda item: -abs(item[1][0])))


def soft_yield(
    plan: Sweep, settings: Mapping[str, Any], widths: Mapping[str, float], *, dies: int = 1000
) -> Float[Array, ""]:
    """A smoothed yield with a gradient with respect to the settings: the mean over dies of the
    product over limits of `sigmoid((high - m)/width) sigmoid((m - low)/width)`, for a metric `m`.
    It tends to the yield as `width -> 0`. Dies with a NaN metric are bad.

    **Arguments:**

    - `plan`: a sweep with `limits`.
    - `settings`: one number per axis.
    - `widths`: by metric, in its unit. A smaller width is closer to the yield and needs more dies
        for a gradient.
    - `dies`: number of dies, the same ones at every setting.

    Raises `ValueError` for a plan without limits and for a limit without a width.
    """
    if not plan.limits:
        raise ValueError("limits of the plan is empty; give the limits of a good die.")
    if missing := set(plan.limits) - set(widths):
        raise ValueError(f"widths has no {sorted(missing)[0]!r}; give one per metric with limits.")

    def soft(n):
        found = plan.die(settings, plan.key(n))
        parts = []
        for name, (low, high) in plan.limits.items():
            m, width = found[name], widths[name]
            fails = jnp.isnan(m)
            m = jnp.where(fails, 0, m)
            parts.append(jnp.where(fails, 0.0, 1.0))
            parts += [jax.nn.sigmoid((high - m) / width)] if np.isfinite(high) else []
            parts += [jax.nn.sigmoid((m - low) / width)] if np.isfinite(low) else []
        return jnp.prod(jnp.stack(parts))

    return jnp.mean(lax.map(soft, jnp.arange(dies, dtype=jnp.uint32)))
