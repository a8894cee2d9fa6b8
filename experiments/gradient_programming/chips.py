"""Devices that move by statistics of pulses, the arrays they are in, and both ways to program them.

Cells stand behind transistors that are on or off: a row can be read alone, while products have all
rows on. A device is linear, so that an array with wires is its effective matrix (`xb.transfer`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import xbarjax as xb
from xbarjax import variability as va

V_READ = 0.2  # [V]
BITS = 8  # of the converters of products, as on HERMES (doi:10.1038/s41928-023-01010-1)
RANGE = 4.0  # full scale of a converter, in deviations of products with random signs


class Chip(eqx.Module):
    """A kind of device, and how weights are put on it.

    A row of inputs drives two neighbouring rows of devices by `v` and `-v`: a weight is the
    difference of two conductances. Where pulses go up alone (`is_pair`), the pair is written and
    read as one cell, and a pulse on the second device lowers the cell. Elsewhere each device is a
    cell.
    """

    response: va.PulseResponse
    spread: va.AbstractPerturbation  # of steps, from device to device
    flicker: Callable[[jax.Array, jax.Array], jax.Array]  # conductances in a read, under a key
    start: float  # part of the window that devices start from
    is_pair: bool = eqx.field(static=True)

    def made(self, shape: tuple[int, ...], key: jax.Array) -> tuple[va.PulseResponse, jax.Array]:
        """Responses of the devices of an array, and their conductances before the first pulse."""
        low, high = self.response.g_min, self.response.g_max
        strength = jnp.maximum(self.spread(jnp.ones(shape), key), 0)
        mine = eqx.tree_at(lambda r: r.strength, self.response, strength)
        return mine, jnp.full(shape, low + self.start * (high - low))

    def cells(self, m: jax.Array) -> jax.Array:
        """Conductances of cells, from those of devices `(rows, cols)`."""
        return pairs(m) if self.is_pair else m

    def pulses(self, way: jax.Array) -> jax.Array:
        """Pulses of devices, from those of cells."""
        if not self.is_pair:
            return way
        return jnp.stack([way > 0, way < 0], axis=1).reshape(-1, way.shape[1]).astype(int)


def pairs(m: jax.Array) -> jax.Array:
    """Differences of neighbouring rows."""
    return m[::2] - m[1::2]


def pcm() -> Chip:
    """Phase-change cells up to 25 uS. Reads fluctuate by 1/f noise as in IBM's AIHWKit, after Joshi
    et al. (doi:10.1038/s41467-020-16108-9): `q(g) sqrt(ln((t + t_read)/(2 t_read)))` of `g`, with
    `t_read` = 250 ns and `t` = 1 ms (assumed) after a pulse."""
    high, t, t_read = 25e-6, 1e-3, 250e-9
    size = jnp.sqrt(jnp.log((t + t_read) / (2 * t_read)))

    def flicker(g, key):
        share = jnp.maximum(g / high, 1e-6)
        q = jnp.minimum(0.0088 / share**0.65, 0.2)
        return jnp.maximum(g * (1 + q * size * jax.random.normal(key, g.shape, g.dtype)), 0)

    return Chip(xb.presets.pcm_response(0.0, high), va.Spread(0.2), flicker, 0.005, True)


def rram() -> Chip:
    """RRAM cells of 1 to 40 uS (range of Wan et al., doi:10.1038/s41586-022-04992-8) that move as
    the arrays of Gong, Rasch et al. (IEEE IEDM 2022, 33.7), from the middle of the window. Reads
    fluctuate by 1 %."""
    response = xb.presets.rram_response_array(1e-6, 40e-6)
    return Chip(response, va.Lognormal(0.7829), va.Spread(0.01), 0.5, False)


CHIPS = {"PCM": pcm, "RRAM": rram}
VERIFIES, DESCENTS = ("verify 8", "verify 12"), ("random", "orthogonal")


def weights(chip: Chip, key: jax.Array, shape: tuple[int, int] = (128, 64)) -> jax.Array:
    """Conductances [S] of devices for normally distributed weights, the largest ones cut at three
    deviations, where they take 0.8 of the range."""
    low, high = chip.response.g_min, chip.response.g_max
    w = 0.8 * jnp.clip(jax.random.normal(key, (shape[0] // 2, shape[1])) / 3, -1, 1)
    both = jnp.stack([w, -w], axis=1).reshape(shape)
    if chip.is_pair:
        return low + (high - low) * jnp.maximum(both, 0)
    return (low + high) / 2 + (high - low) / 2 * both


class Verify(eqx.Module):
    """Write-verify: the cells of a row are read alone, and get a pulse towards their targets while
    they are outside the window. A cell that was found inside is done (`closes`), or read again.

    **Arguments:** `window`: half its width, as a part of the range of conductances; `finer`: bits
    of the converter beyond those for products.
    """

    window: Any
    closes: Any
    finer: int = eqx.field(static=True, default=0)

    def error(self, chip, g, target, r, full, key):
        found = chip.cells(alone(g, r)) * V_READ
        return converted(found, full, BITS + self.finer) / V_READ - target


class Descent(eqx.Module):
    """Gradient descent on the error of products, all rows on.

    **Arguments:** `window`: smallest gradient that leads to a pulse, as a part of the range;
    `inputs`: number of products per step; `orthogonal`: inputs are orthogonal to each other, as
    rows of a Hadamard matrix under random signs, in place of independent random signs.
    """

    window: Any
    closes: Any
    inputs: int = eqx.field(static=True)
    orthogonal: bool = eqx.field(static=True)

    def error(self, chip, g, target, r, full, key):
        x = signs(self.inputs, len(target), self.orthogonal, key)
        m = chip.cells(effective(g, r))
        off = converted(V_READ * x @ m, full, BITS) / V_READ - x @ target
        return x.T @ off / self.inputs


def methods(chip: Chip, rows: int, setting: Callable[[str], tuple[Any, Any]]) -> dict[str, Any]:
    """All methods for an array of `rows` rows of devices, each with the window and `closes` that
    `setting` has for its name. Orthogonal inputs are as many as the cells of a column or the next
    power of two: as many products as write-verify reads rows. Random inputs are 16 times as
    many."""
    cells = rows // 2 if chip.is_pair else rows
    n = 1 << (cells - 1).bit_length()
    return {
        "verify 8": Verify(*setting("verify 8")),
        "verify 12": Verify(*setting("verify 12"), finer=4),
        "random": Descent(*setting("random"), 16 * n, False),
        "orthogonal": Descent(*setting("orthogonal"), n, True),
    }


class Course(NamedTuple):
    """What an array was at the beginning of each step."""

    pulses: jax.Array  # mean per device
    error: jax.Array  # of products, relative
    g: jax.Array  # [S] of devices

    def at(self, pulses: float) -> int:
        """The last step that began with at most so many pulses."""
        return int(np.searchsorted(np.asarray(self.pulses), pulses * (1 + 1e-6), side="right")) - 1


def signs(count: int, size: int, orthogonal: bool, key: jax.Array) -> jax.Array:
    if not orthogonal:
        return jax.random.rademacher(key, (count, size), jnp.float32)
    n = 1 << (max(count, size) - 1).bit_length()
    assert count == n, "orthogonal inputs come in powers of two"
    of_rows, of_signs = jax.random.split(key)
    odd = lax.population_count(jnp.arange(n)[:, None] & jnp.arange(n)[None]) % 2
    chosen = jax.random.permutation(of_rows, n)[:size]
    flip = jax.random.rademacher(of_signs, (1, size), jnp.float32)
    return (1.0 - 2.0 * odd)[:, chosen] * flip


def converted(i: jax.Array, full: jax.Array, bits: int) -> jax.Array:
    """Currents [A] as a converter of `-full` to `full` reports them."""
    return xb.Adc(bits, -full, full)(i)


def effective(g: jax.Array, r: Any) -> jax.Array:
    """Conductances as products see them, all rows on."""
    return g if r is None else xb.transfer(xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r)))


def alone(g: jax.Array, r: Any) -> jax.Array:
    """Conductances as reads of one row see them, all others off."""
    if r is None:
        return g
    below = len(g) - jnp.arange(len(g), dtype=g.dtype)

    def row(g, n):
        wires = xb.Wires(jnp.broadcast_to(r, (1, len(g))), jnp.full((1, len(g)), n * r))
        return xb.transfer(xb.Crossbar(xb.Ohmic(g[None]), wires))[0]

    return jax.vmap(row)(g, below)


def product_error(m: jax.Array, target: jax.Array, key: jax.Array) -> jax.Array:
    """Relative error of products of weights with 256 vectors of random signs."""
    x = signs(256, len(m), False, key)
    return jnp.linalg.norm(x @ (m - target)) / jnp.linalg.norm(x @ target)


@eqx.filter_jit
def program(
    chip: Chip, method: Any, target: jax.Array, r: Any, steps: int, key, watch: bool = True
) -> Course:
    """Devices `(rows, cols)` programmed to the conductances `target` by a pulse per cell and step
    at most. `r`: wires [ohm per segment], or None. The last entry of the course is the end."""
    of_chip, of_test, of_steps = jax.random.split(key, 3)
    response, g = chip.made(target.shape, of_chip)
    wanted = chip.cells(target)
    width = chip.response.g_max - chip.response.g_min
    rms = jnp.sqrt(jnp.mean(wanted**2))
    full = RANGE * V_READ * rms * len(wanted) ** 0.5

    def step(carry, key):
        devices, open = carry
        now = jnp.full((), jnp.nan)
        if watch:
            now = product_error(pairs(effective(devices.g, r)), pairs(target), of_test)
        course = Course(devices.count.mean(dtype=jnp.float32), now, devices.g)
        of_read, of_inputs, of_pulses = jax.random.split(key, 3)
        error = method.error(chip, chip.flicker(devices.g, of_read), wanted, r, full, of_inputs)
        out = jnp.abs(error) > method.window * width
        open = jnp.where(method.closes, open & out, open)
        way = jnp.where(out & open, -jnp.sign(error), 0).astype(int)
        devices = va.pulsed(response, devices, chip.pulses(way), of_pulses, most=1)
        return (devices, open), course

    begin = va.pulsed(response, g, 0), jnp.ones(wanted.shape, bool)
    return lax.scan(step, begin, jax.random.split(of_steps, steps + 1))[1]
