"""Times of closed loops that invert a matrix: of one answer and its gradient against ngspice, and
of many answers of one loop in products of its array."""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb
from xbarjax.elements import OpAmp
from xbarjax.systems import loops

from .circuits import current, error, seconds

AMPLIFIER = partial(OpAmp, gain=1e4, gbw=1e8)
STEP = 1e-4  # of the differences that gradients are held to, relative to all numbers
ENOUGH = 1e-9  # largest error, relative to the largest answer


def inverse(g: Any, i: Any) -> xb.Circuit:
    """A loop with 1 ohm per segment."""
    return loops.inverse(g, i, wires=xb.Wires(1.0, 1.0), amplifier=AMPLIFIER)


def numbers(n: int, count: int = 1) -> tuple[Any, Any]:
    """Conductances [S], 1 to 10 uS and on the diagonal 80 to 100 uS, so that the loop is stable;
    and currents [A], `(count, n)`."""
    rng = np.random.default_rng(n)
    g = rng.uniform(1e-6, 1e-5, (n, n))
    np.fill_diagonal(g, rng.uniform(8e-5, 1e-4, n))
    return jnp.asarray(g), jnp.asarray(rng.uniform(-1e-5, 1e-5, (count, n)))


def answer(g: Any, i: Any) -> Any:
    """Voltages [V] of a loop."""
    return xb.solve(inverse(g, i)).v["x"]


def by_reads(g: Any, i: Any) -> Any:
    """Voltages [V] of a loop, by reads of its array in place of its admittance."""
    return xb.solve(inverse(g, i), method=xb.NewtonKrylov()).v["x"]


def judged(g: Any, i: Any) -> tuple[Any, Any, Any]:
    """The voltages, whether they are right, and whether the loop is stable."""
    found = xb.solve(inverse(g, i))
    return found.v["x"], found.status, found.growth


def through_response(g: Any, i: Any) -> Any:
    """Voltages [V] of a loop, `(count, n)`, for currents [A], `(count, n)`."""
    found = xb.response(inverse(g, i[0]), "source", "x")
    return jax.vmap(found)(i)


