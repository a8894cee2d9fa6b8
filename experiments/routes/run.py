"""Number of inputs from which on the effective matrix of a tile takes less time than reads.

    python -m experiments.routes.run

Computations are in float32, with Ohmic cells of 1 to 100 uS and 1 ohm per segment. Both routes are
compiled before they are timed, in turns; times are medians. `crossover` is the time of one matrix
over that of one read within a batch. The committed result was measured on two cores with other work
on them; its ratios are uncertain by a factor of two."""

import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb

SIZES = 16, 32, 64, 128, 250, 500  # rows and columns of a tile
BATCH = 16  # inputs of a batch of reads


def seconds(f, *x) -> float:
    begun = time.perf_counter()
    jax.block_until_ready(f(*x))
    return time.perf_counter() - begun


def compared(size: int) -> dict[str, float]:
    rng = np.random.default_rng(size)
    g = jnp.asarray(rng.uniform(1e-6, 1e-4, (size, size)), jnp.float32)
    v = jnp.asarray(rng.uniform(-1, 1, (BATCH, size)), jnp.float32)
    wires = xb.Wires(jnp.float32(1.0), jnp.float32(1.0))
    array = lambda g: xb.Crossbar(xb.Ohmic(g), wires)
    reads = jax.jit(lambda g, v: jax.vmap(lambda v: xb.read(array(g), v).i_out)(v))
    matrix = jax.jit(lambda g: xb.transfer(array(g)))
    seconds(reads, g, v)
    seconds(matrix, g)
    turns = 1 if size > 300 else 5
    each = [(seconds(reads, g, v) / BATCH, seconds(matrix, g)) for _ in range(turns)]
    read, whole = map(statistics.median, zip(*each, strict=True))
    return {
        "size": size,
        "read_ms": read * 1e3,
        "matrix_ms": whole * 1e3,
        "crossover": whole / read,
    }


def main() -> None:
    found = [compared(size) for size in SIZES]
    for x in found:
        print({k: round(v, 3) for k, v in x.items()}, flush=True)
    text = json.dumps({"platform": jax.default_backend(), "tiles": found}, indent=1)
    Path(__file__).with_name("result.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
