"""Correctness, compile times and run times on a GPU, in one command of at most 8 minutes.

    python -m experiments.speed.gpu OUT.json [--small]

Results are first checked against dense nodal solves in NumPy. The result of every part is written
when the part ends. A part that fails records its error, and the next part begins. No part begins
after `LIMIT`. `--small` tries the command on a CPU. Times are medians without the first call, which
includes compilation and is given separately.
"""

import argparse
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import xbarjax as xb

from .. import reference
from ..common import machine, write_json
from .circuits import current, error
from .verbs import programs

LIMIT = 420.0  # [s] after which no part begins; the longest part takes about a minute
DTYPES = ("float32", "float64")
ENOUGH = {"float32": 2e-5, "float64": 1e-10}  # largest error, relative to the largest output


def array(g: Any) -> xb.Crossbar:
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(1.0, 1.0))


def outcome(crossbar: xb.Crossbar, v: Any) -> tuple[Any, Any, Any]:
    """Currents, status and steps of a read."""
    solution = xb.read(crossbar, v)
    return solution.i_out, solution.status, solution.num_steps


def arrays(count: tuple[int, ...], n: int, dtype: str) -> tuple[Any, Any]:
    """Conductances [S] of 1 to 100 uS, drawn on the device, and one input [V]."""
    keys = jax.random.split(jax.random.key(0))
    g = jax.random.uniform(keys[0], (*count, n, n), dtype, 1e-6, 1e-4)
    return g, jax.random.uniform(keys[1], (n,), dtype, 0, 0.2)


def timed(f: Callable, *args: Any, least: int = 3) -> tuple[Any, dict[str, float]]:
    """The result of `f`, and its times [s]: first call, and median of later calls."""
    marks = [time.perf_counter()]
    for _ in range(least + 1):
        found = jax.block_until_ready(f(*args))
        marks.append(time.perf_counter())
    first, *later = np.diff(marks)
    return found, {"first_s": float(first), "s": float(np.median(later))}


def exact(g: Any, v: Any) -> Any:
    """Output currents of one array by a dense solve in float64."""
    g, v = np.asarray(g, np.float64), np.asarray(v, np.float64)
    matrix, b = reference.nodal_matrix(g, 1.0, 1.0, v)
    return reference.output_currents(np.linalg.solve(matrix.toarray(), b), g)


def held(got: Any, wanted: Any, dtype: str) -> float:
    """The error of `got`; raises `AssertionError` if it is too large."""
    wrong = error(got, wanted)
    if not wrong < ENOUGH[dtype]:
        raise AssertionError(f"results have an error of {wrong:.1e} of the largest in {dtype}")
    return wrong


def right(small: bool) -> dict:
    """Errors of reads and gradients against dense solves."""
    found = {}
    for dtype in DTYPES:
        for n in (8, 16) if small else (16, 40):
            g, v = arrays((), n, dtype)
            found[f"read {n} {dtype}"] = held(jax.jit(current)(g, v), exact(g, v), dtype)
        slope = jax.jit(jax.grad(lambda g, v=v: jnp.sum(current(g, v))))(g)
        at, step = (3, 5), 1e-7
        up, down = (exact(np.asarray(g, float) + s * _one(g, at, step), v).sum() for s in (1, -1))
        off = abs(float(slope[at]) / ((up - down) / (2 * step)) - 1)
        found[f"slope {n} {dtype}"] = off
        assert off < (1e-3 if dtype == "float32" else 1e-6), off
    return found


def _one(g: Any, at: tuple[int, int], step: float) -> Any:
    x = np.zeros(g.shape)
    x[at] = step
    return x


def bandwidth(small: bool) -> dict:
    """Memory bandwidth, by `x + 1`, which reads and writes every element once."""
    x = jnp.ones((2**22 if small else 2**28,), jnp.float32)
    _, took = timed(jax.jit(lambda x: x + 1), x, least=9)
    return took | {"bytes_a_second": 2 * x.nbytes / took["s"]}


