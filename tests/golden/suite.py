"""What golden circuits share: elements of netlists, runs of ngspice, and records as JSON."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
TOLERANCES = "reltol=1e-9 abstol=1e-18 vntol=1e-13 gmin=1e-20 itl1=500"
RAW, TEXT = "out.raw", "out.dat"  # files that ngspice writes
FAULTS = ("singular", "error", "stepping", "too small")  # words in the log of a run that failed


@dataclass(frozen=True)
class Family:
    """Circuits of one kind: a JSON file each, in the folder of that name.

    - `circuits`: their names.
    - `inputs`: a circuit from its name, drawn from a seed.
    - `simulate`: what ngspice finds of it, as it is stored.
    """

    name: str
    circuits: Iterable[str]
    inputs: Callable[[str], dict[str, Any]]
    simulate: Callable[[dict[str, Any]], dict[str, Array]]

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / self.name

    def stored(self) -> list[str]:
        """The names of the circuits that have a file, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def load(self, name: str) -> dict[str, Any]:
        """The record of a circuit: "name", "ngspice", "inputs" and "outputs"."""
        return load(self.folder / f"{name}.json")

    def write(self, name: str) -> None:
        """Make the record of a circuit again."""
        x = self.inputs(name)
        record = {"name": name, "ngspice": version(), "inputs": x, "outputs": self.simulate(x)}
        self.folder.mkdir(exist_ok=True)
        save(self.folder / f"{name}.json", record)


# Netlists


def number(x: float) -> str:
    """All digits of a double."""
    return f"{float(x):.17g}"


def source(tag: str, node: str, v: float) -> str:
    """A voltage source from a node to ground."""
    return f"v{tag} {node} 0 {number(v)}"


def ammeter(tag: str, a: str, b: str) -> str:
    """A source of 0 V from a to b: its current is an unknown of ngspice's own matrix, and not a
    difference of voltages. Alone it is an ideal wire, where a resistor of 0 ohm would silently
    become 1 mohm."""
    return f"v{tag} {a} {b} 0"


def deck(title: str, options: str, elements: Iterable[str], *commands: str) -> str:
    """The text of a netlist, with the commands that run it."""
    head, control = [f"* {title}", f".options {options}"], [".control", *commands, "quit", ".endc"]
    return "\n".join([*head, *elements, *control, ".end"]) + "\n"


def operating_point(elements: Iterable[str], analysis: str = "op") -> str:
    """The netlist of an array at rest, or at the end of a sweep. The raw file holds full doubles,
    by name; wrdata and print would round them."""
    commands = "set filetype=binary", analysis, f"write {RAW}"
    return deck("crossbar", TOLERANCES, elements, *commands)


# Runs


def run(text: str, written: str) -> bytes:
    """The file that ngspice writes. The exit status says nothing about convergence, so the log is
    looked at."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.cir").write_text(text)
        command = ["ngspice", "-b", "in.cir"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3000)
        log, path = done.stdout + done.stderr, Path(folder) / written
        if not path.exists() or any(word in log.lower() for word in FAULTS):
            raise RuntimeError(f"ngspice failed:\n{log[-2000:]}")
        return path.read_bytes()


def solve(text: str) -> dict[str, float]:
    """Every voltage and current of an operating point by its name; of a sweep, the last one."""
    head, _, body = run(text, RAW).partition(b"Binary:\n")
    lines = head.decode().splitlines()
    names = [line.split("\t")[2] for line in lines if line.startswith("\t")]
    points = next(int(line.split(":")[1]) for line in lines if line.startswith("No. Points"))
    data = np.frombuffer(body)
    if len(data) != points * len(names) or not np.isfinite(data).all():
        raise RuntimeError(f"{points} x {len(names)} numbers expected, {len(data)}, or not finite")
    value = dict(zip(names, data[-len(names) :].tolist()))
    sources = {line.split()[0] for line in text.splitlines() if line.startswith("v")}
    if missing := {name for name in sources if f"i({name})" not in value}:
        raise RuntimeError(f"no current in the output of {sorted(missing)}")
    return value


def collect(value: Mapping[str, float], form: str, rows: int, cols: int) -> Array:
    """The values of an array's voltages "v(...)" or currents "i(...)". A branch without ammeter is
    open and carries 0; `solve` has looked at whether every ammeter is there."""
    get = value.__getitem__ if form[0] == "v" else lambda name: value.get(name, 0.0)
    return np.array([[get(form.format(i, j)) for j in range(cols)] for i in range(rows)])


def version() -> str:
    """The version of ngspice, as "ngspice-39"."""
    out = subprocess.run(["ngspice", "--version"], capture_output=True, text=True).stdout
    return next(w for w in out.split() if w.startswith("ngspice-"))


# Records


def rounded(x: ArrayLike, digits: int) -> Array:
    """Rounded to significant digits, so that the files are short and do not hang on libm."""
    return np.array([float(f"{v:.{digits}g}") for v in np.ravel(x)]).reshape(np.shape(x))


def save(path: Path, record: dict[str, Any]) -> None:
    """Strict JSON, which has no infinity: written as the string "inf"."""

    def plain(x: Any) -> Any:
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        if isinstance(x, list):
            return [plain(v) for v in x]
        if isinstance(x, np.ndarray):
            return plain(x.tolist())
        return "inf" if x == np.inf else x

    text = json.dumps(plain(record), sort_keys=True, separators=(",", ":"), allow_nan=False)
    path.write_text(text.replace('],"', '],\n"') + "\n")


def load(path: Path) -> dict[str, Any]:
    """A record; its lists become float64 arrays."""

    def arrays(x: Any) -> Any:
        if isinstance(x, dict):
            return {k: arrays(v) for k, v in x.items()}
        return np.array(x, dtype=object).astype(float) if isinstance(x, list) else x

    return arrays(json.loads(path.read_text()))