def slopes(of: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A number made of the voltages, and its gradient by all conductances and currents."""
    return jax.value_and_grad(lambda g, i: jnp.sum(of(g, i) ** 2), argnums=(0, 1))


def compiled(f: Callable, *args: Any, times: int = 3) -> tuple[Callable[[], Any], float]:
    """A compiled call, and how long it takes to trace and to compile anew [s], a median."""
    made, taken = [], []
    for _ in range(times):
        jax.clear_caches()
        start = time.perf_counter()
        made.append(jax.jit(f).lower(*args).compile())
        taken.append(time.perf_counter() - start)
    return (lambda: made[-1](*args)), float(np.median(taken))


def in_turns(runs: dict[str, Callable[[], Any]], least: int) -> dict[str, float]:
    """Median times of several runs [s]."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(5):
        for name, run in runs.items():
            times[name] += seconds(run, least=least)
    return {name: float(np.median(taken)) for name, taken in times.items()}


def ngspice(text: str) -> tuple[float, float, Any]:
    """How long an ngspice process takes for a deck [s], how long its analysis takes as it says [s],
    and the voltages [V] of the bus "x"."""
    text = text.replace("\nquit\n.endc", "\nrusage all\nquit\n.endc")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.cir").write_text(text)
        command = ["ngspice", "-n", "-b", "in.cir"]
        begun = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        took = time.perf_counter() - begun
        names, values = (Path(folder) / "out.dat").read_text().splitlines()
    said = re.search(r"Total analysis time \(seconds\) = (\S+)", done.stdout)
    assert said, done.stdout
    found = dict(zip(names.split(), map(float, values.split()), strict=True))
    x = [found[f"x_{k}"] for k in range(sum(name.startswith("x_") for name in found))]
    return took, float(said[1]), np.array(x)


def against_ngspice(n: int) -> list[dict]:
    """Times of one answer, of one that is judged, of one with its gradient and of a `response`, and
    of an ngspice process that finds the operating point; nothing if ngspice is not installed."""
    if shutil.which("ngspice") is None:
        return []
    g, (i,) = numbers(n)
    deck = lambda g, i: xb.spice.netlist(inverse(g, i))
    wanted = ngspice(deck(g, i))[2]
    ways: dict[str, tuple[Callable, Any]] = {
        "solve": (answer, i),
        "solve, judged": (judged, i),
        "solve, gradient": (slopes(answer), i),
        "Newton-Krylov": (by_reads, i),
        "Newton-Krylov, gradient": (slopes(by_reads), i),
        "response": (through_response, i[None]),
        "response, gradient": (slopes(through_response), i[None]),
    }
    calls = {way: compiled(f, g, i) for way, (f, i) in ways.items()}
    x, status, growth = calls["solve, judged"][0]()
    assert int(status) == 0 and float(growth) < 0, (int(status), float(growth))
    wrong, off = {}, {}
    for way, (run, _) in calls.items():
        if "gradient" not in way:
            wrong[way] = error(jax.tree.leaves(run())[0].ravel(), wanted)
            assert wrong[way] < ENOUGH, (way, wrong)
    # along a random change of all numbers
    rng = np.random.default_rng(0)
    dg, di = (STEP * np.asarray(x) * rng.uniform(-1, 1, x.shape) for x in (g, i))
    up, down = (np.sum(ngspice(deck(g + s * dg, i + s * di))[2] ** 2) for s in (1, -1))
    for way in (way for way in ways if "gradient" in way):
        value, (by_g, by_i) = calls[way][0]()
        wrong[way] = abs(float(value) / np.sum(wanted**2) - 1)
        along = np.vdot(by_g, dg) + np.vdot(np.ravel(by_i), di)
        off[way] = abs(float(along / ((up - down) / 2)) - 1)
        assert wrong[way] < 2 * ENOUGH and off[way] < 1e-6, (way, wrong, off)
    text = deck(g, i)
    processes = np.array([ngspice(text)[:2] for _ in range(5)])
    process, analysis = np.median(processes, axis=0).tolist()
    times = in_turns({way: run for way, (run, _) in calls.items()}, least=15)
    rows = []
    for way, took in times.items():
        row = {"way": way, "n": n, "s": took, "compile_s": calls[way][1]}
        row |= {"ngspice_process_s": process, "ngspice_analysis_s": analysis}
        row |= {"times_faster": process / took, "times_faster_than_analysis": analysis / took}
        row |= {"error": wrong[way]} | ({"gradient_error": off[way]} if way in off else {})
        rows.append(row)
    return rows


def inputs(n: int, count: int) -> list[dict]:
    """Times of many answers of one loop, per answer and in products: reads of its array, in a batch
    of as many, whose inputs are these answers. Everything found once per loop counts."""
    g, i = numbers(n, count)
    solved = jax.vmap(answer, (None, 0))
    ways: dict[str, Callable[[Any, Any], Any]] = {
        "solve": solved,
        "solve, gradient": slopes(solved),
        "response": through_response,
        "response, gradient": slopes(through_response),
    }
    calls = {way: compiled(f, g, i) for way, f in ways.items()}
    product, _ = compiled(jax.vmap(current, (None, 0)), g, calls["solve"][0]())
    single = jax.jit(judged)
    some = [single(g, i[k]) for k in range(0, count, 128)]
    assert not any(int(status) for _, status, _ in some)
    wrong = {way: error(calls[way][0]()[::128], [x for x, *_ in some]) for way in list(ways)[::2]}
    assert max(wrong.values()) < ENOUGH, wrong
    slope = [jax.tree.leaves(calls[way][0]()) for way in list(ways)[1::2]]
    off = max(error(a, b) for a, b in zip(*slope, strict=True))
    assert off < ENOUGH, off
    times = in_turns({way: run for way, (run, _) in calls.items()} | {"product": product}, least=3)
    products = times.pop("product")
    return [
        {
            "way": way,
            "n": n,
            "count": count,
            "each_s": took / count,
            "compile_s": calls[way][1],
            "product_s": products / count,
            "products": took / products,
            "error": wrong.get(way, off),
        }
        for way, took in times.items()
    ]
