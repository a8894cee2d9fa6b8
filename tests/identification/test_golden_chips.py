"""Twins of chips that are netlists of ngspice, read with noise and by converters of 12 bits."""

from __future__ import annotations

import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from golden import CHIPS
from reference import devices as of

NOISE, BITS = 1e-3, 12  # relative to full scale
CHIP = {name: CHIPS.load(name) for name in CHIPS.stored()}
WIRES = [
    xb.Unknown(lambda c: c.wires.r_row, per="array"),
    xb.Unknown(lambda c: c.wires.r_col, per="array"),
    xb.Unknown(lambda c: c.drive.r_source, sigma=3.0),  # 5 to 15 ohm have 2.9
]
TRANSISTORS = [
    xb.Unknown(lambda c: c.cell.second.g),
    xb.Unknown(lambda c: c.cell.first.beta, per="array"),
    xb.Unknown(lambda c: c.cell.first.v_t, per="array"),
    *WIRES,
]


def voltages(name: str) -> dict[str, Any]:
    """Of the sense ends and of the gates, which are one per row."""
    x = CHIP[name]["inputs"]
    gate = x["v_gate"]
    gate = None if gate is None else np.broadcast_to(gate[:, None], x["v_row"].shape)
    return {"v_col": x["v_col"], "v_gate": gate}


def measured(name: str, seed: int = 0, taken: int | None = None) -> xb.Measured:
    """What an instrument reads of a chip. It ranges by the largest current of each read at the
    drivers and at the sense ends. Only the first reads were taken."""
    rng = np.random.default_rng(seed)
    sensed, sigma = {}, {}
    for kind, i in CHIP[name]["outputs"].items():
        full = np.abs(i).max(axis=1, keepdims=True)
        step = 2 * full / 2**BITS
        noisy = i + NOISE * full * rng.standard_normal(i.shape)
        sensed[kind] = step * np.round(noisy / step)
        sensed[kind][taken or len(i) :] = np.nan
        sigma[kind] = np.sqrt((NOISE * full) ** 2 + step**2 / 12)
    return xb.Measured(CHIP[name]["inputs"]["v_row"], sensed, sigma, **voltages(name))


def exact(name: str) -> xb.Measured:
    """The currents as ngspice has them, with a nominal noise of a millionth of full scale."""
    sensed = CHIP[name]["outputs"]
    sigma = {kind: 1e-6 * np.abs(i).max(axis=1, keepdims=True) for kind, i in sensed.items()}
    return xb.Measured(CHIP[name]["inputs"]["v_row"], sensed, sigma, **voltages(name))


def complete(name: str) -> xb.Crossbar:
    """The chip with all of its parasitics."""
    x = CHIP[name]["inputs"]
    spec = x["cell"]
    if x["v_gate"] is not None:
        spec = spec | {"a": spec["a"] | {"v_gate": 0.0}}  # reads bring their own
    wires = xb.Wires(jnp.asarray(x["r_row"]), jnp.asarray(x["r_col"]))
    return xb.Crossbar(of.cell(spec), wires, xb.Drive(jnp.asarray(x["r_contact"])))


def guess(cell: Any) -> xb.Crossbar:
    return xb.Crossbar(cell, xb.Wires(1.3, 2.0), xb.Drive(10.0))


def true(name: str) -> np.ndarray:
    cell = CHIP[name]["inputs"]["cell"]
    return cell.get("b", cell)["g"]


def assert_found(name: str, twin: xb.Twin, g: Any, std: Any, median: float) -> None:
    """Cells to a relative error (median), and cells and wires within what the twin says of them.

    The model has no spread of segments, so errors are a little more than those of noise alone."""
    assert twin.converged and not twin.refuted and int(twin.status) == 0
    assert float(twin.chi2) == pytest.approx(1, abs=0.2)
    off = np.abs(np.asarray(g) - true(name))
    assert np.median(off / true(name)) < median
    in_deviations = off / np.asarray(std)
    assert 0.6 < np.sqrt(np.mean(in_deviations**2)) < 1.4 and np.max(in_deviations) < 4
    for line in ("r_row", "r_col"):
        found, deviation = (np.mean(getattr(c.wires, line)) for c in (twin.crossbar, twin.std))
        assert abs(found - np.mean(CHIP[name]["inputs"][line])) < 3 * deviation < 0.8, line
    contacts = np.abs(np.asarray(twin.crossbar.drive.r_source) - CHIP[name]["inputs"]["r_contact"])
    assert np.all(contacts < 3.5 * np.asarray(twin.std.drive.r_source))


def difference(name: str, crossbar: xb.Crossbar) -> float:
    """Between currents of the library and of ngspice, relative to the largest."""
    v_row, want = CHIP[name]["inputs"]["v_row"], CHIP[name]["outputs"]
    got = xb.Measured.of(
        crossbar, v_row, 0.0, jax.random.key(0), sense=("i_in", "i_out"), **voltages(name)
    ).sensed
    return max(float(np.max(np.abs(got[k] - x)) / np.max(np.abs(x))) for k, x in want.items())


