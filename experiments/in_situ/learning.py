"""Training by pulses: chips, methods, and what an update does beside the exact gradient."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

import xbarjax as xb
from xbarjax import nn, variability as va
from xbarjax.nn import in_situ

from .network import HIGH, LOW, REACH, Network, batches, by_conductances, errors, holding, new

DEAD = 0.11  # part of the devices that do not respond, as in Li et al. (2018)
SPREAD = 0.3  # of the steps, from device to device and from pulse to pulse (assumed)
WATCHED, WATCHES = 20, 8  # updates in a row whose exact gradients are found too, and how often
RRAM = in_situ.ThroughDevice(v=1.0, width=1e-7)  # assumed
# Projected for lithium ECRAM of 100 x 100 nm (Tang et al., IEEE IEDM 2018)
ECRAM = in_situ.PerPulse(1e-15)


class Method(eqx.Module):
    """How a chip learns: its devices, how it writes, what a pulse takes, and whether it is told the
    exact gradient, which no chip can form."""

    devices: str = eqx.field(static=True)
    write: str = eqx.field(static=True)
    energy: in_situ.AbstractPulseEnergy
    exact: bool = eqx.field(static=True, default=False)


METHODS = {
    "parallel": Method("linear", "parallel", RRAM),
    "row by row": Method("linear", "row by row", RRAM),
    "accumulated": Method("gradual", "accumulated", RRAM),
    "open loop": Method("ecram", "row by row", ECRAM),
    "exact": Method("linear", "row by row", RRAM, exact=True),
}


def response(devices: str) -> va.PulseResponse:
    """Nominal response of a device to pulses."""
    low, high = jnp.float32(LOW), jnp.float32(HIGH)
    if devices == "linear":  # 300 equal steps (assumed)
        step = va.LinearStep((high - low) / 300)
        return va.PulseResponse(step, step, low, high, cycle=SPREAD)
    if devices == "gradual":  # soft bounds: steps shrink to a tenth over the window (assumed)
        step = va.LinearStep((high - low) / 100, 0.9)
        return va.PulseResponse(step, step, low, high, cycle=SPREAD)
    return xb.presets.ecram_response_lithium(LOW, HIGH)


def nominal_step(devices: str) -> float:
    """Mean step [S] up and down in the middle of the window."""
    up, down = response(devices).steps(jnp.asarray((LOW + HIGH) / 2))
    return float(up + down) / 2


class Chip(eqx.Module):
    """Devices of both layers, their responses, and the digital sums of the accumulator."""

    devices: list[va.Pulsed]
    responses: list[va.PulseResponse]
    alive: list[jax.Array]
    rest: list[jax.Array]


def chip(net: Network, devices: str, dead: str, seed: int) -> Chip:
    """The devices of a network. Their steps differ. `dead` devices are stuck at any level of the
    window (`"anywhere"`), at its low end (`"low"`), or there are none (`"none"`)."""
    made: list[Any] = [[], [], [], []]
    for k, arrays in enumerate((net.first, net.second)):
        of_step, of_dead, of_level = jax.random.split(jax.random.key(1000 + 10 * seed + k), 3)
        shape = arrays.g_relative.shape
        share = 0.1 if devices == "ecram" else SPREAD
        strength = va.Spread(share)(jnp.ones(shape), of_step)
        stuck = (jax.random.uniform(of_dead, shape) < DEAD) & (dead != "none")
        level = jax.random.uniform(of_level, shape) * (dead == "anywhere")
        g = jnp.where(stuck, LOW + level * (HIGH - LOW), arrays.conductances)
        strength = jnp.where(stuck, 0, strength)
        mine = eqx.tree_at(lambda r: r.strength, response(devices), strength)
        for x, y in zip(made, (va.pulsed(mine, g, 0), mine, ~stuck, jnp.zeros(shape))):
            x.append(y)
    return Chip(*made)


def rates(top: float, updates: int) -> jax.Array:
    """Learning rates of all updates: from `top` down to a tenth of it, linearly."""
    return jnp.linspace(top, top / 10, updates, dtype=jnp.float32)


def update(
    method: Method, net: Network, chip: Chip, x, y, rate, step, key
) -> tuple[Chip, Any, Any]:
    """One update of all devices by a batch: the chip after it, its costs, and what it wanted, gave
    and did. `rate`: of weights; a change of a weight is shared by both devices of its pair."""
    seen = holding(net, chip.devices)
    k = jnp.float32((HIGH - LOW) / REACH)
    of_g = rate * k**2 / 2  # [S^2]
    keys = jax.random.split(key, 2)
    if method.write == "parallel":
        made = []
        for layer, (rows, at) in enumerate(errors(in_situ.local(seen), x, y)):
            delta = -of_g / k * at / len(x)
            made.append(_one_by_one(method, chip, layer, rows, delta, step, keys[layer]))
        wanted = [-of_g * s for s in by_conductances(in_situ.local(seen), x, y)]
    else:
        shown = seen if method.exact else in_situ.local(seen)
        wanted = [-of_g * s for s in by_conductances(shown, x, y)]
        made = []
        for d, r, change, rest, own in zip(chip.devices, chip.responses, wanted, chip.rest, keys):
            if method.write == "accumulated":
                one = in_situ.accumulated(r, d, change, rest, step, own, energy=method.energy)
            else:
                one = in_situ.row_by_row(
                    r, d, change, step, own, rounding=in_situ.dithered, energy=method.energy
                )
            made.append(one)
    given = [(m.up - m.down).astype(jnp.float32) * step for m in made]
    moved = [m.devices.hidden - d.hidden for m, d in zip(made, chip.devices)]
    total = lambda parts: sum(jnp.sum(p.astype(jnp.float32)) for p in parts)
    cost = {
        "up": total(m.up for m in made),
        "down": total(m.down for m in made),
        "half": total(m.half for m in made),
        "energy": total(m.energy for m in made),
        # layers and tiles are written at the same time
        "slots": jnp.max(jnp.stack([jnp.max(m.slots) for m in made])).astype(jnp.float32),
    }
    after = dataclasses.replace(
        chip, devices=[m.devices for m in made], rest=[m.rest for m in made]
    )
    return after, cost, (wanted, given, moved)


def _one_by_one(method, chip, layer, rows, delta, step, key) -> in_situ.Update:
    """Parallel updates of one array by all images of a batch, one after the other."""
    whole = lambda x: x[0, 0, 0] if jnp.ndim(x) > 2 else x
    one = jax.tree.map(whole, chip.responses[layer])
    begun = jax.tree.map(whole, chip.devices[layer])

    def give(devices, sample):
        x, d, own = sample
        made = in_situ.parallel(one, devices, x, d, step, own, energy=method.energy)
        return made.devices, (made.up, made.down, made.half, made.energy, made.slots)

    after, given = lax.scan(give, begun, (rows, delta, jax.random.split(key, len(rows))))
    given = jax.tree.map(lambda x: jnp.sum(x, axis=0), given)
    back = lambda x: x[None, None, None]
    up, down, half, energy = map(back, given[:-1])
    devices, slots = jax.tree.map(back, after), given[-1]
    return in_situ.Update(devices, up, down, half, energy, slots, chip.rest[layer])


@eqx.filter_jit
def _train(method: Method, net: Network, chip: Chip, x, y, rate, step, key, watch: bool) -> Any:
    """Updates by a series of batches; with `watch`, beside the exact gradients."""

    def one(chip, given):
        x, y, rate, key = given
        after, cost, did = update(method, net, chip, x, y, rate, step, key)
        if not watch:
            return after, (cost, None)
        exact = by_conductances(holding(net, chip.devices), x, y)
        wanted, given, moved = did
        return after, (cost, (angles(exact, wanted, given, moved, chip.alive), (exact, *did)))

    keys = jax.random.split(key, len(rate))
    seen: Any
    after, (cost, seen) = lax.scan(one, chip, (x, y, rate, keys))
    cost = jax.tree.map(jnp.sum, cost)
    if not watch:
        return after, cost, None
    single, did = seen
    exact, wanted, given, moved = jax.tree.map(lambda x: jnp.sum(x, axis=0), did)
    alone = jax.tree.map(jnp.mean, single)
    return after, cost, {"one": alone, "sum": angles(exact, wanted, given, moved, chip.alive)}


def angles(exact, wanted, given, moved, alive) -> dict[str, jax.Array]:
    """Cosines between the negative exact gradient by all conductances and the update, as it is
    wanted, on devices that live, as pulses of the nominal step, and as devices moved."""
    down = [-e for e in exact]
    masked = lambda parts: [p * a for p, a in zip(parts, alive)]
    found = {"wanted": wanted, "alive": masked(wanted), "pulses": masked(given), "moved": moved}
    return {name: in_situ.cosine(down, parts) for name, parts in found.items()}


def train(
    method: Method,
    top: float,
    size: str,
    r: float,
    dead: str,
    seed: int,
    samples: int,
    batch: int,
    watch: bool,
) -> dict[str, Any]:
    """A training: the network after it, its costs and angles."""
    net = new(size, seed, r)
    now = chip(net, method.devices, dead, seed)
    x, y = batches(size, samples, batch, seed)
    rate, key = rates(top, len(x)), jax.random.key(seed)
    step = jnp.float32(nominal_step(method.devices))
    piece = len(x) // WATCHES
    costs, seen, at = [], [], []
    for k in range(0, len(x), piece):
        cut = [k, k + WATCHED, k + piece] if watch else [k, k + piece]
        for n, (a, b) in enumerate(zip(cut, cut[1:])):
            looks = watch and n == 0 and b <= len(x)
            part = (x[a:b], y[a:b], rate[a:b], step, jax.random.fold_in(key, a))
            if not len(part[0]):
                continue
            now, cost, angle = _train(method, net, now, *part, looks)
            costs.append({name: float(value) for name, value in cost.items()})
            if looks:
                seen.append(jax.tree.map(float, angle))
                at.append(a * batch)
    total = {name: sum(c[name] for c in costs) for name in costs[0]}
    most = max(int(jnp.max(d.count)) for d in now.devices)
    count = sum(d.count.size for d in now.devices)
    total |= {"updates": len(x), "devices": count, "most_pulses_of_a_device": most}
    return {"net": holding(net, now.devices), "cost": total, "angles": seen, "at": at}


def in_software(size: str, rate: float, seed: int, samples: int, batch: int) -> Network:
    """The same network, trained by the same steps without devices: exact changes within bounds."""
    return _in_software(new(size, seed, 0.0), rates(rate, samples // batch),
                        *batches(size, samples, batch, seed))  # fmt: skip


@eqx.filter_jit
def _in_software(net: Network, rate, x, y) -> Network:
    def one(net, given):
        x, y, rate = given
        scale = rate * jnp.float32((HIGH - LOW) / REACH) ** 2 / 2 / jnp.float32(HIGH - LOW)
        slopes = by_conductances(net, x, y)
        shares = [a.g_relative - scale * s for a, s in zip((net.first, net.second), slopes)]
        where = lambda n: (n.first.g_relative, n.second.g_relative)
        return eqx.tree_at(where, net, [jnp.clip(s, 0, 1) for s in shares]), None

    fixed, static = eqx.partition(net, eqx.is_array)
    run = lambda arrays, given: (
        eqx.filter(one(eqx.combine(arrays, static), given)[0], eqx.is_array), None
    )  # fmt: skip
    return nn.within_bounds(eqx.combine(lax.scan(run, fixed, (x, y, rate))[0], static))
