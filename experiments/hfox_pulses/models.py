"""State models of memristors in series with the transistor of their cell, and their fit to pulses.

All parameters are shared by all cells. A parameter that is fitted is above 0, and moves by its
logarithm; a sign of the model is put back when the device is built.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import xbarjax as xb
from xbarjax.programming.least_squares import Found, least_squares

from .data import Pulses
from .pulse import OneT1R, resistance, state, state_after

Theta = dict[str, Array]


class Model(NamedTuple):
    """A family of devices, `device(theta)`, with the start of its fitted parameters."""

    name: str
    device: Callable[[Theta], xb.cells.AbstractMemoryCell]
    start: dict[str, float]
    sets: int  # sign of the voltage that sets the device


TRANSISTOR = {"beta [A/V^2]": 3e-4, "v_t [V]": 0.4, "lam [1/V]": 1.0, "gamma [V^0.5]": 0.4}
PRIOR = 3.0  # standard deviation of the logarithm of a parameter around its start
DRAWS, BEST, FEW = 150, 2, 8  # draws of starts, those that are followed, steps of each


def one(model: Model, theta: Theta) -> OneT1R:
    """The cell of a model, with the fitted parameters `theta`."""
    beta, v_t, lam, gamma = (theta[name] for name in TRANSISTOR)
    transistor = xb.Level1Mosfet(beta, v_t, jnp.zeros_like(beta), lam, gamma)
    return OneT1R(model.device(theta), transistor, model.sets)


def _vteam(t: Theta) -> xb.VTEAM:
    return xb.VTEAM(
        1e-9,
        r_on=t["r_on [ohm]"],
        r_off=2e6,
        k_on=-t["-k_on [m/s]"],
        k_off=t["k_off [m/s]"],
        v_on=-t["-v_on [V]"],
        v_off=t["v_off [V]"],
        alpha_on=1 + t["alpha_on - 1 [1]"],
        alpha_off=1 + t["alpha_off - 1 [1]"],
    )


def _pku(t: Theta) -> xb.StanfordPKU:
    return xb.StanfordPKU(
        1e-9,
        i_0=t["i_0 [A]"],
        v_0=t["v_0 [V]"],
        rate_0=t["rate_0 [m/s]"],
        e_a=t["e_a [eV]"],
        gamma_0=t["gamma_0 [1]"],
        beta=t["beta of gamma [1]"],
        r_th=t["r_th [K/W]"],
        f_min=0.0,
        gap_max=2.2e-9,
    )


def _yakopcic(t: Theta) -> xb.Yakopcic:
    return xb.Yakopcic(
        0.5,
        a_1=t["a [A]"],
        a_2=t["a [A]"],
        b=t["b [1/V]"],
        k_p=t["k_p [1/s]"],
        k_n=t["k_n [1/s]"],
        v_p=t["v_p [V]"],
        v_n=t["v_n [V]"],
        alpha_p=t["alpha_p [1]"],
        alpha_n=t["alpha_n [1]"],
    )


def _messaris(t: Theta) -> xb.Messaris:
    b = t["b [1/V]"]
    return xb.Messaris(
        1e4,
        r_min=1e2,
        r_max=2e6,
        k_p=t["k_p [ohm/s]"],
        k_n=-t["-k_n [ohm/s]"],
        t_p=t["t_p [1/V]"],
        t_n=t["t_n [1/V]"],
        c_p=t["c_p [1/ohm]"],
        c_n=t["c_n [1/ohm]"],
        r_p0=t["r_p0 [ohm]"],
        r_p1=0.0,
        r_n0=t["r_n0 [ohm]"],
        r_n1=0.0,
        a_p=1 / b,
        a_n=1 / b,
        b_p=b,
        b_n=b,
    )


def _drift(t: Theta) -> xb.LinearIonDrift:
    return xb.LinearIonDrift(
        5e-9, r_on=t["r_on [ohm]"], r_off=2e6, mobility=t["mobility [m^2/(V s)]"]
    )


MODELS = (
    Model(
        "LinearIonDrift",
        _drift,
        {"r_on [ohm]": 2e3, "mobility [m^2/(V s)]": 1e-10},
        1,
    ),
    Model(
        "Messaris",
        _messaris,
        {"b [1/V]": 3.0, "k_p [ohm/s]": 1e4, "-k_n [ohm/s]": 1e6, "t_p [1/V]": 6.0}
        | {"t_n [1/V]": 10.0, "c_p [1/ohm]": 1e-4, "c_n [1/ohm]": 1e-4, "r_p0 [ohm]": 6e4}
        | {"r_n0 [ohm]": 1e3},
        -1,
    ),
    Model(
        "VTEAM",
        _vteam,
        {"r_on [ohm]": 1e3, "-k_on [m/s]": 1e-2, "k_off [m/s]": 1e-5, "-v_on [V]": 0.6}
        | {"v_off [V]": 0.8, "alpha_on - 1 [1]": 2.0, "alpha_off - 1 [1]": 2.0},
        -1,
    ),
    Model(
        "Yakopcic",
        _yakopcic,
        {"a [A]": 3e-4, "b [1/V]": 3.0, "k_p [1/s]": 1e7, "k_n [1/s]": 3e5, "v_p [V]": 0.6}
        | {"v_n [V]": 0.8, "alpha_p [1]": 2.0, "alpha_n [1]": 2.0},
        1,
    ),
    Model(
        "StanfordPKU",
        _pku,
        {"i_0 [A]": 2e-3, "v_0 [V]": 2.0, "rate_0 [m/s]": 10.0, "e_a [eV]": 0.6}
        | {"gamma_0 [1]": 16.0, "beta of gamma [1]": 0.8, "r_th [K/W]": 1e5},
        1,
    ),
)


class Question(NamedTuple):
    """Pulses as arrays of a fit, `(pulses,)` each."""

    width: Array
    v_gate: Array
    v_set: Array
    v_reset: Array
    r_before: Array


def question(p: Pulses) -> Question:
    return Question(*map(jnp.asarray, (p.width, p.v_gate, p.v_set, p.v_reset, p.r_before)))


class Fitted(eqx.Module):
    """A model with its parameters."""

    theta: Theta
    model: Model = eqx.field(static=True)


@eqx.filter_jit
def log_after(fitted: Fitted, q: Question) -> Array:
    """Predicted logarithms of the resistances [ohm] after pulses, `(pulses,)`."""
    cell = one(fitted.model, fitted.theta)

    def after(q: Question) -> Array:
        x = state(cell, q.r_before)
        x = state_after(cell, x, q.width, q.v_gate, q.v_set, q.v_reset)
        return jnp.log(resistance(cell, x))

    return jax.vmap(after)(q)


def begin(model: Model) -> Fitted:
    values = TRANSISTOR | model.start
    return Fitted({name: jnp.asarray(x) for name, x in values.items()}, model)


def all_parameters(fitted: Fitted) -> list[Array]:
    return [fitted.theta[name] for name in sorted(fitted.theta)]


def _with_prior(fitted: Fitted, q: Question) -> Array:
    return jnp.append(log_after(fitted, q), jnp.log(jnp.stack(all_parameters(fitted))))


def fit(model: Model, p: Pulses, sigma: np.ndarray, steps: int) -> Found:
    """Least-squares fit of all parameters of a model to the resistances after pulses, whose
    logarithms have standard deviations `sigma` `(pulses,)`.

    The search begins at the start and at the best of random draws around it. Each is followed for
    some steps, the best of them to the end. A weak prior around the start keeps parameters that
    the pulses do not determine near it."""
    q, wanted = question(p), jnp.log(jnp.asarray(p.r_after))
    start = begin(model)
    center = jnp.log(jnp.stack(all_parameters(start)))
    names = sorted(start.theta)
    at = lambda moved: Fitted(dict(zip(names, jnp.exp(center + moved))), model)
    random = np.random.default_rng(0)
    some = np.arange(len(p.width)) % 4 == 0
    few = p.part(some)
    badness = jax.jit(
        lambda moved: jnp.sum(
            ((log_after(at(moved), question(few)) - jnp.log(few.r_after)) / sigma[some]) ** 2
        )
    )
    draws = np.vstack([np.zeros(len(names)), random.normal(size=(DRAWS, len(names)))])
    scores = np.nan_to_num([float(badness(x)) for x in draws], nan=np.inf)

    def search(start: Fitted, steps: int) -> Found:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `converged` says it
            return least_squares(
                start,
                _with_prior,
                q,
                jnp.append(wanted, center),
                free=all_parameters,
                sigma=jnp.append(jnp.asarray(sigma), jnp.full(center.shape, PRIOR)),
                unit="",
                rtol=1e-4,
                max_steps=steps,
            )

    followed = {0, *(int(k) for k in np.argsort(scores)[:BEST])}
    tried = [search(at(draws[k]), FEW) for k in sorted(followed)]
    return search(min(tried, key=lambda found: float(found.rms)).model, steps)
