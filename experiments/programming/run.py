"""Writing conductances through wires: what write-verify reaches, what its pulses do to other cells,
and what other methods reach.

    python -m experiments.programming.run [--only write_verify,batch,methods,effort,disturb,
        compensation]

- `write_verify`: 64 x 64 cells of a transistor and a VTEAM device, row by row, with wires of 1 ohm
  a segment and with ideal wires, read noise of 0.2 uS, a window of +-2 uS on targets of 10 to
  90 uS.
- `batch`: a hundred arrays of 8 x 8 by `jax.vmap` against one.
- `methods`: write-verify, programming by gradient descent and open-loop pulses, on 16 x 16 cells at
  several wire resistances. Their products are read with all rows on, as in use, while a verify sees
  one row alone. Open-loop pulses have no spread here; with that of the others (10 mV) they are in
  `open_loop_spread`.
- `effort`: error of products over the pulses of a cell, where both methods stop earlier.
- `disturb`: passive arrays of 32 x 32, cell by cell by V/2 and V/3: change of cells by pulses of
  others, over the exponent `a` of devices whose rate goes as `(v / 0.05 V - 1)^a`, with the same
  rate at 0.6 V; with wires of 1 ohm a segment and, at one exponent, without.
- `compensation`: compensated conductances written by methods that know more or less about the error
  of a write (compensated.py), with wires of 2 ohm a segment: 32 x 32 cells with transistors, and
  passive 16 x 16 with a rate of exponent 8.

Pulses were chosen on an array of 8 x 8 with another seed.
"""

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb
from xbarjax import schemes

from ..parts import main
from .compensated import compensated
from .figure import figure

HERE = Path(__file__).parent
NOISE, WINDOW = 2e-7, 2e-6  # [S]
RESISTANCES = (0.0, 1.0, 2.0, 4.0)  # [ohm]
STEPS = (15, 25, 40, 60)
EXPONENTS = (6.0, 8.0, 12.0)
SCHEMES = {"V/2": schemes.half, "V/3": schemes.third}
R_COMPENSATED = 2.0  # [ohm]
ONSET, V_RATE, RATE = 0.05, 0.6, 4e-4  # [V], [V], [m/s]


def devices(shape: tuple[int, int], key: jax.Array, **more: Any) -> xb.VTEAM:
    w = jax.random.uniform(key, shape, minval=1e-9, maxval=2.5e-9)
    given = {"k_on": -3e-3, "k_off": 3e-3, "v_on": -0.4, "v_off": 0.4}
    given |= {"alpha_on": 3.0, "alpha_off": 3.0} | more
    return xb.VTEAM(w, 5e3, 2e5, **given)


def gated(n: int, r: float, key: jax.Array) -> xb.Crossbar:
    cell = xb.Series(xb.Mosfet(beta=2e-3, v_t=0.4, v_gate=0.0), devices((n, n), key))
    return xb.Crossbar(cell, xb.Wires(r, r), xb.Drive(50.0))


def targets(n: int, key: jax.Array) -> jax.Array:
    return jax.random.uniform(key, (n, n), minval=1e-5, maxval=9e-5)


def staircase(sign: float, v_gate: float | None) -> xb.Pulses:
    return xb.Pulses(xb.Staircase(sign * 0.45, sign * 0.03, sign * 2.0), 1e-7, 1e-8, v_gate)


GATED: dict[str, Any] = {
    "set": staircase(-1, 2.0),
    "reset": staircase(1, 3.0),
    "acceptance": WINDOW,
    "v_read": 0.2,
    "v_gate_read": 3.0,
    "v_spread": 0.01,
}
VERIFY = xb.WriteVerify(**GATED, read_noise=NOISE, most=100)


def timed(crossbar: xb.Crossbar, target: jax.Array, method: Any, key: jax.Array):
    """The array after programming, and the seconds of the first and the second call."""
    return repeated(lambda: xb.program(crossbar, target, method, key=key), 2)