def compiling(small: bool) -> dict:
    """Times [s] of the first and later answers of every verb."""
    found = {}
    for verb, (f, args) in programs(16 if small else 64).items():
        try:
            found[verb] = timed(jax.jit(f), *args, least=2)[1]
        except Exception as failure:  # recorded, as for parts
            found[verb] = _why(failure)
    return found


def dies(dtype: str, small: bool) -> dict:
    """Rate of reads of many arrays with one input."""
    found, n = {}, 32 if small else 128
    for count in (8, 16) if small else (256, 2048, 16_384, 100_000):
        if 12 * count * n * n * np.dtype(dtype).itemsize > _memory():
            found[count] = "more than there is memory for"
            continue
        g, v = arrays((count,), n, dtype)
        many = jax.jit(jax.vmap(current, (0, None)))
        out, took = timed(many, g, v, least=2)
        wrong = held(out[3], jax.jit(current)(g[3].astype("float64"), v.astype("float64")), dtype)
        found[count] = took | {"dies_a_second": count / took["s"], "error": wrong}
    return found


def in_one_block(small: bool) -> dict:
    """Rate of reads of the float32 arrays with one block of threads per array, and its ratio to the
    rate of `dies`."""
    solver, n, found = xb.LadderCG(one_block=True, native=False), 32 if small else 128, {}
    block = lambda g, v: xb.read(array(g), v, solver=solver).i_out
    for count in (8,) if small else (256, 2048, 16_384):
        g, v = arrays((count,), n, "float32")
        out, took = timed(jax.jit(jax.vmap(block, (0, None))), g, v, least=2)
        _, plain = timed(jax.jit(jax.vmap(current, (0, None))), g, v, least=2)
        wrong = held(
            out[3], jax.jit(current)(g[3].astype("float64"), v.astype("float64")), "float32"
        )
        dies = {"dies_a_second": count / took["s"], "times": plain["s"] / took["s"]}
        found[count] = took | dies | {"error": wrong}
    return found


def _memory() -> float:
    """Memory limit of the device [bytes], with a default if it is unknown."""
    stats = jax.devices()[0].memory_stats() or {}
    return float(stats.get("bytes_limit", 8e9))


def reads(small: bool) -> dict:
    """Times of reads of single arrays over size."""
    found = {}
    for n in (32, 64) if small else (256, 512, 1024, 2048, 4096):
        for dtype in DTYPES:
            g, v = arrays((), n, dtype)
            s, took = timed(jax.jit(lambda g, v: outcome(array(g), v)), g, v)
            assert int(s[1]) == 0, int(s[1])
            found[f"{n} {dtype}"] = took | {"steps": int(s[2])}
    return found


def gradients(small: bool) -> dict:
    """Time of a gradient by all conductances of a batch, in batched reads."""
    found, (count, n) = {}, (8, 32) if small else (2048, 128)
    for dtype in DTYPES:
        g, v = arrays((count,), n, dtype)
        total = lambda g, v: jnp.sum(jax.vmap(current, (0, None))(g, v) ** 2) * 1e8
        _, read = timed(jax.jit(total), g, v)
        slope, took = timed(jax.jit(jax.grad(total)), g, v)
        assert bool(jnp.all(jnp.isfinite(slope)))
        found[dtype] = took | {"reads": took["s"] / read["s"]}
    return found


def transfers(small: bool) -> dict:
    """Rate of effective matrices of a batch, with one checked against a read of a unit input."""
    count, n = (2, 16) if small else (256, 64)
    found = {}
    matrix = lambda g: xb.transfer(array(g))
    for dtype in DTYPES:
        g, _ = arrays((count,), n, dtype)
        many, took = timed(jax.jit(jax.vmap(matrix)), g)
        one = current(g[0].astype("float64"), jnp.eye(n)[2])
        wrong = held(many[0][2], one, dtype)
        found[dtype] = took | {"matrices_a_second": count / took["s"], "error": wrong}
    return found


