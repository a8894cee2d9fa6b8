"""Writing of compensated conductances, with more or less known about the error of a write.

`xb.compensate` finds conductances whose products through wires are those with a wanted matrix. What
a write leaves in the cells differs from them: a verify reads them through wires, as less than they
are, and in passive arrays pulses on later cells move them. Ways to write the same matrix:

- `blind`: readings of verifies are taken as conductances, and what pulses do to other cells is
  ignored.
- `moved`: as `blind`, but every target is less by the error that this would leave: the mean over
  simulated programs of arrays with other devices and other noise.
- `verified`: targets are what a verify reads in an array that has the compensated conductances.
- `again`, `third`: as `verified`, and the whole array is programmed once and twice more (passive
  arrays): cells that have left their windows get more pulses.

Beside them are arrays that hold their conductances exactly: `exact`, and `uncompensated`.

Errors are those of products of 256 held-out inputs with all rows on, relative to the products.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

import xbarjax as xb
from xbarjax.cells import bounds_of, with_states
from xbarjax.programming.groups import conductance_of

MAPPING = xb.InterleavedPair(1e-5, 9e-5)
REACH = 6e-6, 1.8e-4  # [S], what targets may be moved to
Chip = Callable[[jax.Array], xb.Crossbar]  # from a key for its devices


def compensated(
    chip: Chip, method: xb.WriteVerify, read: Callable[..., Any], n: int, seeds: int, models: int
) -> list[dict[str, Any]]:
    """Errors of products and pulses of every way on n x n arrays. `read(crossbar, x)` is the array
    read with inputs `x` [V] on all rows."""
    found = []
    for seed in range(seeds):
        a, b, c, d, e = jax.random.split(jax.random.fold_in(jax.random.key(7), seed), 5)
        crossbar, weights = chip(a), jax.random.uniform(b, (n, n // 2), minval=-1, maxval=1)
        build = lambda g, to=crossbar: xb.Crossbar(xb.Ohmic(g), to.wires, to.drive)
        wanted = xb.compensate(weights, MAPPING, build, method=xb.FixedPoint(rtol=1e-6))
        g = wanted.g[0]
        error = lambda crossbar, wanted=wanted, weights=weights: float(
            product_error(crossbar, weights, wanted.gain, wanted.k, read)
        )
        exact = holding(crossbar, g, method)
        rows = {"exact": {"product_error": error(exact)}}
        rows["uncompensated"] = {"product_error": of_plain(crossbar, weights, method, read)}

        def write(way, target, key, *before, to=crossbar, rows=rows, error=error):
            target = jnp.clip(target, *REACH)
            done = xb.program(before[-1].crossbar if before else to, target, method, key=key)
            rows[way] = {
                "product_error": error(done.crossbar),
                "pulses": float(sum(one.pulses.mean() for one in (*before, done))),
                "in_window": float(done.good.mean()),
            }
            return done

        write("blind", g, c)
        write("moved", g - left_by(chip, g, method, d, models), c)
        judged = dataclasses.replace(method, acceptance=1.0, read_noise=0.0)
        seen = xb.program(exact, g, judged, key=c)
        assert not seen.pulses.any(), "every reading was to be accepted"
        first = write("verified", seen.g, c)
        if not method.select.is_isolated:
            again = write("again", seen.g, d, first)
            write("third", seen.g, e, first, again)
        found += [{"seed": seed, "way": way} | row for way, row in rows.items()]
    return found


def left_by(chip: Chip, g: jax.Array, method: xb.WriteVerify, key: jax.Array, models: int):
    """By how much conductances [S] are above what their verifies read, at the end of a program:
    the mean of simulated arrays. The random part that a window leaves is not in it."""
    total = jnp.zeros_like(g)
    for of_model in jax.random.split(key, models):
        for_chip, for_writing = jax.random.split(of_model)
        done = xb.program(chip(for_chip), g, method, key=for_writing)
        total += conductance_of(method, done.crossbar.cell) - done.g
    return total / models


def holding(crossbar: xb.Crossbar, g: jax.Array, method: xb.WriteVerify) -> xb.Crossbar:
    """The array whose cells have conductances `g` [S] at the read voltage, by bisection."""
    low, high = bounds_of(crossbar.cell)

    def halve(_, ends):
        low, high = ends
        middle = jax.tree.map(lambda a, b: (a + b) / 2, low, high)
        above = conductance_of(method, with_states(crossbar.cell, middle)) > g
        pick = lambda a, b: jnp.where(above, a, b)  # conductance falls with the state
        return jax.tree.map(pick, middle, low), jax.tree.map(pick, high, middle)

    states, _ = lax.fori_loop(0, 60, halve, (low, high))
    return eqx.tree_at(lambda c: c.cell, crossbar, with_states(crossbar.cell, states))


def of_plain(crossbar: xb.Crossbar, weights: jax.Array, method: Any, read: Any) -> float:
    """The error of products of an array with exact conductances of the plain mapping."""
    k = MAPPING.siemens_per_weight(weights)
    plain = holding(crossbar, MAPPING.program(weights, k)[0], method)
    return float(product_error(plain, weights, jnp.ones(weights.shape[1]), k, read))


@eqx.filter_jit
def product_error(crossbar: xb.Crossbar, weights, gain, k, read: Any) -> jax.Array:
    x = jax.random.uniform(jax.random.key(8), (256, len(weights)), minval=-0.2, maxval=0.2)
    i = jax.vmap(lambda x: read(crossbar, x).i_out)(x)
    got, want = MAPPING.combine(i[None]) / gain / k, x @ weights
    return jnp.linalg.norm(got - want) / jnp.linalg.norm(want)
