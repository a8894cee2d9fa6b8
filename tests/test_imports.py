"""The layering of the package: no import runs upward, and importing it starts nothing."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest

import xbarjax as xb

TESTS = Path(__file__).parent
SRC = TESTS.parent / "src" / "xbarjax"
FILES = sorted(SRC.rglob("*.py"))
# From the ground up: what stands in one may import what stands in it or below, in no circle.
LAYERS = (
    {"_types", "_units", "_native", "_files"},
    {"cells", "drive", "wires", "readout", "crossbar", "elements", "variability", "presets"},
    {"kirchhoff"},
    {"solvers"},
    {"analyses"},
    {"transient"},
    {"programming"},
    {"identification"},
    {"nn"},
    {"systems"},
    {"sweeps"},
    {"plot", "spice", "cli"},
)
# What may know less than what lies below it, by module.
ONLY = {
    "solvers": {"_types", "_native", "kirchhoff.network"},
    "kirchhoff.network": {"_types"},
}
LEVEL = {name: k for k, names in enumerate(LAYERS) for name in names}


def room(path: Path) -> str:
    """Module or subpackage at the root of the package that a file belongs to."""
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def module(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts)


MODULES = {module(path) for path in FILES}


def imports(path: Path) -> set[str]:
    """Modules and packages of the project that a file imports, wherever the import stands."""
    package = ("xbarjax", *path.relative_to(SRC).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join((*base, *([node.module] if node.module else [])))
            found += [
                whole if (whole := f"{start}.{alias.name}").removeprefix("xbarjax.") in MODULES
                or f"{whole}.__init__".removeprefix("xbarjax.") in MODULES else start
                for alias in node.names
            ]  # fmt: skip
    inside = [name for name in found if name.split(".")[0] == "xbarjax"]
    return {name.removeprefix("xbarjax").removeprefix(".") or "__init__" for name in inside}


def rooms(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)} - {room(path)}


def name(path: Path) -> str:
    return str(path.relative_to(SRC))


every_file = pytest.mark.parametrize("path", FILES, ids=name)


@every_file
def test_no_import_runs_upward(path: Path) -> None:
    me = room(path)
    if me == "__init__":
        return
    assert me in LEVEL, f"{me} has no layer: give it one"
    for other in rooms(path):
        assert other != "__init__", "import from the module, not from the package"
        assert other in LEVEL, f"{other} has no layer: give it one"
        assert LEVEL[other] <= LEVEL[me], f"{me} imports {other}, which lies above it"


@every_file
def test_what_knows_little_knows_no_more(path: Path) -> None:
    me = next((part for part in (module(path), room(path)) if part in ONLY), None)
    if me is not None:
        outside = {m for m in imports(path) if m.split(".")[0] != me}
        assert outside <= ONLY[me], f"{me} may not know {outside - ONLY[me]}"


def test_the_reader_of_imports_reads() -> None:
    assert "kirchhoff.network" in imports(SRC / "solvers" / "ladder_cg.py")
    assert {"kirchhoff", "crossbar", "solvers"} <= rooms(SRC / "analyses" / "read.py")
    assert "_types" in imports(SRC / "cells" / "ohmic.py")
    assert "_native" in imports(SRC / "solvers" / "kernel.py")
    assert "sweeps" in rooms(SRC / "plot" / "monte_carlo.py")


def test_the_root_has_few_modules() -> None:
    assert len(list(SRC.glob("*.py"))) <= 6


def test_rooms_do_not_import_each_other_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for path in FILES:
        if room(path) != "__init__":
            edges.setdefault(room(path), set()).update(rooms(path))

    def reach(start: str) -> set[str]:
        seen, todo = set(), list(edges.get(start, ()))
        while todo:
            if (at := todo.pop()) not in seen:
                seen.add(at)
                todo += edges.get(at, ())
        return seen

    assert not [start for start in edges if start in reach(start)]


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: path.stem)
def test_no_test_imports_from_another(path: Path) -> None:
    """What several need stands in tests/reference."""
    nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
    assert not [n.module for n in nodes if n.module and n.module.startswith("test_")]


def test_importing_starts_no_backend_and_changes_no_configuration() -> None:
    code = """
import jax
before = dict(jax.config.values)
import xbarjax
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "a backend was initialised"
changed = {k for k, v in jax.config.values.items() if k in before and before[k] != v}
assert not changed, changed
import sys
assert not {"matplotlib", "typer", "scipy.optimize", "sklearn"} & set(sys.modules), "heavy import"
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_ENABLE")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


def test_importing_filters_no_warning_of_the_user() -> None:
    code = """
import warnings, jax, equinox, lineax
before = list(warnings.filters)
import xbarjax
assert warnings.filters == before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


SPACES = ("elements", "encoding", "feeding", "nn", "pairs", "plot", "presets", "schemes", "spice")
MORE = ("nn.methods", "sweeps", "systems.loops", "variability", "waveform")


@pytest.mark.parametrize("name", [*SPACES, *MORE])
def test_a_namespace_shows_its_own_names_and_no_other(name: str) -> None:
    space = reduce(getattr, name.split("."), xb)
    shown = {key: getattr(space, key) for key in dir(space)}
    home = lambda x: x.__name__ if inspect.ismodule(x) else x.__module__
    here = lambda x: home(x).startswith(space.__name__)
    assert [key for key, x in shown.items() if not here(x)] == []
    own = lambda x: (inspect.isroutine(x) or inspect.isclass(x)) and here(x)
    assert {key for key, x in vars(space).items() if key[0] != "_" and own(x)} <= set(shown)
