"""Times of many inputs of one array and of many arrays, on all CPU devices."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import xbarjax as xb

from .circuits import circuit, crossbar, current, error, seconds


def on_all_cores(f, over: tuple[bool, ...]):
    """`f` compiled for all CPU devices, and a function that places its arguments. `over`: for each
    argument, whether its first axis is split over the devices."""
    mesh = jax.make_mesh((jax.device_count(),), ("cores",))
    specs = tuple(PartitionSpec("cores") if split else PartitionSpec() for split in over)
    split = jax.shard_map(
        f, mesh=mesh, in_specs=specs, out_specs=PartitionSpec("cores"), check_vma=False
    )
    place = lambda *args: [
        jax.device_put(x, NamedSharding(mesh, spec)) for x, spec in zip(args, specs, strict=True)
    ]
    return jax.jit(split), place


def batch(n: int, count: int, dtype: str):
    rng = np.random.default_rng(1)
    g = jnp.asarray(rng.uniform(1e-6, 1e-4, (count, n, n)), dtype)
    return g, jnp.asarray(rng.uniform(0, 1, (count, n)), dtype)


def dies(n: int, count: int, dtype: str, *, mapped: bool) -> dict:
    """Rate of reads of many arrays with one input, by `vmap` or `lax.map`, on every core."""
    g, v = batch(n, count, dtype)
    if mapped:
        one = lambda g, v: jax.lax.map(lambda g: current(g, v), g)
    else:
        one = jax.vmap(current, (0, None))
    f, place = on_all_cores(one, (True, False))
    args = place(g, v[0])
    got = np.asarray(f(*args))
    exact = jax.jit(current)
    wanted = [exact(g[k].astype("float64"), v[0].astype("float64")) for k in range(0, count, 64)]
    wrong = max(error(got[64 * k], x) for k, x in enumerate(wanted))
    assert wrong < (1e-10 if dtype == "float64" else 1e-5), wrong
    rate = count / np.median(seconds(lambda: f(*args), least=7))
    kind = "lax.map" if mapped else "vmap"
    return {"n": n, "count": count, "dtype": dtype, "by": kind, "a_second": rate, "error": wrong}


def inputs(n: int, count: int, dtype: str) -> dict:
    """Time of many inputs of one array by `vmap`, per input, and in single reads."""
    g, v = batch(n, 1, dtype)[0][0], batch(n, count, dtype)[1]
    single, many = jax.jit(current), jax.jit(jax.vmap(current, (None, 0)))
    wrong = error(many(g, v)[::512], [single(g, x) for x in v[::512]])
    assert wrong < (1e-10 if dtype == "float64" else 1e-5), wrong
    alone, together = [], []
    for _ in range(3):
        alone += seconds(lambda: single(g, v[0]), least=50)
        together += seconds(lambda: many(g, v), least=2)
    each = np.median(together) / count
    return {
        "n": n,
        "count": count,
        "dtype": dtype,
        "single_s": np.median(alone),
        "each_s": each,
        "single_reads": each / np.median(alone),
        "error": wrong,
    }


def through_transfer(n: int, count: int) -> dict:
    """Time of many inputs of one array as a product with `transfer`, and its ratio to a transfer
    and a product compiled separately."""
    g, r_row, r_col, _ = circuit(n, False)
    xbar, v = crossbar(g, r_row, r_col), batch(n, count, "float64")[1]
    product = jax.jit(lambda matrix, v: v @ matrix)
    both = jax.jit(lambda xbar, v: v @ xb.transfer(xbar))
    matrix = xb.transfer(xbar)
    wrong = error(both(xbar, v)[0], xb.read(xbar, v[0]).i_out)
    assert wrong < 1e-10, wrong
    together, apart = [], []
    for _ in range(3):
        together += seconds(lambda: both(xbar, v), least=3)
        transfers = seconds(lambda: xb.transfer(xbar), least=3)
        apart.append(np.median(transfers) + np.median(seconds(lambda: product(matrix, v))))
    ratio = np.median(together) / np.median(apart)
    return {"n": n, "count": count, "together_s": np.median(together), "ratio": ratio}


def gradient(n: int, count: int) -> dict:
    """Time of a gradient of a batch of dies, in batched reads."""
    g, v = batch(n, count, "float64")
    total = lambda g: jnp.sum(jax.vmap(current, (0, None))(g, v[0]) ** 2)
    value, slope = jax.jit(total), jax.jit(jax.grad(total))
    jax.block_until_ready((value(g), slope(g)))
    reads, grads = [], []
    for _ in range(3):
        reads += seconds(lambda: value(g), least=2)
        grads += seconds(lambda: slope(g), least=2)
    ratio = np.median(grads) / np.median(reads)
    return {"n": n, "count": count, "gradient_s": np.median(grads), "reads": ratio}
