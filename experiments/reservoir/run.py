"""Reservoir of dynamic memristors that predicts the Hénon map: error over spread of devices, noise
of reads and resistance of wires, to find where the published error appears.

    python -m experiments.reservoir.run

Zhong et al. (Nature Communications 12, 2021, doi:10.1038/s41467-020-20692-1) measured an NRMSE of
0.046 with M = 4 virtual nodes on each of N = 25 devices, and voltages of -0.8 to 2.5 V. Their model
of the device and their protocol, from the authors' code, are:

- Series: `x <- 1 - 1.4 x^2 + y + w`, `y <- 0.3 x`. The next value is predicted. 1000 values train
  the readout, the 1000 after them test it. Every device starts both halves from its state at rest.
  The normal `w` has a deviation of 0.0025, which is ours, since the measured one is not known. It
  limits every prediction to "floor".
- Mask: each value, times +-1 at random, is 4 pulses on each device, one after the other. An affine
  map takes the range of the masked series to that of the voltages.
- Readout: linear, of the 100 currents at the ends of the pulses, with an offset, by least squares.
- NRMSE: rms error over the standard deviation of the series, without the first 9 values.

The authors' code scales each half by its own extremes ("each half"). Elsewhere we scale both by
those of the training half, since a system in use does not know the extremes of its future.

The 25 devices are a 25 x 1 array. Each row has the pulses of one device and its driver measures
its current. `xb.simulate` carries all pulses of all results but "recurrence": the same from the
published recurrence, which `simulate` is compared with ("check"). The length of a pulse, 1 ms, is
free: it scales all times, and nothing depends on it.

Sweeps, each with medians and quartiles over the seeds of series, mask and spread:

- same devices: `k_p`, `k_n`, `alpha` and `x_0` of every device have a normal relative spread; the
  readout is trained on these devices.
- other devices: the same, with a readout trained on devices without spread.
- read noise: normal, relative to each current ("gain") or to the largest one of the training half
  ("full scale"), fresh for every read, in training and test; on equal devices and on devices with
  a spread of 10 %, whose readout is trained on them.
- wires: ohm per segment of rows and of the shared bit line, with a readout trained with these wires
  and one trained without.

Sweeps of spread and wires are made without noise and with noise of 1e-5 of the full scale. Without
noise the matrix of currents has a condition number of 1.5e7 ("condition"), and more with wires. The
weights of the readout are then huge, and a few values beyond the range of the training half, or
differences of 1e-5 between devices, decide the error: the median over ohms has a peak.

`crossing` is where the median comes to 0.046, interpolated between logarithms; null if it does not.

An ideal simulation below a measured error proves nothing: the model has no noise. What the sweeps
say is how large each imperfection, alone, would have to be to explain the measurement.

Findings (result.json):

- The published protocol gives 0.010 over 8 seeds and 0.014 over 64 from 0 to 2.5 V. The quartiles
  over seeds are 0.009 and 0.026: one series decides little. From -0.8 V on it gives 0.021.
- Read noise is what this reservoir bears least: 0.004 % of the full scale bring 0.046, 0.1 % bring
  0.14. Masks of 4 signs are 16 at most, so 25 equal devices repeat each other.
- Spread between devices helps, as long as the readout is trained on them: no spread up to 20 %
  brings 0.046. A readout of other devices bears a spread of 0.006 %, with noise.
- Wires do as spread does: with noise, no resistance up to 10 ohm brings 0.046 if the readout is
  trained with it, and 0.01 ohm does if not.
- So neither spread nor wires explain the measurement, if the readout was trained on the chip.
  Noise above 0.004 % makes the model worse than the chip was: the reads of the chip were finer, or
  its devices are richer than the model. These results do not decide between the two.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import xbarjax as xb
from xbarjax import variability as va

from ..common import keep

HERE = Path(__file__).parent
PUBLISHED = 0.046
SEEDS, MANY = 8, 64  # of the sweeps, and of the recurrence under the published protocol
STEPS, MASK, DEVICES = 1000, 4, 25
NOISE, V_MIN, V_MAX = 0.0025, -0.8, 2.5
T, EDGE = 1e-3, 1e-6  # [s] length of a pulse and of the edge at its start
STEPS_PER_INTERVAL = 2
SPREADS = (1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.2)
NOISES = (1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01)
OHMS = (1e-3, 0.01, 0.1, 1.0, 3.0, 10.0)
VARIED = 0.1  # spread of devices under noise
READ = 1e-5  # noise of the full scale under spread and wires
LEAVES = tuple(
    (lambda crossbar, name=name: getattr(crossbar.cell, name))
    for name in ("k_p", "k_n", "alpha", "x_0")
)


def henon(rng: np.random.Generator) -> np.ndarray:
    """A series, after 100 values that are left out."""
    x = y = 0.0
    values = []
    for w in rng.normal(0, NOISE, 2 * STEPS + 101):
        x, y = 1 - 1.4 * x * x + y + w, 0.3 * x
        values.append(x)
    return np.array(values[100:])


class Task(eqx.Module):
    """A series of each seed, and the voltages [V] of its pulses, `(seeds, pulses, devices)`."""

    series: np.ndarray
    training: jax.Array
    test: jax.Array


def task(seeds: int, v_min: float = V_MIN, each_half: bool = False) -> Task:
    series, voltages = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        u, mask = henon(rng), rng.choice([-1.0, 1.0], (MASK, DEVICES))
        halves = u[:STEPS], u[STEPS:-1]
        largest = [np.abs(half).max() for half in halves]
        if not each_half:
            largest[1] = largest[0]
        masked = [half[:, None, None] * mask / top for half, top in zip(halves, largest)]
        scaled = [v_min + (m + 1) / 2 * (V_MAX - v_min) for m in masked]
        voltages.append([v.reshape(-1, DEVICES) for v in scaled])
        series.append(u)
    training, test = (jnp.asarray(np.stack(v)) for v in zip(*voltages))
    return Task(np.stack(series), training, test)


def pulses(v: jax.Array) -> xb.Waveform:
    """Pulses without pauses, each with an edge at its start."""
    begins = T * jnp.arange(len(v))[:, None]
    t = jnp.concatenate([begins, begins + EDGE], axis=1).ravel()
    return xb.Waveform(t, jnp.repeat(jnp.concatenate([v[:1], v]), 2, axis=0)[1:-1])


def devices() -> xb.Crossbar:
    """25 equal devices at rest on one bit line, with ideal wires."""
    full = lambda x: jnp.full((DEVICES, 1), x)
    rest = xb.DynamicMemristor(full(0.5), T)
    leaves = {name: full(getattr(rest, name)) for name in ("k_p", "k_n", "alpha", "x_0")}
    return xb.Crossbar(xb.DynamicMemristor(full(0.5), T, **leaves), xb.Wires(0.0, 0.0))


@eqx.filter_jit
def simulated(crossbar: xb.Crossbar, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Currents [A] at the ends of all pulses, and statuses, of a batch of arrays."""

    def one(crossbar, v):
        rest = eqx.tree_at(lambda c: c.cell.x, crossbar, crossbar.cell.x_0)
        ts = T * jnp.arange(len(v) + 1)
        steps = STEPS_PER_INTERVAL
        seen = xb.simulate(rest, pulses(v), ts, steps_per_interval=steps, max_steps=2**16)
        return seen.i_in[1:], seen.status

    return eqx.filter_vmap(one)(crossbar, v)