@pytest.mark.parametrize("name", CHIP)
def test_a_model_with_all_parasitics_predicts_what_ngspice_has(name: str) -> None:
    crossbar = complete(name)
    assert difference(name, crossbar) < 1e-9
    # 1 % of one segment in the middle of a line would be seen
    wires = xb.Wires(crossbar.wires.r_row.at[3, 4].multiply(1.01), crossbar.wires.r_col)
    assert difference(name, xb.Crossbar(crossbar.cell, wires, crossbar.drive)) > 1e-8


def test_ngspice_still_gives_the_stored_currents() -> None:
    if shutil.which("ngspice") is None:
        pytest.skip("ngspice is not on PATH: the stored chips are not rerun")
    x = CHIPS.inputs("transistors")
    few = x | {k: x[k][::15] for k in ("v_row", "v_col", "v_gate")}
    for kind, i in CHIPS.simulate(few).items():
        want = CHIP["transistors"]["outputs"][kind][::15]
        np.testing.assert_allclose(i, want, rtol=0, atol=1e-12 * np.abs(want).max())


def test_ohmic_cells_and_wires_are_found_through_spread_of_segments() -> None:
    free = [xb.Unknown(lambda c: c.cell.g), *WIRES]
    start = guess(xb.Ohmic(np.full((16, 16), 5e-5)))
    twin = xb.identify(measured("ohmic"), start, free)
    assert_found("ohmic", twin, twin.crossbar.cell.g, twin.std.cell.g, 4e-3)
    # where the profile of the segments is known, exact reads tell all else exactly
    x = CHIP["ohmic"]["inputs"]
    wires = xb.Wires(jnp.asarray(1.3 * x["r_row"]), jnp.asarray(1.3 * x["r_col"]))
    known = xb.Crossbar(start.cell, wires, start.drive)
    found = xb.identify(exact("ohmic"), known, free, atol=1e-6).crossbar
    np.testing.assert_allclose(found.cell.g, x["cell"]["g"], rtol=1e-5)
    np.testing.assert_allclose(found.wires.r_row, x["r_row"], rtol=1e-4)
    np.testing.assert_allclose(found.drive.r_source, x["r_contact"], rtol=1e-4)


@pytest.mark.slow
def test_contacts_of_nonlinear_cells_refute_a_model_that_has_them_all_alike() -> None:
    cell = xb.Series(xb.Ohmic(1 / 500), xb.Sinh(np.full((8, 8), 5e-5), 2.0))
    contacts = lambda sigma: xb.Unknown(lambda c: c.cell.first.g, sigma=sigma)
    free = [
        xb.Unknown(lambda c: c.cell.second.g),
        xb.Unknown(lambda c: c.cell.second.b, per="array"),
        *WIRES,
    ]
    twin = xb.identify(measured("sinh"), guess(cell), [*free, contacts(2e-4)])
    second, std = twin.crossbar.cell.second, twin.std.cell.second
    assert_found("sinh", twin, second.g, std.g, 4e-3)
    assert abs(float(second.b[0, 0]) - 3.0) < 3 * float(std.b[0, 0]) < 0.03
    alike = xb.identify(measured("sinh"), guess(cell), [*free, contacts(1e-9)])
    assert alike.converged and alike.refuted and float(alike.chi2) > 1.3


def test_cells_trade_off_with_transistors_until_reads_are_at_another_gate_voltage() -> None:
    """In reads at one low voltage, gain and threshold of the transistors and all cells trade off: a
    resistance in series may be the channel's or the cell's."""
    start = xb.Level1Mosfet(8e-4, 0.5, 1.8, lam=0.05, gamma=0.45, phi=0.8)
    array = guess(xb.Series(start, xb.Ohmic(np.full((8, 8), 5e-5))))
    twin = xb.identify(measured("transistors"), array, TRANSISTORS)
    assert_found("transistors", twin, twin.crossbar.cell.second.g, twin.std.cell.second.g, 2e-3)
    fet, std = twin.crossbar.cell.first, twin.std.cell.first
    assert abs(fet.beta[0, 0] - 1.11111e-3) < 3 * std.beta[0, 0] < 4e-5
    assert abs(fet.v_t[0, 0] - 0.45) < 3 * std.v_t[0, 0] < 0.015
    few = xb.identify(measured("transistors", taken=16), array, TRANSISTORS)
    assert few.missing == 2 * 16 * 8
    assert few.std.cell.first.v_t[0, 0] > 20 * std.v_t[0, 0]
    assert np.median(few.std.cell.second.g) > 10 * np.median(twin.std.cell.second.g)
    said = [line for line in few.advice.splitlines() if "the reads tell their combination" in line]
    told = lambda *names: any(all(name in line for name in names) for line in said)
    assert told("cell.first.beta", "cell.first.v_t")
    assert told("cell.second.g", "cell.first.")
