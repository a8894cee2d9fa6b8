import gc
from collections import defaultdict
from pathlib import Path

import jax
import pytest

MAPS = 15_000  # from which on compilations are let go of
jax.config.update("jax_enable_x64", True)
# A user may run in the strict modes, in which JAX does not bring dtypes or ranks together.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "few(n): n cases of this test, evenly spread, are quick; the others are slow"
    )


def pytest_collection_finish(session):
    """Tracing makes many objects that live on: with Python's own thresholds, looking for cycles
    among them takes some 5 % of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of tests with many cases that ask the same, all but a few are for `make test-slow`."""
    cases = defaultdict(list)
    for item in items:
        if item.get_closest_marker("few") and not item.get_closest_marker("slow"):
            cases[item.nodeid.split("[")[0]].append(item)
    for same in cases.values():
        n = min(same[0].get_closest_marker("few").args[0], len(same))
        quick = {k * len(same) // n for k in range(n)}
        for k, item in enumerate(same):
            if k not in quick:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="module")
def _compilations_go_when_they_are_many():
    """Each keeps tens of memory maps, of which a process may have 65530."""
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def by_elimination(monkeypatch: pytest.MonkeyPatch) -> None:
    """`transfer` as it is without the kernel, and on accelerators where gradients are concerned."""
    monkeypatch.setattr("xbarjax.solvers.effective_matrix.solves_are_fast", lambda: False)