def repeated(run: Callable[[], Any], times: int) -> tuple[Any, list[float]]:
    """What the last of several calls returns, and the seconds of each."""
    done, seconds = None, []
    for _ in range(times):
        began = time.perf_counter()
        done = jax.block_until_ready(run())
        seconds.append(time.perf_counter() - began)
    return done, seconds


def write_verify() -> dict[str, Any]:
    found = {}
    for name, r in (("wires", 1.0), ("ideal", 0.0)):
        a, b, c = jax.random.split(jax.random.key(1), 3)
        chip, target = gated(64, r, a), targets(64, b)
        done, seconds = timed(chip, target, VERIFY, c)
        error = np.asarray(done.g - target)
        found[name] = {
            "in_window": float(done.good.mean()),
            "pulses": np.bincount(np.asarray(done.pulses).ravel(), minlength=101),
            "pulses_mean": float(done.pulses.mean()),
            "error_S": np.quantile(error, np.linspace(0, 1, 201)),
            "error_std_S": float(error.std()),
            "energy_J": float(done.energy.mean()),
            "status": int(done.status),
            "seconds_first": seconds[0],
            "seconds": seconds[1],
        }
    return found


def batch(count: int = 100, n: int = 8) -> dict[str, Any]:
    keys = jax.random.split(jax.random.key(2), count)
    chips = eqx.filter_vmap(lambda key: gated(n, 1.0, key))(keys)
    goals = jax.vmap(lambda key: targets(n, jax.random.fold_in(key, 1)))(keys)
    write = lambda chip, goal, key: xb.program(chip, goal, VERIFY, key=key)
    many = eqx.filter_jit(eqx.filter_vmap(write))
    first = lambda tree: jax.tree.map(lambda x: x[0], tree)
    alone = eqx.filter_jit(write)
    seconds = {}
    for name, run, given in (
        ("one", alone, (first(chips), goals[0], keys[0])),
        ("batch", many, (chips, goals, keys)),
    ):
        done, times = repeated(lambda run=run, given=given: run(*given), 3)
        seconds[name] = min(times[1:])
        assert done.good.mean() > 0.9, "arrays were not written"
    return {
        "arrays": count,
        "rows": n,
        "seconds": seconds,
        "ratio": seconds["batch"] / seconds["one"],
    }


def methods(n: int = 16) -> dict[str, Any]:
    a, b, c = jax.random.split(jax.random.key(3), 3)
    target = targets(n, b)
    calm: dict[str, Any] = GATED | {"v_spread": 0.0}
    rows = []
    for r in RESISTANCES:
        chip = gated(n, r, a)
        every = {
            "write_verify": VERIFY,
            "gradient": gradient(60),
            "open_loop": xb.OpenLoop(**calm, model=chip),
            "open_loop_blind": xb.OpenLoop(**calm, model=gated(n, 0.0, a)),
            "open_loop_spread": xb.OpenLoop(**GATED, model=chip),
        }
        for name, method in every.items():
            done = xb.program(chip, target, method, key=c)
            rows.append({"r_ohm": r, "method": name} | summary(done, target))
    return {"rows": n, "cases": rows}


def effort(n: int = 16, r: float = 4.0) -> dict[str, Any]:
    a, b, c = jax.random.split(jax.random.key(6), 3)
    chip, target = gated(n, r, a), targets(n, b)
    rows = []
    for steps in STEPS:
        verify = dataclasses.replace(VERIFY, most=steps)
        for name, method in (("write_verify", verify), ("gradient", gradient(steps))):
            done = xb.program(chip, target, method, key=c)
            rows.append({"steps": steps, "method": name} | summary(done, target))
    return {"rows": n, "r_ohm": r, "cases": rows}


def gradient(steps: int) -> xb.GradientProgramming:
    return xb.GradientProgramming(
        **GATED, least=2e-6, steps=steps, inputs=256, read_noise=NOISE * 0.2
    )


