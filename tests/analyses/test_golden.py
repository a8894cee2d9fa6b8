"""The nodal reference and the package against circuits solved by ngspice (tests/golden/linear)."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest

from golden import LINEAR
from reference import nodal

TOL = 1e-9
VOLTAGES = ("v_row", "v_col")
every_circuit = pytest.mark.parametrize("name", LINEAR.stored())


def disagreement(want: dict[str, Any], got: dict[str, Any]) -> dict[str, float]:
    """Largest difference of each quantity, relative to the largest value of its kind: all
    voltages, all currents in cells and wires, all outputs."""
    kinds = [VOLTAGES, tuple(k for k in got if k[:2] == "i_" and k[:5] != "i_out")]
    kinds.append(tuple(k for k in got if k[:5] == "i_out"))
    result = {}
    for kind in kinds:
        scale = max(np.abs(want[k]).max() for k in kind)
        for k in kind:
            a, b = np.asarray(got[k]), want[k]
            assert a.shape == b.shape and a.dtype == np.float64, (k, a.shape, b.shape, a.dtype)
            result[k] = float(np.abs(a - b).max() / scale)  # NaN is kept
    return result


def assert_agrees(want: dict[str, Any], got: dict[str, Any]) -> None:
    bad = {k: v for k, v in disagreement(want, got).items() if not v <= TOL}
    assert not bad


def by_nodal(x: dict[str, Any]) -> dict[str, Any]:
    """Terminal resistances are part of the end segments here."""
    r_row = np.hstack([x["r_row"], x["r_source_far"][:, None]])
    r_row[:, 0] += x["r_source"]
    r_col = np.vstack([x["r_in_far"], x["r_col"]])
    r_col[-1] += x["r_in"]
    v_col = x["v_ref"] + x["v_offset"]
    s = nodal.solve(x["g"], r_row, r_col, x["v_in"], x["v_in"], v_col, v_col)
    assert not s.row_floating.any() and not s.col_floating.any()
    assert s.i_row_known.all() and s.i_col_known.all()
    names = ("v_row", "v_col", "i_cell", "i_row", "i_col", "i_out")
    return {k: getattr(s, k) for k in names}


def nodal_view(out: dict[str, Any]) -> dict[str, Any]:
    return out | {"i_out": out["i_col"][-1] - out["i_col"][0]}


def by_package(x: dict[str, Any]) -> dict[str, Any]:
    import jax.numpy as jnp

    import xbarjax as xb

    x = {k: jnp.asarray(v, jnp.float64) for k, v in x.items()}
    xbar = xb.Crossbar(
        cell=xb.Ohmic(x["g"]),
        wires=xb.Wires(r_row=x["r_row"], r_col=x["r_col"]),
        drive=xb.Drive(r_source=x["r_source"], r_source_far=x["r_source_far"]),
        readout=xb.VirtualGround(**{k: x[k] for k in ("r_in", "r_in_far", "v_ref", "v_offset")}),
    )
    sol = xb.read(xbar, x["v_in"])
    names = ("v_row", "v_col", "i_cell", "i_row", "i_col", "i_row_far")
    return {k: getattr(sol, k) for k in (*names, "i_out_near", "i_out_far", "i_out")}


def package_view(out: dict[str, Any]) -> dict[str, Any]:
    """The stored outputs as the package names them: the far segments apart, and the current into
    the far sense terminal counted into that terminal."""
    return out | {
        "i_row": out["i_row"][:, :-1],
        "i_col": out["i_col"][1:],
        "i_row_far": out["i_row"][:, -1],
        "i_out_near": out["i_col"][-1],
        "i_out_far": -out["i_col"][0],
        "i_out": out["i_col"][-1] - out["i_col"][0],
    }


solvers = pytest.mark.parametrize(
    ("solver", "view"), [(by_nodal, nodal_view), (by_package, package_view)]
)


@every_circuit
@solvers
def test_agrees_with_ngspice(solver: Any, view: Any, name: str) -> None:
    record = LINEAR.load(name)
    assert_agrees(view(record["outputs"]), solver(record["inputs"]))


@solvers
@pytest.mark.parametrize("name", ["square8", "wide", "tiny", "square16_both", "tall_some_ideal"])
def test_the_comparison_can_fail(solver: Any, view: Any, name: str) -> None:
    """A relative change of 1e-6 in one conductance is seen in the currents, in one resistance (the
    one with the largest drop) in the voltages."""
    record = LINEAR.load(name)
    x, out = record["inputs"], record["outputs"]
    want = view(out)
    assert_agrees(want, solver(x))
    i_row = np.abs(out["i_row"])
    drops = {"r_row": x["r_row"] * i_row[:, :-1], "r_source": x["r_source"] * i_row[:, 0]}
    resistance = max(drops, key=lambda k: drops[k].max())
    for key, weight in (("g", np.abs(out["i_cell"])), (resistance, drops[resistance])):
        changed = x[key].copy()
        changed[np.unravel_index(weight.argmax(), weight.shape)] *= 1 + 1e-6
        got = solver(x | {key: changed})
        seen = {k for k, v in disagreement(want, got).items() if v > TOL}
        assert seen & (set(want) - set(VOLTAGES) if key == "g" else set(VOLTAGES)), (key, seen)
        with pytest.raises(AssertionError):
            assert_agrees(want, got)


@pytest.mark.parametrize("name", ["wide_some_ideal", "tiny_both"])
def test_ngspice_still_gives_the_stored_values(name: str) -> None:
    if shutil.which("ngspice") is None:
        pytest.skip("ngspice is not on PATH: the stored circuits are not rerun")
    record = LINEAR.load(name)
    again = LINEAR.simulate(record["inputs"])
    assert again.keys() == record["outputs"].keys()
    for kind in (VOLTAGES, ("i_cell", "i_row", "i_col")):
        scale = max(np.abs(record["outputs"][k]).max() for k in kind)
        for k in kind:
            assert np.abs(again[k] - record["outputs"][k]).max() <= 1e-12 * scale, k
