"""Device models with parameters shared by a population of cells, and their fits.

A cell has one parameter of its own, its conductance `g` at 0 V. All other parameters are shared:

- the shape of the curve, which may depend on `x = log10(g / 50 uS)` (models "of g"), or be in
  series with a resistance `r_s` for the access transistor;
- the offset of the instrument.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

import xbarjax as xb

R_SHUNT = 560.0  # [ohm] in series with every cell; the instrument measures its voltage
LN_G_MIN = -27.0  # 1.9e-12 S: a current far below the noise
G_MIDDLE = 50e-6  # [S] conductance at x = 0


class Model(NamedTuple):
    """A family of devices: `device(g, theta)`, with the shared parameters `theta`."""

    name: str
    device: Callable[[Array, Array], xb.AbstractCell]
    start: tuple[float, ...] = ()
    names: tuple[str, ...] = ()  # of the entries of theta, with units in brackets
    r_series: int | None = None  # index of the entry of theta that is r_s [kohm], besides the shunt


def _x(g: Array) -> Array:
    return jnp.log10(g / G_MIDDLE)


def _trend(g: Array, theta: Array) -> Array:
    return jnp.polyval(theta[::-1], _x(g))


def _pku(g: Array, theta: Array) -> xb.AbstractCell:
    """Stanford-PKU cell of conductance `g`, by its gap, with the usual constants: a hyperbolic sine
    of b = 1/v_0 = 4/V."""
    usual = xb.StanfordPKU(jnp.ones_like(g))
    return xb.StanfordPKU(usual.g_0 * jnp.log(usual.i_0 / (usual.v_0 * g)))


def _sinh(g: Array, theta: Array) -> xb.AbstractCell:
    return xb.Sinh(g, theta[0])


_B, _R = "b [1/V]", "r_s [kohm]"
MODELS = (
    Model("Ohmic", lambda g, t: xb.Ohmic(g)),
    Model("Stanford-PKU", _pku),
    Model("Sinh", _sinh, (2.0,), (_B,)),
    Model(
        "Sinh of g",
        lambda g, t: xb.Sinh(g, jnp.exp(_trend(g, t))),
        (1.0, -1.0, 0.0),
        ("ln b [1/V] at x = 0", "ln b, slope in x", "ln b, coefficient of x^2"),
    ),
    Model(
        "Poole-Frenkel of g",
        lambda g, t: xb.PooleFrenkel(g, jnp.exp(_trend(g, t))),
        (1.0, 1.0, 0.0),
        ("ln v_pf [V] at x = 0", "ln v_pf, slope in x", "ln v_pf, coefficient of x^2"),
    ),
    Model(
        "Cubic of g",
        lambda g, t: xb.Polynomial(g, g * _trend(g, t[:2]), g * _trend(g, t[2:])),
        (0.5, 0.0, 0.0, 0.0),
        ("g_2/g [1/V] at x = 0", "g_2/g, slope", "g_3/g [1/V^2] at x = 0", "g_3/g, slope"),
    ),
    Model("Stanford-PKU + r_s", _pku, (4.0,), (_R,), r_series=0),
    Model("Sinh + r_s", _sinh, (3.0, 4.0), (_B, _R), r_series=1),
    Model(
        "Cubic + r_s",
        lambda g, t: xb.Polynomial(g, g * t[0], g * t[1]),
        (0.5, 0.5, 4.0),
        ("g_2/g [1/V]", "g_3/g [1/V^2]", _R),
        r_series=2,
    ),
)


class Device(xb.AbstractCell):
    """The device of a model in series with the shunt, for `xb.fit`."""

    g: Float[Array, ""]
    theta: Float[Array, " shared"]
    model: Model = eqx.field(static=True)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def current(self, v_row: Array, v_col: Array) -> Array:
        r = R_SHUNT
        if self.model.r_series is not None:
            r = r + 1e3 * self.theta[self.model.r_series]
        device = self.model.device(self.g, self.theta)
        return xb.Series(xb.Ohmic(1 / jnp.asarray(r)), device).current(v_row, v_col)

    def valid(self) -> Bool[Array, ""]:
        return self.g >= 0


class Population(NamedTuple):
    """Fit of a population: shared parameters, and the conductance of each cell."""

    theta: Array  # (shared,)
    theta_std: Array
    i_offset: Array  # [A]
    i_offset_std: Array
    g: Array  # (cells,) [S]
    left: Array  # (cells, points) residuals, model minus measured [A]
    converged: Array


@eqx.filter_jit
def population(model: Model, v: Array, i: Array, steps: int = 100) -> Population:
    """Least-squares fit of all cells: one conductance per cell, one shape and one offset for all.

    The method is Gauss-Newton with Marquardt's damping; the conductances of the cells are
    eliminated. Standard deviations are sandwich estimates, from the curvature and the spread of
    gradients over cells. They include differences between devices and noise that is not Gaussian.
    """
    start = jnp.asarray(model.start, v.dtype)
    unit = 1e-6  # [A]

    def left(ln_g, shared, i):
        """Residuals of one cell [uA]."""
        device = Device(jnp.exp(ln_g), shared[:-1], model)
        return (device.current(v, jnp.zeros_like(v)) - i) / unit + shared[-1]

    def parts(ln_g, shared):
        value = jax.vmap(left, (0, None, 0))(ln_g, shared, i)
        own, common = jax.vmap(jax.jacfwd(left, (0, 1)), (0, None, 0))(ln_g, shared, i)
        a = jnp.sum(own**2, axis=1)
        ahead = jnp.einsum("cpk,cp->ck", common, own)
        return value, own, common, a, ahead

    def step(carry):
        ln_g, shared, damping, before, k, _ = carry
        value, own, common, a, ahead = parts(ln_g, shared)
        a = jnp.where(a > 0, a * (1 + damping), 1)
        slope = jnp.sum(own * value, axis=1)
        curvature = jnp.einsum("cpk,cpl->kl", common, common)
        curvature += damping * jnp.diag(jnp.diag(curvature))
        schur = curvature - jnp.einsum("ck,cl->kl", ahead, ahead / a[:, None])
        right = jnp.einsum("cpk,cp->k", common, value) - ahead.T @ (slope / a)
        moved = -jnp.linalg.solve(schur, right)
        moved_g = -(slope + ahead @ moved) / a
        new = jnp.maximum(ln_g + moved_g, LN_G_MIN), shared + moved
        after = jnp.sum(jax.vmap(left, (0, None, 0))(*new, i) ** 2)
        good = after <= before
        kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), new, (ln_g, shared))
        damping = jnp.clip(jnp.where(good, damping / 10, damping * 10), 1e-9, 1e9)
        # converged: the step, taken or not, changes the sum of squares by almost nothing
        done = jnp.abs(after - before) <= 1e-7 * before
        return *kept, damping, jnp.where(good, after, before), k + 1, done

    ln_g = jnp.log(jnp.maximum(i[:, -1] / v[-1], 1e-7))
    shared = jnp.append(start, 0.0)
    first = jnp.sum(jax.vmap(left, (0, None, 0))(ln_g, shared, i) ** 2)
    carry = ln_g, shared, jnp.asarray(1e-3, v.dtype), first, 0, jnp.asarray(False)
    found = lax.while_loop(lambda c: (c[4] < steps) & ~c[5], step, carry)
    ln_g, shared, done = found[0], found[1], found[5]
    value, own, common, a, ahead = parts(ln_g, shared)
    a = jnp.where(a > 0, a, 1)  # a cell at 0 S has no curvature
    schur = jnp.einsum("cpk,cpl->kl", common, common) - ahead.T @ (ahead / a[:, None])
    along = jnp.sum(own * value, axis=1) / a  # 0 at the optimum of a cell's conductance
    scores = jnp.einsum("cpk,cp->ck", common, value) - ahead * along[:, None]
    inverse = jnp.linalg.inv(schur)
    std = jnp.sqrt(jnp.diag(inverse @ (scores.T @ scores) @ inverse))
    return Population(
        shared[:-1], std[:-1], shared[-1] * unit, std[-1] * unit, jnp.exp(ln_g), value * unit, done
    )


@eqx.filter_jit
def conductances(model: Model, theta: Array, v: Array, i: Array) -> tuple[Array, Array]:
    """Fit of the conductances alone, to the points of `i` [A] that are not NaN: `g` [S] of each
    cell, and whether its fit converged. The offset must be subtracted from `i`."""

    def one(i):
        guess = jnp.nansum(v * i) / jnp.nansum(jnp.where(jnp.isnan(i), 0, v**2))
        cell = Device(jnp.maximum(guess, 1e-7), theta, model)
        found = xb.fit(cell, v, i, free=lambda cell: cell.g)
        return found.cell.g, found.converged

    return jax.vmap(one)(i)


@eqx.filter_jit
def curves(model: Model, theta: Array, g: Array, v: Array) -> Array:
    """Currents [A] of cells with conductances [S] at bit-line voltages: `(cells, points)`."""
    return jax.vmap(lambda g: Device(g, theta, model).current(v, jnp.zeros_like(v)))(g)


def alone(device: Callable[[Array], Any], free: Callable[[Any], Any], v: Array, i: Array):
    """Fits of every cell by itself, with the shunt and an offset per cell: a batched `xb.Fit`."""
    shunt = xb.Ohmic(1 / R_SHUNT)

    def one(i):
        guess = jnp.maximum(jnp.sum(v * i) / jnp.sum(v**2), 1e-7)
        series = xb.Series(shunt, device(guess))
        return xb.fit(series, v, i, free=lambda s: free(s.second), offset=True, max_steps=64)

    return jax.jit(jax.vmap(one))(i)
