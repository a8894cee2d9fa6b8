"""Guards units of conductances: spellings mean what people mean by them, numbers are exact, and
what no cell has is warned of once, in the name of whoever wrote it."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax._units import UNITS, doubt, siemens, unit_named


@pytest.mark.parametrize(
    "unit, spellings",
    [
        ("S", ["S", "s", "siemens", " S ", "mho"]),
        ("mS", ["mS", "ms", "milliSiemens"]),
        ("uS", ["uS", "us", "US", "\u00b5S", "\u03bcS", "u S", "microsiemens"]),
        ("nS", ["nS", "ns", "NS"]),
        ("pS", ["pS", "PS"]),
        ("mohm", ["mohm", "mOhm", "m\u2126", "milliohm"]),
        ("ohm", ["ohm", "Ohm", "OHM", "ohms", "\u03a9", "\u2126"]),
        ("kohm", ["kohm", "kOhm", "KOHM", "k\u03a9", "K\u2126", "kiloohms", "kilohm", "\u33c0"]),
        ("Mohm", ["Mohm", "MOhm", "MOHM", "M\u03a9", "megohm", "MEGOHM", "megaohm"]),
        ("Gohm", ["Gohm", "gohm", "G\u03a9", "gigaohm"]),
    ],
)
def test_units_have_the_names_that_people_write(unit, spellings):
    assert [unit_named(spelled, "unit") for spelled in spellings] == [unit] * len(spellings)


@pytest.mark.parametrize("text", ["", "MS", "Ms", "V", "k", "uohm", "S/m", "1/ohm", "uuS", "ohm m"])
def test_other_units_are_refused(text):
    with pytest.raises(ValueError, match="unit is .*; it must be one of S, mS, uS"):
        unit_named(text, "unit")


def test_a_number_in_a_unit_is_the_number_in_siemens():
    each = {"S": 5, "mS": 5e-3, "uS": 5e-6, "nS": 5e-9, "pS": 5e-12}
    assert {unit: float(siemens(np.array(5.0), unit, "g")) for unit in each} == each
    ohms = {"mohm": 200.0, "ohm": 0.2, "kohm": 2e-4, "Mohm": 2e-7, "Gohm": 2e-10}
    for unit, g in ohms.items():
        np.testing.assert_allclose(siemens(np.array([5.0]), unit, "g"), g, rtol=1e-15)
    assert set(each) | set(ohms) == set(UNITS)


def test_no_resistance_is_a_short_and_an_open_circuit_no_conductance():
    r = np.array([[0.0, -0.0, np.inf]])
    for unit in ("ohm", "kohm", "Mohm"):
        assert siemens(r, unit, "g").tolist() == [[np.inf, np.inf, 0]]
    for bad, said in ((-5.0, "-5.0 kohm"), (np.nan, "nan kohm")):
        with pytest.raises(ValueError, match=rf"g\[0, 1\] is {said}; it must be at least 0"):
            siemens(np.array([[1.0, bad]]), "kohm", "g")


@pytest.mark.parametrize(
    "g, unit",
    [
        ([1e-6, 1e-4, 0.1], None),
        ([0.0, 0.0], None),
        ([np.inf, 1e-5, np.inf], None),
        ([1.0, 100.0], "uS"),
        ([0.0, 100.0, np.inf], "uS"),
        ([0.05, 100.0], "uS"),
        ([0.01, 0.5], "mS"),
        ([1e4, 1e6], "ohm"),
        ([1e-5, 2e-5, 1e30], "S"),
    ],
)
def test_conductances_that_no_cell_has_look_like_another_unit(g, unit):
    found = doubt(np.array([g]))
    assert (found and found[0]) == unit


def test_a_warning_names_the_argument_and_the_line_that_wrote_it():
    with pytest.warns(xb.UnitWarning, match="^g has conductances above 0.1 S .* microsiemens") as w:
        xb.Ohmic(np.full((2, 2), 50.0))
    assert [x.filename for x in w] == [__file__]
    with pytest.warns(xb.UnitWarning, match="they look like ohms: pass 1 / g") as w:
        xb.Crossbar(xb.Ohmic(jnp.full((2, 2), 5e4)), xb.Wires(1.0, 1.0))
    assert [x.filename for x in w] == [__file__]


def test_a_warning_is_said_once_a_place():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for k in range(5):
            xb.Ohmic(np.full((2, 2), 50.0 + k))
    assert len(seen) == 1


def test_there_is_no_warning_of_shorts_of_cells_and_of_what_is_traced():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xb.Ohmic(np.array([[1e-6, 1e-1], [0.0, 1e-3]]))
        jax.jit(lambda g: xb.Ohmic(g).g)(jnp.full((2, 2), 50.0))
