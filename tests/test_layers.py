"""The layering of the package: no import runs upward, and importing it starts nothing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "xbarjax"
FILES = sorted(SRC.rglob("*.py"))
LAYERS = (
    {"_types", "_native"},
    {"_units"},
    {"cells", "wires", "drive", "readout", "encoding", "pairs", "waveform"},
    {"crossbar"},
    {"network"},
    {"connectivity", "assembly", "stepping"},
    {"solvers", "solution"},
    {"operating_point", "amplifiers", "capacitors", "judgement"},
    {"linear"},
    {"read"},
    {"stage"},
    {"following"},
    {"transfer", "transient", "settling", "integration", "schemes", "switching", "ports"}
    | {"noise", "feeding", "cost"},
    {"mapping", "calibration", "missed", "target", "compensation", "fit", "nn", "sweep", "files"},
    {"plot", "die_plots", "spice"},
    {"cli"},
)
NOUNS = {"_types", "cells", "wires", "drive", "readout", "crossbar"}
# What may import only some of what lies below it.
ONLY = {
    "solvers": {"_types", "_native", "network"},
    "network": {"_types"},
    "variability": NOUNS | {"variability", "presets"},
    "presets": NOUNS | {"variability", "presets"},
}
LEVEL = {name: k for k, names in enumerate(LAYERS) for name in names}


def part(path: Path) -> str:
    """Module or subpackage of the top level that a file belongs to."""
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Parts of the package that a file imports, wherever the import stands."""
    package = ("xbarjax", *path.relative_to(SRC).parts[:-1])
    modules = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            modules += [f"{module}.{alias.name}" for alias in node.names]
    inside = [m.split(".")[1:] for m in modules if m.split(".")[0] == "xbarjax"]
    return {m[0] if m else "__init__" for m in inside}


def name(path: Path) -> str:
    return str(path.relative_to(SRC))


every_file = pytest.mark.parametrize("path", FILES, ids=name)


@every_file
def test_no_import_runs_upward(path: Path) -> None:
    me = part(path)
    if me == "__init__":
        return
    assert me in LEVEL or me in ONLY, f"{me} has no layer: give it one"
    for other in imports(path) - {me}:
        assert other != "__init__", "import from the module, not from the package"
        assert other in LEVEL or other in ONLY, f"{other} has no layer: give it one"
        if me in ONLY:
            assert other in ONLY[me], f"{me} may not know {other}"
        if me in LEVEL and other in LEVEL:
            assert LEVEL[other] <= LEVEL[me], f"{me} imports {other}, which lies above it"


def test_the_reader_of_imports_reads(tmp_path: Path) -> None:
    assert "network" in imports(SRC / "solvers" / "ladder_cg.py")
    assert {"assembly", "crossbar", "solvers"} <= imports(SRC / "read.py")
    assert "_types" in imports(SRC / "cells" / "ohmic.py")


def test_modules_of_one_layer_do_not_import_each_other_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for path in FILES:
        if part(path) != "__init__":
            edges.setdefault(part(path), set()).update(imports(path) - {part(path)})

    def reach(start: str) -> set[str]:
        seen, todo = set(), list(edges.get(start, ()))
        while todo:
            if (at := todo.pop()) not in seen:
                seen.add(at)
                todo += edges.get(at, ())
        return seen

    assert not [start for start in edges if start in reach(start)]


@every_file
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350


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