@jax.jit
def recurrence(v: jax.Array) -> jax.Array:
    """Currents [A] by the published recurrence, without the library's device."""

    def pulse(x, v):
        u = 0.23 * jnp.abs(v) / (1 + 0.23 * jnp.abs(v))
        x = 0.99 * x + (1 - 0.99) * 0.5 + u * ((v > 0) - x)
        return x, 1e-6 * x * (9.13 * jnp.maximum(v, 0) ** 3 + 0.32 * jnp.minimum(v, 0) ** 3)

    return jax.vmap(lambda v: jax.lax.scan(pulse, jnp.full(DEVICES, 0.5), v)[1])(v)


def batch(make: Any, seeds: int) -> xb.Crossbar:
    """Arrays of all seeds, `make(key)` of each."""
    return eqx.filter_vmap(make)(jax.random.split(jax.random.key(0), seeds))


def currents(crossbars: xb.Crossbar, of: Task) -> tuple[np.ndarray, np.ndarray]:
    """Currents [A] of training and test, `(seeds, pulses, devices)`."""
    halves = []
    for v in (of.training, of.test):
        i, status = simulated(crossbars, v)
        if int(jnp.max(status)):
            raise RuntimeError(f"simulate ended with the statuses {status}.")
        halves.append(np.asarray(i))
    return halves[0], halves[1]


def errors(of: Task, training: Any, test: Any) -> np.ndarray:
    """NRMSE of each seed, of a readout trained on the currents of the training half."""
    found = []
    for u, seen, new in zip(of.series, np.asarray(training), np.asarray(test)):
        nodes = lambda i: np.hstack([np.ones((STEPS, 1)), 1e6 * i.reshape(STEPS, -1)])
        weights, *_ = np.linalg.lstsq(nodes(seen), u[1 : STEPS + 1])
        target = u[STEPS + 1 :]
        off = nodes(new) @ weights - target
        found.append(np.sqrt(np.mean(off[9:] ** 2) / np.var(target[9:], ddof=1)))
    return np.array(found)


def summary(error: np.ndarray) -> dict[str, float]:
    low, median, high = np.percentile(error, (25, 50, 75))
    return {"median": median, "low": low, "high": high}


