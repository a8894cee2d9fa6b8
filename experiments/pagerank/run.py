"""PageRank by a loop that rests along an eigenvector, over the number of programming levels.

    python -m experiments.pagerank.run

Two graphs:

- scale-free: directed, a model of links between pages. 48 pages by
  `networkx.scale_free_graph(48, seed=0)`, multiple links counted once.
- club: who met whom among the 34 members of a karate club, and how often, in both directions,
  `networkx.karate_club_graph()` (W. W. Zachary, J. Anthropol. Res. 33, 452 (1977)). These are real
  data, but not of the web: networkx ships no graph of that.

The Google matrix of a graph, with a damping of 0.85, has the largest eigenvalue 1; the eigenvector
to it ranks the pages. Conductances are proportional to its entries, up to 100 uS, so that the
smallest stands for the jumps to any page. They are programmed to equally spaced levels between
these two. Wires have 0.1 ohm per segment, amplifiers a gain of 1e5 and a swing of 1 V. The feedback
conductance is 1 % below the largest eigenvalue of the effective matrix, wires included, as tuning
would find it.

- angle: between the voltages and the vector of `networkx.pagerank`.
- programmed: between the eigenvector of the programmed conductances, computed digitally, and that
  vector. The rest of the angle is due to the loop: to wires and, above all, to amplifiers that clip
  the largest entries.
- top: the rank (PageRank) that the first ten pages of the loop have together, over that of the ten
  with most. Of pages that tie, either counts as much.
- order: the share of pairs of pages with different ranks that the loop puts in the right order.

Both are of the programmed matrix as well. Pages of the scale-free graph tie by symmetry: nine rank
above all others, of which several share the tenth place. Voltages within 1e-6 of the largest count
as ties, too: at the tenth place with the mean rank of the pages that tie, and as half a pair.
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
DAMPING, HIGH, WIRE, EXCESS, TIE = 0.85, 1e-4, 0.1, 0.01, 1e-6
LEVELS = (4, 8, 16, 64, None)
WIRES = xb.Wires(WIRE, WIRE)


GRAPHS = {
    "scale-free": nx.DiGraph(nx.scale_free_graph(48, seed=0)),
    "club": nx.karate_club_graph(),
}


def ranks(graph: nx.Graph) -> tuple[np.ndarray, np.ndarray]:
    """The Google matrix, with columns that add up to 1, and the PageRank vector."""
    pages = list(graph.nodes)
    google = np.asarray(nx.google_matrix(graph, alpha=DAMPING, nodelist=pages)).T
    found = nx.pagerank(graph, alpha=DAMPING, tol=1e-14, max_iter=1000)
    return google, np.asarray([found[page] for page in pages])


def first(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest eigenvalue of a positive matrix, and its eigenvector, also positive."""
    values, vectors = np.linalg.eig(matrix)
    at = np.argmax(values.real)
    return float(values[at].real), np.abs(vectors[:, at].real)


def angle(x: np.ndarray, y: np.ndarray) -> float:
    """Angle [deg] between two vectors."""
    cosine = abs(x @ y) / np.linalg.norm(x) / np.linalg.norm(y)
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


def above(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 where a value is above another one, 0 where it is below, and 1/2 where they tie."""
    return (1 + np.sign(x - y) * (np.abs(x - y) > TIE * np.abs(x).max())) / 2


def top(x: np.ndarray, wanted: np.ndarray) -> float:
    """Rank of the first ten pages, over that of the ten with most."""
    first = above(x, np.sort(x)[-10])
    sure, tied = first == 1, first == 0.5
    rank = np.sum(wanted[sure]) + (10 - np.sum(sure)) * np.mean(wanted[tied])
    return float(rank / np.sum(np.sort(wanted)[-10:]))


def order(x: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the pairs of pages with different ranks that are in the right order."""
    apart = above(wanted[:, None], wanted[None]) == 1
    return float(np.mean(above(x[:, None], x[None])[apart]))


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
        "order": order(x, wanted),
        "order_programmed": order(programmed, wanted),
        "growth": found.growth,
        "newton_steps": found.newton_steps,
    }


STYLES = {"scale-free": ("o-", "0"), "club": ("s-", "0.45")}


def figure(result: dict[str, list[dict]]) -> Figure:
    made = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = made.subplots(1, 3)
    for graph, cases in result.items():
        names = ["any" if case["levels"] is None else str(case["levels"]) for case in cases]
        style, color = STYLES[graph]
        left.plot(names, [case["angle"] for case in cases], style, color=color, label=graph)
        programmed = [case["programmed"] for case in cases]
        label = f"{graph}, programmed matrix"
        left.plot(names, programmed, "x:", color=color, label=label)
        middle.plot(names, [case["top"] for case in cases], style, color=color, label=graph)
        right.plot(names, [case["order"] for case in cases], style, color=color, label=graph)
    left.set(ylabel="angle to PageRank [deg]", ylim=(0, None))
    middle.set(ylabel="rank of the first ten over the most [1]", ylim=(0.8, 1.01))
    right.set(ylabel="pairs in the right order [1]", ylim=(0.8, 1.01))
    left.legend(fontsize=8)
    for ax in (left, middle, right):
        ax.set_xlabel("programming levels")
        ax.grid(alpha=0.3)
    return made


def main() -> None:
    began, console = time.perf_counter(), Console()
    jax.config.update("jax_enable_x64", True)
    result: dict[str, list[dict]] = {}
    for name, graph in GRAPHS.items():
        google, wanted = ranks(graph)
        heads = "levels", "angle", "programmed", "top", "programmed", "order", "programmed", "steps"
        table, result[name] = Table(*heads, title=name), []
        for levels in LEVELS:
            result[name].append(one := case(google, wanted, levels))
            angles = f"{one['angle']:.2f}", f"{one['programmed']:.2f}"
            keys = ("top", "top_programmed", "order", "order_programmed")
            shares = [f"{one[key]:.4f}" for key in keys]
            table.add_row(str(levels or "any"), *angles, *shares, str(int(one["newton_steps"])))
        console.print(table)
    console.print(keep(HERE, result, figure(result), began))


if __name__ == "__main__":
    main()
