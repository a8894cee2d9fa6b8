"""PageRank by a loop that rests along an eigenvector, over the number of programming levels.

    python -m experiments.pagerank.run

The graph is directed and scale-free, a model of links between pages: 48 pages by
`networkx.scale_free_graph(48, seed=0)`, multiple links counted once. Its Google matrix, with a
damping of 0.85, has the largest eigenvalue 1; the eigenvector to it ranks the pages. Conductances
are proportional to its entries, up to 100 uS, so that the smallest stands for the jumps to any
page. They are programmed to equally spaced levels between these two. Wires have 0.1 ohm per
segment, amplifiers a gain of 1e5 and a swing of 1 V. The feedback conductance is 1 % below the
largest eigenvalue of the effective matrix, wires included, as tuning would find it.

- angle: between the voltages and the vector of `networkx.pagerank`.
- programmed: between the eigenvector of the programmed conductances, computed digitally, and that
  vector. The rest of the angle is due to the loop: to wires and, above all, to amplifiers that clip
  the largest entries.
- top: pages among the first ten of both. Nine pages rank above all others, which tie, so that the
  tenth is chance.
"""

import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import xbarjax as xb
from xbarjax.systems import loops

from ..common import keep

HERE = Path(__file__).parent
PAGES, DAMPING, HIGH, WIRE, EXCESS = 48, 0.85, 1e-4, 0.1, 0.01
LEVELS = (4, 8, 16, 64, None)
WIRES = xb.Wires(WIRE, WIRE)


def ranks() -> tuple[np.ndarray, np.ndarray]:
    """The Google matrix, with columns that add up to 1, and the PageRank vector."""
    graph = nx.DiGraph(nx.scale_free_graph(PAGES, seed=0))
    google = np.asarray(nx.google_matrix(graph, alpha=DAMPING, nodelist=range(PAGES))).T
    found = nx.pagerank(graph, alpha=DAMPING, tol=1e-14, max_iter=1000)
    return google, np.asarray([found[k] for k in range(PAGES)])


def first(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest eigenvalue of a positive matrix, and its eigenvector, also positive."""
    values, vectors = np.linalg.eig(matrix)
    at = np.argmax(values.real)
    return float(values[at].real), np.abs(vectors[:, at].real)


def angle(x: np.ndarray, y: np.ndarray) -> float:
    """Angle [deg] between two vectors."""
    cosine = abs(x @ y) / np.linalg.norm(x) / np.linalg.norm(y)
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


def top(x: np.ndarray, y: np.ndarray) -> int:
    """Number of pages among the first ten of both."""
    return len(set(np.argsort(-x)[:10]) & set(np.argsort(-y)[:10]))


def case(google: np.ndarray, wanted: np.ndarray, levels: int | None) -> dict:
    g = jnp.asarray(google.T * HIGH / google.max())
    if levels is not None:
        g = xb.Levels(levels, jnp.min(g), HIGH)(g, jax.random.key(0))
    effective = np.asarray(xb.transfer(xb.Crossbar(xb.Ohmic(g), WIRES)))
    value, _ = first(effective.T)
    g_eigenvalue = value / (1 + EXCESS)
    amplifier = partial(xb.elements.OpAmp, gain=1e5, v_low=-1.0, v_high=1.0)
    loop = loops.eigenvector(g, g_eigenvalue, wires=WIRES, amplifier=amplifier)
    found = loops.resting(loop, 1e-6)
    x = np.asarray(found.v["x"])
    x = x * np.sign(x.sum())
    _, programmed = first(np.asarray(g).T)
    return {
        "levels": levels,
        "angle": angle(x, wanted),
        "programmed": angle(programmed, wanted),
        "top": top(x, wanted),
        "top_programmed": top(programmed, wanted),
        "growth": found.growth,
        "newton_steps": found.newton_steps,
    }


def figure(cases: list[dict]) -> Figure:
    made = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = made.subplots(1, 2)
    names = ["inf" if case["levels"] is None else str(case["levels"]) for case in cases]
    left.plot(names, [case["angle"] for case in cases], "o-", color="0", label="loop")
    programmed = [case["programmed"] for case in cases]
    left.plot(names, programmed, "x--", color="0.4", label="programmed matrix")
    left.set(xlabel="programming levels", ylabel="angle to PageRank [deg]", ylim=(0, None))
    left.legend()
    right.plot(names, [case["top"] for case in cases], "o-", color="0")
    right.set(xlabel="programming levels", ylabel="pages of the top ten found [1]", ylim=(0, 10.5))
    return made


def main() -> None:
    began, console = time.perf_counter(), Console()
    jax.config.update("jax_enable_x64", True)
    google, wanted = ranks()
    table, cases = Table("levels", "angle", "programmed", "top ten", "of the matrix", "steps"), []
    for levels in LEVELS:
        cases.append(one := case(google, wanted, levels))
        angles = f"{one['angle']:.2f}", f"{one['programmed']:.2f}"
        tops = str(one["top"]), str(one["top_programmed"])
        table.add_row(str(levels or "inf"), *angles, *tops, str(int(one["newton_steps"])))
        console.print({k: v for k, v in one.items()})
    console.print(table)
    console.print(keep(HERE, {"cases": cases}, figure(cases), began))


if __name__ == "__main__":
    main()
