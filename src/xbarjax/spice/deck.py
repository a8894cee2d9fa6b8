"""What decks of arrays and of circuits share: options, wires, devices, and runs of ngspice."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.core
import numpy as np

from ..cells import AbstractCell
from .elements import element
from .ideal import Link
from .memory import moving

# The defaults of ngspice would put 1 pS across every junction and stop at 1e-3 of a current.
OPTIONS = ".options reltol=1e-9 abstol=1e-18 vntol=1e-13 gmin=1e-20 itl1=500"
# Wires are resistors, which put 1/r into the matrix, where small cell conductances lose digits.
# The loss is harmless on lines with a terminal (32 x 32 cells of 10 nS to 1 uS: 5e-14 of the
# largest output, from 10 ohm down to 1 mohm), but not on floating lines (8e-10 at 1 ohm, 8e-8 at
# 10 mohm). A floating wire is therefore a source of r times the current of an ammeter, which puts r
# into the matrix (error 2e-13). The ammeter comes second: if it came first, ngspice would eliminate
# by r where r is exactly 1 ohm, with an error as large as that of 1/r.
WIRE = [".subckt wire a b r=1", "h1 a c v1 {r}", "v1 c b 0", ".ends"]
DATA = "out.dat"  # that ngspice writes
# The message of a failed run, printed before any missing vector is used.
UNSOLVED = "no operating point: ngspice did not converge"
CHECK = ("if $?sim_status", "if $sim_status", f"echo {UNSOLVED}", "quit 1", "end", "end")
LIMITS = (
    " ngspice keeps voltages to 1e-16 of the largest, and its currents of wires are differences of"
    " voltages: it cannot resolve lines that float behind junctions in reverse, nor outputs that"
    " are small against 1e-16 V / r. Use read for such arrays."
)


def require_writable(title: str, data: str) -> None:
    """Raises `ValueError` for a title or the path of a file that no deck can have."""
    if "\n" in title or "\r" in title:
        raise ValueError(f"title is {title!r}; it must be one line.")
    if not Path(data).suffix or any(c in data for c in " \t\r\n\"';"):
        raise ValueError(f"data is {data!r}; it must be a path with a suffix, without blanks.")


def is_traced(tree: Any) -> bool:
    """Whether some numbers are those of a transformation, which no text can hold."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))


def floats(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in double precision, in a shape."""
    return np.broadcast_to(np.asarray(x, float), shape)


def segments(tags: list[str], nodes: list[str], chain: list[float]) -> Iterator[Link]:
    """The links of one line: a segment of `chain` [ohm] from each node to the next. An end of inf
    ohm is free."""
    for n, (tag, a, b, x) in enumerate(zip(tags, nodes, nodes[1:], chain)):
        floats = min(max(chain[: n + 1]), max(chain[n:])) == np.inf
        if x == 0 and a != b:  # ngspice would turn a resistor of 0 ohm into 1 mohm
            yield a, b, [f"v_wire_{tag} {a} {b} 0"]
        elif 0 < x < np.inf:  # above 1 Mohm, 1/r is small itself
            ammeter = f"x_{tag} {a} {b} wire r={x!r}"
            yield a, b, [ammeter if floats and x <= 1e6 else f"r_{tag} {a} {b} {x!r}"]


def devices_of(cell: AbstractCell, prefix: str = "", *, moves: bool = False) -> Iterator[Link]:
    """The links of cells, whose nodes and names start with `prefix`. States of devices with memory
    move or stay."""
    leaves, tree = jax.tree.flatten(moving(cell) if moves else cell)
    leaves = [floats(x, cell.shape) for x in leaves]
    for i, j in np.ndindex(cell.shape):
        device = jax.tree.unflatten(tree, [float(x[i, j]) for x in leaves])
        plus, minus = f"{prefix}w_{i}_{j}", f"{prefix}b_{i}_{j}"
        if lines := element(device, f"{prefix}{i}_{j}", plus, minus):
            yield plus, minus, lines


def reached(links: list[Link], start: set[str]) -> set[str]:
    """Nodes with a path to one of `start`. Links are in order along the lines, so that few rounds
    are enough."""
    seen, before = set(start), 0
    while len(seen) > before:
        before = len(seen)
        for a, b, _ in links:
            if a in seen or b in seen:
                seen |= {a, b}
    return seen


def run(text: str) -> tuple[dict[str, np.ndarray], str]:
    """What ngspice finds: its vectors, one number per time (or one), and all that it says.

    **Errors:** `FileNotFoundError` if ngspice is not installed."""
    program = shutil.which("ngspice")
    if program is None:
        raise FileNotFoundError("ngspice is not installed, or not on the PATH; install it there.")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.cir").write_text(text)
        command = [program, "-n", "-b", "in.cir"]  # -n: without the user's start-up file
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        data = Path(folder) / DATA  # the exit status does not show convergence
        table = [x.split() for x in data.read_text().splitlines()] if data.exists() else []
    said = (done.stdout + done.stderr).strip()
    if len(table) < 2:
        return {}, said
    return dict(zip(table[0], np.asarray(table[1:], float).T)), said


def last_lines(said: str) -> str:
    """The end of what ngspice says."""
    return "\n".join(said.splitlines()[-20:])
