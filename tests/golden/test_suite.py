"""The golden circuits are those of their seeds, and a failed run of ngspice is never stored."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from golden import FAMILIES, Family, suite

every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
needs_ngspice = pytest.mark.skipif(
    shutil.which("ngspice") is None, reason="ngspice is not installed"
)


@every_family
def test_every_circuit_is_stored(family: Family) -> None:
    assert set(family.stored()) == set(family.circuits)
    for name in family.circuits:
        record = family.load(name)
        assert record["name"] == name and record["ngspice"].startswith("ngspice-")


@every_family
def test_every_circuit_is_that_of_its_seed(family: Family) -> None:
    """But for the last digits of powers of ten, which libraries round differently."""
    for name in family.circuits:
        want, got = family.load(name)["inputs"], family.inputs(name)
        assert_same(got, want)


def assert_same(got: object, want: object) -> None:
    if isinstance(want, dict):
        assert isinstance(got, dict) and got.keys() == want.keys()
        for key, value in want.items():
            assert_same(got[key], value)
    elif isinstance(want, np.ndarray | float):
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-14)
    else:
        assert got == want


@needs_ngspice
@pytest.mark.parametrize(
    "elements",
    [["v1 a 0 1", "v2 a 0 2"], ["v1 a 0 1", "d1 a 0 unknown"]],
    ids=["sources that disagree", "no such model"],
)
def test_a_failure_of_ngspice_is_an_error(elements: list[str]) -> None:
    with pytest.raises(RuntimeError, match="ngspice failed"):
        suite.solve(suite.operating_point(elements))


@needs_ngspice
def test_an_operating_point_has_every_voltage_and_current() -> None:
    elements = [suite.source("s", "a", 1.0), suite.ammeter("m", "a", "b"), "r1 b 0 4"]
    value = suite.solve(suite.operating_point(elements))
    assert value == {"v(a)": 1.0, "v(b)": 1.0, "i(vs)": -0.25, "i(vm)": 0.25}
    swept = suite.solve(suite.operating_point(elements, "dc vs 0 3 0.5"))
    assert swept["i(vm)"] == 0.75
