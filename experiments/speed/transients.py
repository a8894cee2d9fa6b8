"""Times of transients: against ngspice at equal accuracy, in equal steps, and with gradients."""

import subprocess
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb

from .circuits import error, seconds

R_WIRE, C_WIRE, R_SOURCE, R_IN, EDGE = 2.5, 0.5e-15, 50.0, 100.0, 10e-12
ENDS = {32: 20e-12, 64: 40e-12, 128: 100e-12, 256: 300e-12}  # [s]


def _circuit(n: int):
    rng = np.random.default_rng(0)
    g, v = rng.uniform(1e-6, 1e-4, (n, n)), rng.uniform(0, 0.2, n)
    return g, v, xb.waveform.step(v, EDGE)


def _array(g, c=C_WIRE) -> xb.Crossbar:
    wires = xb.Wires(R_WIRE, R_WIRE, c_row=c, c_col=C_WIRE)
    return xb.Crossbar(xb.Ohmic(g), wires, xb.Drive(R_SOURCE), xb.VirtualGround(R_IN))


def _netlist(g, v, end: float, steps: int) -> str:
    n, lines = len(g), ["* transient", ".options reltol=1e-3 chgtol=1e-20"]
    for i in range(n):
        lines += [f"vs{i} s{i} 0 pwl(0 0 {EDGE} {v[i]})", f"rs{i} s{i} w{i}_in {R_SOURCE}"]
        lines += [f"ri{i} n{i} m{i} {R_IN}", f"vi{i} m{i} 0 0"]
    for i, j in np.ndindex(n, n):
        before = f"w{i}_{j - 1}" if j else f"w{i}_in"
        after = f"b{i + 1}_{j}" if i < n - 1 else f"n{j}"
        lines += [f"rr{i}_{j} {before} w{i}_{j} {R_WIRE}", f"rc{i}_{j} b{i}_{j} {after} {R_WIRE}"]
        lines += [f"rg{i}_{j} w{i}_{j} b{i}_{j} {1 / g[i, j]:.17g}"]
        lines += [f"cw{i}_{j} w{i}_{j} 0 {C_WIRE}", f"cb{i}_{j} b{i}_{j} 0 {C_WIRE}"]
    seen = " ".join(f"i(vi{j})" for j in range(n))
    tran = f"tran {end / steps} {end} 0 {end / steps}"
    control = [".control", "set wr_singlescale", "set numdgt=15", tran, f"wrdata out.dat {seen}"]
    return "\n".join([*lines, *control, "quit", ".endc", ".end", ""])


def _ngspice(text: str) -> tuple[float, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.cir").write_text(text)
        begun = time.perf_counter()
        subprocess.run(["ngspice", "-b", "in.cir"], cwd=folder, capture_output=True, check=True)
        return time.perf_counter() - begun, np.loadtxt(Path(folder) / "out.dat")


def against_ngspice(n: int, steps: int) -> dict:
    """Times of one ngspice run of `steps` maximum steps, and of `simulate` at the accuracy that
    ngspice has at eight points."""
    (g, v, wave), end = _circuit(n), ENDS[n]
    taken, table = _ngspice(_netlist(g, v, end, steps))
    at = np.linspace(len(table) // 8, len(table) - 1, 8).astype(int)
    ts, x = np.concatenate([[0.0], table[at, 0]]), _array(jnp.asarray(g))
    run = lambda rtol: xb.simulate(x, wave, ts, rtol=rtol, max_steps=4096)
    exact = run(1e-8).i_out[1:]
    theirs = error(table[at, 1:], exact)
    for rtol in 10.0 ** -np.arange(2, 8.5, 0.5):
        found = run(rtol)
        ours = error(found.i_out[1:], exact)
        if ours <= theirs:
            break
    assert ours <= theirs, (ours, theirs)
    median = np.median(seconds(lambda: run(rtol).i_out, least=5))
    return {
        "n": n,
        "ngspice_s": taken,
        "ngspice_steps": len(table),
        "ngspice_error": theirs,
        "s": median,
        "rtol": rtol,
        "steps": int(found.accepted),
        "iterations": int(found.num_steps),
        "error": ours,
        "ratio": taken / median,
    }


def equal_steps(n: int, steps: int) -> dict:
    """Time of a run in `steps` equal steps, half of them during the edge and half after it."""
    (g, _, wave), end = _circuit(n), ENDS[n]
    x, ts = _array(jnp.asarray(g)), np.array([0.0, end])
    run = lambda: xb.simulate(x, wave, ts, steps_per_interval=steps // 2)
    found = run()
    exact = xb.read(x, wave.v[-1])
    wrong = error(found.i_out[-1], exact.i_out)
    assert wrong < 1e-2, wrong
    each = np.median(seconds(lambda: run().i_out, least=3, most=60.0))
    return {"n": n, "steps": int(found.accepted), "s": each, "iterations": int(found.num_steps)}


def gradient(n: int) -> dict:
    """Time of a gradient by the width of a pulse, the capacitance of word lines and all
    conductances at once, in runs."""
    (g, v, _), end = _circuit(n), ENDS[n]
    ts = np.array([0.0, end])

    def charge(p):
        width = p["width"] * end / 2 * jnp.ones(n)
        wave = xb.waveform.pulse(v, width, end / 10, start=end / 20)
        return 1e30 * jnp.sum(xb.simulate(_array(p["g"], p["c"]), wave, ts).q_out[-1] ** 2)

    at = {"width": jnp.ones(()), "c": jnp.asarray(C_WIRE), "g": jnp.asarray(g)}
    run, slope = jax.jit(charge), jax.jit(jax.grad(charge))
    jax.block_until_ready((run(at), slope(at)))
    alone, with_it = [], []
    for _ in range(5):
        alone += seconds(lambda: run(at), least=2)
        with_it += seconds(lambda: slope(at), least=2)
    runs = np.median(with_it) / np.median(alone)
    return {"n": n, "s": np.median(alone), "gradient_s": np.median(with_it), "runs": runs}