def crossing(levels: Any, rows: list[dict[str, float]]) -> float | None:
    """The first level at which the median comes to the published error."""
    medians = np.log([row["median"] for row in rows])
    for k in range(1, len(rows)):
        if medians[k - 1] < np.log(PUBLISHED) <= medians[k]:
            part = (np.log(PUBLISHED) - medians[k - 1]) / (medians[k] - medians[k - 1])
            return float(np.exp(np.interp(part, [0, 1], np.log(levels[k - 1 : k + 1]))))
    return None


def sweep(levels: Any, rows: list[np.ndarray]) -> dict[str, Any]:
    found = [summary(row) for row in rows]
    return {"levels": levels, "nrmse": found, "crossing": crossing(levels, found)}


def spread(size: Any) -> va.Chain:
    return va.Chain(*(va.At(leaf, va.Spread(size)) for leaf in LEAVES))


def noisy(halves: Any, gain: float, full_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Currents of training and test with noise, the same normal numbers at every size."""
    rng, read = np.random.default_rng(0), []
    top = np.abs(halves[0]).max(axis=(1, 2), keepdims=True)
    for i in halves:
        one, other = rng.normal(size=(2, *i.shape))
        read.append(i * (1 + gain * one) + full_scale * top * other)
    return read[0], read[1]


def compare(
    of: Task, ideal: Any, own: str, foreign: str, levels: Any, seen: list[Any], into: dict[str, Any]
) -> None:
    """Sweeps of readouts trained on the arrays themselves and on ideal ones, without and with
    noise."""
    for noise, label in ((0.0, ""), (READ, ", noise")):
        learnt, _ = noisy(ideal, 0.0, noise)
        read = [noisy(i, 0.0, noise) for i in seen]
        into[own + label] = sweep(levels, [errors(of, *i) for i in read])
        into[foreign + label] = sweep(levels, [errors(of, learnt, i[1]) for i in read])


def condition(i: np.ndarray) -> float:
    """Median over seeds of the condition number of the currents at the nodes, without directions
    that least squares leaves out."""
    found = []
    for each in i:
        values = np.linalg.svd(each.reshape(STEPS, -1), compute_uv=False)
        kept = values[values > values[0] * STEPS * np.finfo(float).eps]
        found.append(kept[0] / kept[-1])
    return float(np.median(found))


def protocols() -> dict[str, Any]:
    """The recurrence under the published protocol, and what its scaling does."""
    rows = {}
    for volts, v_min in (("0 to 2.5 V", 0.0), (f"{V_MIN} to 2.5 V", V_MIN)):
        for scaling, each_half in (("each half", True), ("training half", False)):
            of = task(MANY, v_min, each_half)
            error = errors(of, recurrence(of.training), recurrence(of.test))
            first = {"median of first 8": np.median(error[:8])}
            rows[f"{volts}, {scaling}"] = summary(error) | first
    return rows


def check(of: Task, result: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """`simulate` against the recurrence, on all pulses; returns the currents of `simulate`."""
    arrays = batch(lambda key: devices(), SEEDS)
    currents(arrays, of)  # compiles
    began = time.perf_counter()
    seen = currents(arrays, of)
    seconds = time.perf_counter() - began
    want = tuple(np.asarray(recurrence(v)) for v in (of.training, of.test))
    off = np.concatenate([s - w for s, w in zip(seen, want)], axis=1)
    every = np.concatenate(want, axis=1)
    by = {name: errors(of, *i) for name, i in (("simulate", seen), ("recurrence", want))}
    result["check"] = {
        "pulses": off.shape[1],
        "largest_error_of_largest_current": np.abs(off).max() / np.abs(every).max(),
        "rms_error_of_rms_current": np.sqrt(np.mean(off**2) / np.mean(every**2)),
        "nrmse": {name: summary(error) for name, error in by.items()},
        "largest_difference_of_nrmse": np.abs(by["simulate"] - by["recurrence"]).max(),
        "device_pulses_per_second": off.size / seconds,
    }
    return seen


def show(result: dict[str, Any], console: Console) -> None:
    table = Table("published protocol, recurrence", "median", "quartiles", "first 8 seeds")
    for name, row in result["recurrence"].items():
        quartiles = f"{row['low']:.4f} to {row['high']:.4f}"
        first = f"{row['median of first 8']:.4f}"
        table.add_row(name, f"{row['median']:.4f}", quartiles, first)
    console.print(table)
    console.print({k: result[k] for k in ("check", "ideal", "ideal, noise", "condition", "floor")})
    table = Table("sweep", "level: median NRMSE", "crossing")
    for name, row in result["sweeps"].items():
        pairs = zip(row["levels"], row["nrmse"])
        text = ", ".join(f"{level:g}: {each['median']:.4f}" for level, each in pairs)
        at = row["crossing"]
        table.add_row(name, text, "none" if at is None else f"{at:.3g}")
    console.print(table)


def figure(of: Task, result: dict[str, Any]) -> Figure:
    made = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = made.subplots(1, 3, width_ratios=(1, 1.1, 0.9))
    n, fine = 24, 10
    v = of.training[0, :n]
    ts = T * jnp.arange(n * fine + 1) / fine
    seen = xb.simulate(devices(), pulses(v), ts, steps_per_interval=2)
    want = np.asarray(recurrence(v[None]))[0]
    k = int(np.argmax(np.ptp(np.asarray(want), axis=0)))
    left.plot(1e3 * ts, 1e6 * seen.i_in[:, k], "k-", lw=1, label="simulate")
    ends = 1e3 * T * (1 + np.arange(n))
    left.plot(ends, 1e6 * want[:, k], "o", color="0.4", mfc="w", ms=4, label="recurrence")
    left.set(xlabel="time [ms]", ylabel="current of a device [µA]")
    left.legend(fontsize=8)
    styles = {
        "same devices, noise": ("ks-", "spread, readout trained on these devices"),
        "other devices, noise": ("k^--", "spread, readout of equal devices"),
        "gain, equal devices": ("o-", "noise of each read"),
        "full scale, equal devices": ("v-", "noise of the full scale"),
        "full scale, varied devices": ("v:", "the same, 10 % spread"),
    }
    for name, (style, label) in styles.items():
        grey = {} if style.startswith("k") else {"color": "0.5"}
        row = result["sweeps"][name]
        at = [100 * level for level in row["levels"]]
        _band(middle, at, row["nrmse"])
        medians = [each["median"] for each in row["nrmse"]]
        middle.plot(at, medians, style, label=label, ms=4, lw=1, **grey)
    for name, style in (("wires, trained with", "ks-"), ("wires, trained without", "k^--")):
        row = result["sweeps"][f"{name}, noise"]
        _band(right, row["levels"], row["nrmse"])
        medians = [each["median"] for each in row["nrmse"]]
        right.plot(row["levels"], medians, style, label=name, ms=4, lw=1)
    for panel in (middle, right):
        panel.axhline(PUBLISHED, color="0.2", lw=1.5, ls="-.", label="measured by Zhong et al.")
        panel.axhline(result["ideal"]["median"], color="0.6", lw=1, label="no imperfection")
        panel.set(xscale="log", yscale="log", ylim=(0.008, 3000), ylabel="NRMSE of the prediction")
        panel.legend(fontsize=6.5, loc="upper left")
    middle.set_xlabel("standard deviation [%]")
    right.set_xlabel("resistance of a segment [ohm]")
    return made


def _band(panel: Any, at: Any, rows: list[dict[str, float]]) -> None:
    low, high = ([row[end] for row in rows] for end in ("low", "high"))
    panel.fill_between(at, low, high, color="0.85", lw=0)


def main() -> None:
    began, console = time.perf_counter(), Console()
    jax.config.update("jax_enable_x64", True)
    result: dict[str, Any] = {"published": PUBLISHED, "seeds": SEEDS, "recurrence": protocols()}
    of = task(SEEDS)
    result["floor"] = NOISE / float(np.median(of.series[:, STEPS + 10 :].std(axis=1)))
    ideal = check(of, result)
    result["ideal"] = summary(errors(of, *ideal))
    result["ideal, noise"] = summary(errors(of, *noisy(ideal, 0.0, READ)))
    result["condition"] = condition(ideal[0])
    sweeps: dict[str, Any] = {}
    size_of = lambda size: batch(lambda key: spread(size)(devices(), key), SEEDS)
    seen = [currents(size_of(size), of) for size in SPREADS]
    varied = seen[SPREADS.index(VARIED)]
    compare(of, ideal, "same devices", "other devices", SPREADS, seen, sweeps)
    for name, i in (("equal devices", ideal), ("varied devices", varied)):
        sweeps[f"gain, {name}"] = sweep(NOISES, [errors(of, *noisy(i, n, 0.0)) for n in NOISES])
        rows = [errors(of, *noisy(i, 0.0, n)) for n in NOISES]
        sweeps[f"full scale, {name}"] = sweep(NOISES, rows)
    wired = lambda ohm: eqx.tree_at(lambda c: c.wires, devices(), xb.Wires(ohm, ohm))
    seen = [currents(batch(lambda key, ohm=ohm: wired(ohm), SEEDS), of) for ohm in OHMS]
    compare(of, ideal, "wires, trained with", "wires, trained without", OHMS, seen, sweeps)
    result["sweeps"] = sweeps
    show(result, console)
    console.print(keep(HERE, result, figure(of, result), began))


if __name__ == "__main__":
    main()