def nonlinear(small: bool) -> dict:
    """Rate of reads of arrays with cells of `(g / b) sinh(b v)`."""
    count, n = (2, 16) if small else (1024, 64)
    g, v = arrays((count,), n, "float32")
    one = lambda g, v: outcome(xb.Crossbar(xb.Sinh(g, 4.0), xb.Wires(1.0, 1.0)), v)
    s, took = timed(jax.jit(jax.vmap(one, (0, None))), g, v)
    assert not bool(jnp.any(s[1]))
    return took | {"reads_a_second": count / took["s"]}


def epoch(small: bool) -> dict:
    """Time of an epoch of experiments/mnist_wires, 784-128-10 on tiles of 64 rows, one array per
    tile. Images are random, which costs the same."""
    from ..mnist_wires import network

    net = network.on(network.new(0), lambda w: network.begun(w, 64, 0.1))
    training = xb.nn.Training(network.loss, optax.adam(1e-3))
    images = 8 if small else 1000
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(images, 784)), jnp.float32)
    y = jnp.asarray(rng.integers(0, 10, images))
    times = [time.perf_counter()]
    seen = lambda step, value: times.append(time.perf_counter())
    xb.nn.fit(training, net, [(x, y)] * (3 if small else 12), on_step=seen)
    first, *later = np.diff(times)
    step = float(np.median(later))
    return {"first_s": float(first), "step_s": step, "epoch_s": step * 60_000 / images}


def drawn(small: bool) -> dict:
    """Rate of a million dies of 64x64, drawn, read and measured, without storing."""
    count, batch, n = (32, 16, 16) if small else (1_000_000, 20_000, 64)
    g, v = arrays((), n, "float32")
    spread = xb.variability.Lognormal(0.1)
    ideal = v @ g

    @jax.jit
    def many(first):
        keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.key(1), k))(
            first + jnp.arange(batch)
        )
        one = lambda key: jnp.max(jnp.abs(current(spread(g, key), v) - ideal)) / jnp.max(ideal)
        return jax.vmap(one)(keys)

    began, found = time.perf_counter(), []
    for k in range(0, count, batch):
        found.append(np.asarray(many(k)))
        if len(found) == 1:
            first = time.perf_counter() - began
        if time.perf_counter() - began > 60:
            break
    took = time.perf_counter() - began - first
    done = len(found) * batch
    assert np.isfinite(found).all()
    return {"first_s": first, "dies": done, "dies_a_second": (done - batch) / max(took, 1e-9)}


def stored(small: bool) -> dict:
    """Rate of dies in a sweep with a store."""
    from . import sweeps

    return sweeps.stored(16, 64, 16) if small else sweeps.stored(64, 200_000, 20_000)


PARTS: dict[str, Callable[[bool], dict]] = {
    "right": right,
    "bandwidth": bandwidth,
    "dies float32": lambda small: dies("float32", small),
    "dies float64": lambda small: dies("float64", small),
    "in one block": in_one_block,
    "reads": reads,
    "gradients": gradients,
    "transfers": transfers,
    "nonlinear": nonlinear,
    "epoch": epoch,
    "drawn": drawn,
    "compiling": compiling,
    "stored": stored,
}


def _why(failure: Exception) -> dict:
    return {"failed": "".join(traceback.format_exception_only(failure))[:600]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="a .json file for the results")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the command")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    began, result = time.perf_counter(), {"machine": machine()}
    for name, part in PARTS.items():
        start = time.perf_counter()
        if start - began > LIMIT:
            result[name] = {"skipped": "there was no time left"}
        else:
            try:
                result[name] = part(given.small)
            except Exception as failure:  # recorded; the next part begins
                result[name] = _why(failure)
        result[name]["part_s"] = time.perf_counter() - start
        result["seconds"] = time.perf_counter() - began
        write_json(given.out, result)
        print(name, result[name], flush=True)


if __name__ == "__main__":
    main()