def summary(done: xb.Programmed, target: jax.Array) -> dict[str, float]:
    return {
        "product_error": float(product_error(done.crossbar, target)),
        "pulses": float(done.pulses.mean()),
        "in_window": float(done.good.mean()),
        "energy_J": float(done.energy.mean()),
    }


@eqx.filter_jit
def product_error(chip: xb.Crossbar, target: jax.Array) -> jax.Array:
    """Error of products with 256 inputs of random signs, relative to the products."""
    x = 0.2 * jax.random.rademacher(jax.random.key(4), (256, len(target)), target.dtype)
    got = jax.vmap(lambda x: gradient(1).product(chip, x).i_out)(x)
    return jnp.linalg.norm(got - x @ target) / jnp.linalg.norm(x @ target)


def disturb(n: int = 32) -> dict[str, Any]:
    a, b, c = jax.random.split(jax.random.key(5), 3)
    target = targets(n, b)

    def one(case: tuple[str, float, float]) -> dict[str, Any]:
        name, alpha, r = case
        done = xb.program(passive(n, alpha, r, a), target, crosspoints(name), key=c)
        change = np.asarray(done.disturb)
        return {
            "scheme": name,
            "exponent": alpha,
            "r_ohm": r,
            "disturb_rms_S": float(np.sqrt(np.mean(change**2))),
            "disturb_worst_S": float(np.abs(change).max()),
            "pulses": float(done.pulses.mean()),
            "largest_V": float(np.nanmax(np.abs(np.asarray(done.v)))),
            "in_window": float(done.good.mean()),
            "kept": float((np.abs(np.asarray(done.g - target) + change) <= WINDOW).mean()),
        }

    cases = [(name, alpha, 1.0) for name in SCHEMES for alpha in EXPONENTS]
    cases += [(name, EXPONENTS[1], 0.0) for name in SCHEMES]
    with ThreadPoolExecutor(2) as pool:  # each array is too small for more than one core
        return {"rows": n, "cases": list(pool.map(one, cases))}


def compensation(seeds: int = 3) -> dict[str, Any]:
    cases = []
    product = gradient(1).product
    of = lambda n, **of: {"rows": n, "r_ohm": R_COMPENSATED} | of
    for case, chip, method, models in (
        (of(32, array="1T1R"), lambda key: gated(32, R_COMPENSATED, key), VERIFY, 1),
        *(
            (
                of(16, array=f"passive, {name}"),
                lambda key: passive(16, EXPONENTS[1], R_COMPENSATED, key),
                crosspoints(name),
                2,
            )
            for name in SCHEMES
        ),
    ):
        rows = compensated(chip, method, product, case["rows"], seeds, models)
        cases.append(case | {"cases": rows})
    return {"exponent": EXPONENTS[1], "arrays": cases}


def passive(n: int, alpha: float, r: float, key: jax.Array) -> xb.Crossbar:
    """Passive cells whose rates are the same at `V_RATE` for all exponents."""
    k = RATE / (V_RATE / ONSET - 1) ** alpha
    more = {"k_on": -k, "k_off": k, "alpha_on": alpha, "alpha_off": alpha}
    more |= {"v_on": -ONSET, "v_off": ONSET}
    return xb.Crossbar(devices((n, n), key, **more), xb.Wires(r, r), xb.Drive(50.0))


def crosspoints(scheme: str) -> xb.WriteVerify:
    return xb.WriteVerify(
        staircase(-1, None),
        staircase(1, None),
        WINDOW,
        0.2,
        read_noise=NOISE,
        v_spread=0.01,
        most=100,
        select=xb.SelectCrosspoints(SCHEMES[scheme]),
    )


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "write_verify": write_verify,
    "batch": batch,
    "methods": methods,
    "effort": effort,
    "disturb": disturb,
    "compensation": compensation,
}


if __name__ == "__main__":
    main(HERE, PARTS, figure)
