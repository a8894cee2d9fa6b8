"""The command line against the package it stands for, and the files that both write."""

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax import _files as files, _native

pytest.importorskip("typer", reason="the command line needs the extra cli")
from typer.testing import CliRunner

from xbarjax import cli

ROWS, COLS = 3, 4
INF = float("inf")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """Every test works in a folder of its own, with one array and one matrix of weights in it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("g.npy", rng.uniform(1e-5, 1e-4, (ROWS, COLS)))
    np.save("w.npy", rng.uniform(-1, 1, (ROWS, COLS)))
    np.savetxt("v.csv", [0.1, 0.2, 0.3], header="v_in", comments="")
    return tmp_path


def run(*arguments: object, code: int = 0) -> tuple[str, str]:
    """Output and errors of one call, without a traceback and with the status that is expected."""
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.stdout, result.stderr


def refused(*arguments: object, code: int = 2) -> str:
    """The one sentence that a call is refused with."""
    out, err = run(*arguments, code=code)
    assert out == "" and err.startswith("Error: ") and err.count("\n") == 1, (out, err)
    return err


def report(prefix: str) -> dict:
    return json.loads(Path(f"{prefix}.json").read_text(), parse_constant=pytest.fail)


# reading


def test_read_is_the_read_of_the_package():
    np.save("r.npy", np.random.default_rng(1).uniform(1, 9, (ROWS, COLS)))
    out, err = run(
        *("read", "g.npy", "--v-in", "v.csv", "--r-row", 5, "--r-col", "r.npy"),
        *("--r-source", 50, "--r-in", 20, "--v-ref", 0.05, "--v-offset", 1e-3, "--out", "run"),
    )
    assert err == ""
    g, v = np.load("g.npy"), jnp.array([0.1, 0.2, 0.3])
    crossbar = xb.Crossbar(
        xb.Ohmic(g),
        xb.Wires(5.0, np.load("r.npy")),
        xb.Drive(50.0),
        xb.VirtualGround(20.0, INF, 0.05, 1e-3),
    )
    sol = xb.read(crossbar, v)
    ideal = (v - 0.05) @ g  # the offset is an error, the reference is meant
    with np.load("run.npz", allow_pickle=False) as stored:
        assert set(stored.files) == set(report("run")["arrays"])
        for name in ("i_out", "v_row", "v_col", "drop_row", "drop_col", "i_row", "i_col"):
            np.testing.assert_allclose(stored[name], getattr(sol, name), rtol=1e-12, atol=1e-20)
        np.testing.assert_allclose(stored["i_ideal"], ideal, rtol=1e-12)
        np.testing.assert_array_equal(stored["g"], g)
    said = report("run")
    results, units = said["results"], said["units"]
    assert said["xbarjax"] and set(said["arrays"]) <= set(units)
    assert said["inputs"]["--r-source"] == 50 and said["inputs"]["--r-in-far"] == "inf"
    assert said["inputs"]["G"]["shape"] == [ROWS, COLS]
    off = np.asarray(sol.i_out - ideal)
    for name, value in {
        "i_out_mean": sol.i_out.mean(),
        "relative_error_largest": np.abs(off).max() / np.abs(ideal).max(),
        "relative_error_rms": np.sqrt(np.mean(off**2) / np.mean(ideal**2)),
        "drop_row_largest": sol.drop_row.max(),
        "drop_col_largest": sol.drop_col.max(),
        "p_delivered": sol.p_delivered,
        "p_dissipated": sol.p_dissipated,
    }.items():
        np.testing.assert_allclose(results[name], value, rtol=1e-9)
        assert name in units
    assert results["residual_relative"] < 1e-12 and results["status"] == "good"
    assert f"{results['i_out_mean']:.6g} A" in out and "3 x 4" in out and "good" in out


def test_read_takes_numbers_signs_and_inf():
    run("read", "g.npy", "--v-in", "-0.2", "--r-row", "1", "--r-source", "inf",
        "--r-source-far", "2", "--out", "far")  # fmt: skip
    crossbar = xb.Crossbar(xb.Ohmic(np.load("g.npy")), xb.Wires(1.0, 0.0), xb.Drive(INF, 2.0))
    sol = xb.read(crossbar, jnp.full(ROWS, -0.2))
    np.testing.assert_allclose(np.load("far.npz")["i_out"], sol.i_out, rtol=1e-12)


def test_an_ideal_array_has_no_error():
    run("read", "g.npy", "--v-in", 0.2, "--out", "ideal")
    assert report("ideal")["results"]["relative_error_largest"] < 1e-14


def test_a_read_without_current_has_no_relative_error():
    out, _ = run("read", "g.npy", "--v-in", 0, "--out", "still")
    assert report("still")["results"]["relative_error_rms"] is None and "no current" in out


def test_floating_nodes_are_a_named_warning():
    g, r_row = np.load("g.npy"), np.zeros((ROWS, COLS))
    g[1, 1], r_row[1, 1:3] = 0, np.inf
    np.save("island.npy", g)
    np.save("open.npy", r_row)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once, by the program itself
        out, err = run("read", "island.npy", "--v-in", 0.2, "--r-row", "open.npy", "--out", "x")
    assert err.startswith("Warning: word-line node (1, 1) has no path") and err.count("\n") == 1
    assert "(1, 1)" in out
    assert np.load("x.npz")["floating_row"].sum() == 1


def test_currents_that_may_split_in_any_way_are_a_warning():
    _, err = run("read", "g.npy", "--v-in", 0.2, "--r-source-far", 0)
    assert err.startswith("Warning: word line 0 (and 2 more)") and err.count("\n") == 1


def test_a_solve_that_does_not_converge_writes_nothing(folder):
    np.save("far.npy", np.random.default_rng(1).uniform(1e-6, 1e-3, (40, 40)))
    before = set(os.listdir(folder))
    few = ("--r-row", 1e4, "--r-col", 1e4, "--max-steps", 1)
    err = refused("read", "far.npy", "--v-in", 0.2, *few, "--out", "x", "--plot", "x.png", code=1)
    assert "max_steps" in err and set(os.listdir(folder)) == before


@pytest.mark.parametrize("kind, start", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_read_draws(kind, start):
    pytest.importorskip("matplotlib", reason="figures need the extra plot")
    out, _ = run("read", "g.npy", "--v-in", 0.2, "--r-row", 5, "--plot", f"f.{kind}")
    assert f"wrote f.{kind}" in out and Path(f"f.{kind}").read_bytes().startswith(start)


# compensating


def combined(mapping: str, stored, currents: list[np.ndarray]) -> np.ndarray:
    i = currents[0]
    if mapping == "pair":
        y = i - currents[1]
    else:
        y = i[0::2] - i[1::2] if mapping == "interleaved" else i[:-1] - i[-1]
    return y / (stored["gain"] * stored["k"])


@pytest.mark.few(1)
@pytest.mark.parametrize("mapping", ["pair", "interleaved", "offset"])
def test_compensated_conductances_compute_with_the_weights(mapping):
    out, err = run(
        *("compensate", "w.npy", "--r-row", 20, "--r-col", 20, "--r-source", 100, "--scale", 0.5),
        *("--mapping", mapping, "--out", "tuned"),
    )
    assert "Error" not in err and "Warning" not in err
    x = jnp.array([0.1, -0.2, 0.3])
    with np.load("tuned.npz", allow_pickle=False) as stored:
        arrays = [stored[n] for n in sorted(stored.files) if n.startswith("g_")]
        assert all(1e-6 <= g.min() and g.max() <= 1e-4 for g in arrays)
        build = lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(20.0, 20.0), xb.Drive(100.0))
        i = [np.asarray(xb.read(build(g), x).i_out) for g in arrays]
        np.testing.assert_allclose(
            combined(mapping, stored, i), np.asarray(x) @ np.load("w.npy"), rtol=1e-6, atol=1e-8
        )
    said = report("tuned")
    assert said["reached"] and said["after"]["rms"] <= 1e-9 < said["before"]["rms"]
    assert said["units"]["g_0"] == "S" and said["inputs"]["--mapping"] == mapping
    assert f"{said['before']['rms']:.2e} before" in out and "error" in err


def test_descent_with_fixed_gains_and_a_target_that_is_not_reached():
    out, err = run(
        *("compensate", "w.npy", "--r-row", 200, "--method", "descent", "--max-steps", 2),
        *("--no-gain", "--out", "some", "--plot", "some.svg"),
    )
    assert "Warning: The target was not reached" in err and "not reached" in out
    said = report("some")
    assert not said["reached"] and len(said["history"]) == 2
    assert np.load("some.npz")["gain"].tolist() == [1] * COLS
    assert Path("some.svg").exists()


# programming

GATES = ("--v-gate-set", 2, "--v-gate-reset", 3, "--v-gate-read", 3)


def test_program_is_the_program_of_the_package():
    wires = ("--r-row", 2, "--r-col", 1, "--r-source", 50, "--r-in", 20)
    noisy = ("--read-noise", 2e-7, "--v-spread", 0.01, "--seed", 5)
    out, err = run(
        "program", "g.npy", "--acceptance", 2e-6, *GATES, *wires, *noisy, "--out", "done"
    )
    assert err == "" and "wrote done.csv" in out
    rates = {"k_on": -3e-3, "k_off": 3e-3, "v_on": -0.4, "v_off": 0.4}
    device = xb.VTEAM(np.full((ROWS, COLS), 1.5e-9), 5e3, 2e5, alpha_on=3.0, alpha_off=3.0, **rates)
    crossbar = xb.Crossbar(
        xb.Series(xb.Mosfet(2e-3, 0.4, 0.0), device),
        xb.Wires(2.0, 1.0),
        xb.Drive(jnp.full(ROWS, 50.0), jnp.full(ROWS, INF)),
        xb.VirtualGround(jnp.full(COLS, 20.0), jnp.full(COLS, INF)),
    )
    method = xb.WriteVerify(
        xb.Pulses(xb.Staircase(-0.45, -0.05, -2.0), 1e-7, 1e-8, 2.0),
        xb.Pulses(xb.Staircase(0.45, 0.05, 2.0), 1e-7, 1e-8, 3.0),
        acceptance=2e-6,
        v_read=0.2,
        v_gate_read=3.0,
        read_noise=2e-7,
        v_spread=0.01,
    )
    done = xb.program(crossbar, np.load("g.npy"), method, key=jax.random.key(5))
    said, shared = report("done"), {}
    with np.load("done.npz", allow_pickle=False) as stored:
        assert set(stored.files) <= set(said["units"])
        for name in ("good", "sets", "resets", "energy", "disturb"):
            np.testing.assert_allclose(stored[name], getattr(done, name), rtol=1e-9)
        np.testing.assert_allclose(stored["g_verified"], done.g, rtol=1e-9)
        after: Any = done.crossbar.cell
        np.testing.assert_allclose(1 - stored["share"], after.second.w / 3e-9, rtol=1e-9)
        # transistors that are on leave almost the device alone
        alone = 1 / (5e3 + 1.95e5 * (1 - stored["share"]))
        np.testing.assert_allclose(stored["g_device"], alone, rtol=0.05)
        assert (stored["g_device"] < alone).all()
        shared = {name: stored[name] for name in ("sets", "resets")}
    results = said["results"]
    off = np.asarray(done.g) - np.load("g.npy")
    assert results["good"] == results["cells"] == 12 and "12 of 12 cells" in out
    np.testing.assert_allclose(results["error_rms"], np.sqrt(np.mean(off**2)), rtol=1e-9)
    np.testing.assert_allclose(results["energy"], np.sum(done.energy), rtol=1e-9)
    # the table: units in the header, and every pulse of every cell
    lines = Path("done.csv").read_text().splitlines()
    assert lines[0] == "step [1],row [1],col [1],v [V],v_gate [V],width [s],edge [s]"
    table = files.load("done.csv")
    assert len(table) == len(lines) - 1 == shared["sets"].sum() + shared["resets"].sum()
    for sign, name, gate in ((-1, "sets", 2.0), (1, "resets", 3.0)):
        some = table[np.sign(table[:, 3]) == sign]
        count = np.zeros((ROWS, COLS), int)
        np.add.at(count, tuple(some[:, 1:3].astype(int).T), 1)
        np.testing.assert_array_equal(count, shared[name])
        assert (some[:, 4:] == [gate, 1e-7, 1e-8]).all()
    assert (np.diff(table[:, 0]) >= 0).all()


def test_a_written_array_needs_no_more_pulses():
    call = ("program", "g.npy", "--acceptance", 2e-6, *GATES, "--r-row", 2)
    run(*call, "--out", "once")
    assert report("once")["results"]["kept"] == 12
    run(*call, "--start", "once.npz:share", "--out", "twice")
    assert report("twice")["results"]["pulses_largest"] == 0
    assert Path("twice.csv").read_text().count("\n") == 1


def test_cells_that_miss_are_a_warning():
    _, err = run("program", "g.npy", "--acceptance", 1e-9, *GATES)
    assert err.startswith("Warning: ") and "of 12 cells missed" in err and err.count("\n") == 1


# units and what is skipped


@pytest.mark.parametrize(
    "unit, written",
    [("µS", lambda g: g * 1e6), ("mS", lambda g: g * 1e3), ("kOhm", lambda g: 1e-3 / g)]
    + [("Ω", lambda g: 1 / g), ("MOhm", lambda g: 1e-6 / g), ("S", lambda g: g)],
)
def test_conductances_are_read_in_their_unit(unit, written):
    g = np.load("g.npy")
    np.save("other.npy", written(g))
    _, err = run("read", "other.npy", "--v-in", 0.2, "--unit", unit, "--out", "run")
    assert err == "" and report("run")["warnings"] == []
    with np.load("run.npz") as stored:
        np.testing.assert_allclose(stored["g"], g, rtol=1e-15)
        np.testing.assert_allclose(stored["i_out"], 0.2 * g.sum(0), rtol=1e-12)


@pytest.mark.parametrize(
    "factor, said",
    [
        (1e6, "--unit uS would make that"),
        (1e3, "--unit mS would make that"),
        (None, "--unit ohm would make that"),
    ],
)
def test_conductances_that_no_cell_has_are_a_warning_and_stand_in_the_report(factor, said):
    g = np.load("g.npy")
    np.save("other.npy", 1 / g if factor is None else g * factor * (10 if factor == 1e3 else 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once, by the program itself
        _, err = run("read", "other.npy", "--v-in", 0.2, "--out", "run")
    assert err.startswith("Warning: G reaches ") and err.count("\n") == 1 and said in err
    assert report("run")["warnings"] == [err.removeprefix("Warning: ").strip()]
    _, err = run("read", "other.npy", "--v-in", 0.2, "--unit", "S")
    assert err == ""  # meant


def test_shorts_are_no_matter_of_units():
    g = np.load("g.npy")
    g[1, 1] = 1e3
    np.save("short.npy", g)
    _, err = run("read", "short.npy", "--v-in", 0.2)
    assert "write inf for a short" in err and "--unit" not in err


def test_bounds_of_cells_have_units_too():
    _, err = run("compensate", "w.npy", "--g-max", 100, "--unit", "uS", "--out", "tuned")
    assert "Warning" not in err
    with np.load("tuned.npz") as stored:
        assert max(stored["g_0"].max(), stored["g_1"].max()) == pytest.approx(1e-4, rel=1e-12)
    assert report("tuned")["inputs"]["--g-max"] == 1e-4
    assert report("tuned")["inputs"]["--g-min"] == 1e-6
    _, err = run("compensate", "w.npy", "--g-min", 1, "--g-max", 100, "--out", "large")
    assert "Warning: --g-max reaches 100 S" in err and len(report("large")["warnings"]) == 2


def test_what_was_skipped_of_files_is_said():
    Path("g.csv").write_text(",a,b\n0,1e-5,2e-5\n1,3e-5,4e-5\n")
    out, _ = run("read", "g.csv", "--v-in", 0.2, "--out", "run")
    skipped = ["line 1, a header: '', 'a', 'b'", "column 1, an index: '0' to '1'"]
    assert report("run")["inputs"]["G"]["skipped"] == skipped
    assert "".join(f"g.csv, {part}" for part in skipped[:1]) in out
    assert np.load("run.npz")["g"].tolist() == [[1e-5, 2e-5], [3e-5, 4e-5]]


# what is refused


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("read", "g.npy", "--v-in", ""), "--v-in is empty"),
        (("read", "g.npy", "--v-in", "1", "--r-row", " "), "--r-row is empty"),
        (("read", "", "--v-in", "1"), "G is empty"),
        (("read", "g.npy", "--v-in", "1", "--out", ""), "--out is empty"),
        (("read", "g.npy", "--v-in", "1", "--out", "."), "--out is ., a folder"),
        (("read", "g.npy", "--v-in", "1", "--out", "./"), "--out is ./, a folder"),
        (("read", "g.npy", "--v-in", "1", "--plot", ""), "--plot is empty"),
        (("read", "g.npy", "--v-in", "1", "--unit", ""), "--unit is ''; it must be one of"),
        (("read", "g.npy", "--v-in", "1", "--unit", "MS"), "--unit is 'MS'; it must be one of"),
        (("read", "g.npy", "--v-in", "1_0"), "--v-in is '1_0', neither a number nor a file"),
        (("read", "n" * 300 + ".npy", "--v-in", "1"), "nnn.npy: File name too long."),
        (("read", "ohms.npy", "--v-in", "1", "--unit", "ohm"), "G[0, 1] is -5.0 ohm"),
        (("compensate", ""), "WEIGHTS is empty"),
        (("sweep", "", "--out", "s", "--devices", "1"), "FILE is empty"),
        (("sweep", "no.toml", "--out", "", "--devices", "1"), "--out is empty"),
        (("sweep", "no.toml", "--out", "s", "--devices", "1"), "no.toml does not exist"),
        (("sweep", ".", "--out", "s", "--devices", "1"), ". is a folder; give a TOML file"),
        (("sweep", "g.npy", "--out", "s", "--devices", "1"), "g.npy is not text in UTF-8"),
        (("plot", "", "--plot", "a.png"), "STORE is empty"),
        (("plot", "g.npy", "--plot", ""), "--plot is empty"),
    ],
)
def test_arguments_of_nothing_and_files_of_another_kind_are_named(folder, arguments, said):
    np.save("ohms.npy", np.array([[1e4, -5.0]]))
    before = set(os.listdir(folder))
    err = refused(*arguments)
    assert said in err and "Errno" not in err and set(os.listdir(folder)) == before


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("negative", [[1e-5, -1e-5]], r"g[0, 1] is -1e-05 S"),
        ("nan", [[1e-5, np.nan]], r"g[0, 1] is nan S"),
        ("inf", [[1e-5, np.inf]], "cell (0, 1): ideal wire, or a shorted cell between ideal wires"),
        ("line", [1e-5, 1e-5], r"g has shape (2,)"),
        ("stack", np.ones((2, 3, 4)), r"g has shape (2, 3, 4)"),
    ],
)
def test_conductances_no_array_can_have(name, value, said):
    np.save(f"{name}.npy", np.asarray(value))
    assert said in refused("read", f"{name}.npy", "--v-in", 0.2)


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--r-row", "-1", "r_row is -1.0 ohm"),
        ("--r-row", "nan", "r_row is nan ohm"),
        ("--r-row", "abc", "--r-row is 'abc', neither a number nor a file"),
        ("--r-row", "v.csv", "wires.r_row has shape (3, 1)"),
        ("--r-col", "w.npy", "r_col[0, 1] is -0.9"),
        ("--r-source", "g.npy", "--r-source has shape (3, 4), but the array has 3 rows"),
        ("--r-in", "v.csv", "--r-in has shape (3, 1), but the array has 4 columns"),
        ("--v-ref", "inf", "v_ref[0] is inf V"),
        ("--v-in", "nan", "v_in[0] is nan V"),
        ("--v-in", "four.txt", "--v-in has shape (1, 4), but the array has 3 rows"),
        ("--out", "no/such/run", "--out: the folder no/such does not exist"),
        ("--out", "run.npz", "leave out the suffix"),
        ("--plot", "no/f.png", "--plot: the folder no does not exist"),
        ("--plot", "f.gif", "must end in .png, .svg, .pdf"),
    ],
)
def test_options_that_cannot_be(folder, option, value, said):
    Path("four.txt").write_text("1 2 3 4\n")
    before = set(os.listdir(folder))
    arguments = {"--v-in": "0.2"} | {option: value}
    assert said in refused("read", "g.npy", *(x for pair in arguments.items() for x in pair))
    assert set(os.listdir(folder)) == before


@pytest.mark.parametrize(
    "options, said",
    [
        (("--g-min", 1e-4, "--g-max", 1e-6), "finite, with 0 <= g_min < g_max"),
        (("--scale", 1.5), "scale is 1.5"),
        (("--scale", 0), "scale is 0.0"),
        (("--rtol", -1), "--rtol is -1.0"),
        (("--r-row", -5), "r_row is -5.0"),
        (("--r-in", "v.csv"), "--r-in has shape (3, 1)"),
        (("--out", "no/x"), "does not exist"),
    ],
)
def test_compensations_that_cannot_be(options, said):
    assert said in refused("compensate", "w.npy", *options)


@pytest.mark.parametrize(
    "options, said",
    [
        (("--acceptance", 2), "--acceptance is 2.0 S, but the largest target is"),
        (("--acceptance", 0), "acceptance is 0 S"),
        (("--read-noise", 2e-6), "read_noise is 2e-06 S, but acceptance goes down to 2e-06 S"),
        (GATES[:2], "--v-gate-set is given without --v-gate-reset and --v-gate-read"),
        ((*GATES, "--scheme", "third"), "--scheme is third, but rows with gates"),
        ((*GATES, "--r-in-far", 5), "select isolates rows"),
        (("--set", -0.5, 0.1, -2), "--set: step is 0.1 V, which leads"),
        (("--reset", -0.5, -0.1, -2), "--reset at -0.5 V: they need opposite signs"),
        (("--width", 1e-9), "width is 1e-09 s, but edges take 1e-08 s"),
        (("--v-read", 0), "v_read is 0.0 V"),
        (("--width", "inf"), "width is inf s; it must be finite"),
        ((*GATES, "--v-gate-set", "nan"), "--v-gate-set: start is nan V"),
        (("--parameter", "k_on=3"), "--parameter: no vteam has r_on 5000"),
        (("--start", 2), "--start is 2.0; a share"),
        (("--start", "v.csv"), "--start has shape (3, 1)"),
        (("--parameter", "g=1"), "--parameter is 'g=1', but vteam has no 'g'"),
        (("--parameter", "r_on=x"), "--parameter is 'r_on=x'; give r_on=NUMBER"),
        (("--parameter", "r_on=5e4"), "but the cell reaches from"),
        (("--r-row", -1), "r_row is -1.0 ohm"),
        (("--out", "done.csv"), "leave out the suffix: .npz, .json and .csv"),
    ],
)
def test_writes_that_cannot_be(folder, options, said):
    before = set(os.listdir(folder))
    assert said in refused("program", "g.npy", "--acceptance", 2e-6, *options)
    assert set(os.listdir(folder)) == before


def test_weights_that_cannot_be():
    for name, value, said in (
        ("nan", [[np.nan, 1.0]], "weights[0, 0] is nan"),
        ("none", [[0.0, 0.0]], "weights are all 0"),
        ("flat", [1.0, 2.0], "WEIGHTS has shape (2,)"),
    ):
        np.save(f"{name}.npy", np.asarray(value))
        assert said in refused("compensate", f"{name}.npy")


def test_a_folder_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert "cannot be written" in refused("read", "g.npy", "--v-in", 1, "--out", "x")


def test_usage_errors_have_status_2():
    for arguments in (
        ("read", "g.npy"),  # no voltages
        ("read", "g.npy", "--v-in", 1, "--max-steps", "many"),
        ("compensate", "w.npy", "--mapping", "magic"),
        ("compensate", "w.npy", "--g-min", "small"),
    ):
        _, err = run(*arguments, code=2)
        assert "Error: " in err and "Traceback" not in err


# files


def test_load_gives_back_what_was_stored(folder):
    x = np.random.default_rng(2).normal(size=(ROWS, COLS))
    np.save("x.npy", x)
    np.savez("one.npz", x)
    np.savez("two.npz", a=x, b=-x)
    np.savetxt("x.csv", x, delimiter=",", fmt="%.17g", header="a,b,c,d", comments="")
    np.savetxt("x.tsv", x, delimiter="\t", fmt="%.17g", header="commented")
    np.savetxt("x.txt", x, fmt="%.17g")
    for name in ("x.npy", "one.npz", "two.npz:a", "x.csv", "x.tsv", "x.txt", folder / "x.npy"):
        got = files.load(name)
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, x)
    np.testing.assert_array_equal(files.load("two.npz:b"), -x)


def test_load_converts_integers_and_takes_what_spreadsheets_write():
    np.save("i.npy", np.arange(6, dtype=np.int32).reshape(2, 3))
    np.testing.assert_array_equal(files.load("i.npy"), [[0.0, 1, 2], [3, 4, 5]])
    Path("sheet.csv").write_bytes(b"\xef\xbb\xbf1,2\r\n\r\n3,inf\r\n")
    np.testing.assert_array_equal(files.load("sheet.csv"), [[1, 2], [3, np.inf]])


def damaged(name: str) -> None:
    """Makes the files that cannot be loaded."""
    np.savez("two.npz", a=np.ones(2), b=np.ones(2))
    np.savez("ok.npz", a=np.ones((50, 50)))
    np.save("ok.npy", np.ones((50, 50)))
    objects = np.array([{"a": 1}, None], dtype=object)
    make = {
        "cut.npy": lambda f: f.write_bytes(Path("ok.npy").read_bytes()[:-100]),
        "head.npy": lambda f: f.write_bytes(Path("ok.npy").read_bytes()[:30]),
        "void.npy": lambda f: f.write_bytes(b""),
        "text.npy": lambda f: f.write_text("1,2,3"),
        "pickled.npy": lambda f: np.save(f, objects, allow_pickle=True),
        "pickled.npz": lambda f: np.savez(f, a=objects),
        "cut.npz": lambda f: f.write_bytes(Path("ok.npz").read_bytes()[:-300]),
        "bits.npz": lambda f: f.write_bytes(
            (b := Path("ok.npz").read_bytes())[:5000] + b"\xff\xff" + b[5002:]
        ),
        "empty.npy": lambda f: np.save(f, np.zeros((0, 4))),
        "words.npy": lambda f: np.save(f, np.array(["a", "b"])),
        "bools.npy": lambda f: np.save(f, np.array([True])),
        "complex.npy": lambda f: np.save(f, np.array([1j])),
        "empty.csv": lambda f: f.write_text(""),
        "header.csv": lambda f: f.write_text("a,b\n"),
        "word.csv": lambda f: f.write_text("a,b\n1,2\n3,four\n"),
        "gap.csv": lambda f: f.write_text("1,2\n3,\n"),
        "under.csv": lambda f: f.write_text("1,1_0\n"),
        "ragged.csv": lambda f: f.write_text("1,2\n\n3,4,5\n"),
        "bytes.csv": lambda f: f.write_bytes(b"\xff\xfe\x00"),
        "x.mat": lambda f: f.write_bytes(b"x"),
        "folder.npy": lambda f: f.mkdir(),
    }
    if name in make:
        make[name](Path(name))


@pytest.mark.parametrize(
    "name, said",
    [
        ("missing.npy", "does not exist"),
        ("missing.npz:a", "missing.npz does not exist"),
        ("cut.npy", "damaged or cut short"),
        ("head.npy", "damaged or cut short"),
        ("void.npy", "not a numpy file"),
        ("text.npy", "not a numpy file"),
        ("pickled.npy", "pickled"),
        ("pickled.npz", "pickled"),
        ("cut.npz", "damaged"),
        ("bits.npz", "damaged"),
        ("two.npz", "holds 2 arrays (a, b); choose one as two.npz:NAME"),
        ("two.npz:c", "no array 'c'; choose one of: a, b"),
        ("empty.npy", "is empty"),
        ("words.npy", "real numbers"),
        ("bools.npy", "real numbers"),
        ("complex.npy", "real numbers"),
        ("empty.csv", "holds no numbers"),
        ("header.csv", "holds no numbers"),
        ("word.csv", "word.csv, line 3, column 2: 'four' is not a number"),
        ("gap.csv", "line 2, column 2: '' is not a number"),
        ("under.csv", "line 1, column 2: '1_0' is not a number"),
        ("ragged.csv", "line 3 has 3 numbers, but line 1 has 2"),
        ("bytes.csv", "not text in UTF-8"),
        ("x.mat", "no .npy, .npz, .csv"),
        ("folder.npy", "is a folder"),
    ],
)
def test_files_that_cannot_be_read(name, said):
    damaged(name)
    assert said in refused("read", name, "--v-in", 1)


REPORT = {"units": {"x": "V"}, "inputs": {}}


def test_results_round_trip(folder):
    x = np.arange(3.0)
    extra = {"list": np.array([1.0, np.nan]), "count": np.int64(3), "yes": True, "none": None}
    npz, described = files.save_results("run.v1", {"x": x}, REPORT | extra)
    assert (npz.name, described.name) == ("run.v1.npz", "run.v1.json")
    np.testing.assert_array_equal(files.load("run.v1.npz"), x)
    said = report("run.v1")
    assert said["list"] == [1.0, "nan"] and said["count"] == 3 and said["yes"] is True
    assert said["arrays"] == {"x": [3]} and said["xbarjax"]
    mask = os.umask(0)
    os.umask(mask)
    assert npz.stat().st_mode & 0o777 == 0o666 & ~mask  # as any other file


def test_a_report_without_units_or_inputs_is_refused(folder):
    before = set(os.listdir(folder))
    with pytest.raises(ValueError, match="lacks 'y'"):
        files.save_results("run", {"y": 1.0}, REPORT)
    with pytest.raises(ValueError, match="no 'inputs'"):
        files.save_results("run", {}, {"units": {}})
    with pytest.raises(ValueError, match="real numbers"):
        files.save_results("run", {"x": np.array([None])}, REPORT)
    assert set(os.listdir(folder)) == before


def test_a_failed_write_leaves_what_was_there(folder, monkeypatch):
    files.save_results("run", {"x": 1.0}, REPORT)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    for module, name in ((np, "savez"), (os, "fsync"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(OSError, match="No space"):
                files.save_results("run", {"x": 2.0}, REPORT)
            _, err = run("read", "g.npy", "--v-in", 1, "--out", "run", code=2)
            assert err == "Error: run.npz: No space left on device.\n"
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(FileNotFoundError):
        files.save_results("no/run", {"x": 1.0}, REPORT)


# the program itself


def test_help_teaches():
    out, _ = run("--help")
    assert "read" in out and "compensate" in out and "in SI units" in " ".join(out.split())
    for command, units in (
        ("read", ("[S]", "[V]", "[ohm")),
        ("compensate", ("[S]", "[ohm", "[1]")),
        ("program", ("[S]", "[ohm", "[V]", "[s]")),
    ):
        out, _ = run(command, "--help")
        assert "Examples:\n" in out and "python -c" in out and f"xbarjax {command}" in out
        assert all(unit in out for unit in units)
        options = [x for x in out.split("Options:")[1].split("\n  --") if "NUMBER|FILE" in x]
        assert all(any(unit in x for unit in ("[ohm", "[V]", "[1]")) for x in options)


def test_the_examples_of_the_help_work():
    for command in ("read", "compensate", "program"):
        out, _ = run(command, "--help")
        lines = [line.strip() for line in out.split("Examples:")[1].split("\n\n")[0].splitlines()]
        for line in filter(None, lines):
            words = [word.strip('"') for word in line.split(" ")]
            if words[0] == "python":
                code = line.split('"')[1]
                exec(re.sub(r"(16|64), (16|32|64)", f"{ROWS}, {COLS}", code))
            else:
                run(*words[1:])


def test_a_process_turns_float64_on_and_the_package_leaves_it_alone(folder):
    code = (
        "import sys, jax, xbarjax\n"
        "assert 'matplotlib' not in sys.modules and 'typer' not in sys.modules\n"
        "import xbarjax.cli\n"
        "assert 'matplotlib' not in sys.modules\n"
        "assert not jax.config.jax_enable_x64\n"
        "sys.argv[1:] = ['read', 'g.npy', '--v-in', '0.2', '--r-row', '5', '--out', 'run']\n"
        "try:\n    xbarjax.cli.main()\n"
        "finally:\n    assert jax.config.jax_enable_x64\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_X64"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert np.load("run.npz")["i_out"].dtype == np.float64
    assert report("run")["results"]["residual_relative"] < 1e-12


def test_version():
    out, _ = run("--version")
    assert out.split() == ["xbarjax", report_version()]


def report_version() -> str:
    files.save_results("version", {}, {"units": {}, "inputs": {}})
    return report("version")["xbarjax"]


def test_info_says_what_is_there_and_what_is_missing(monkeypatch):
    said, _ = run("info")
    assert f"xbarjax     {xb.__version__}" in said and "device      cpu:0" in said
    assert ("install a C++ compiler" in said) != _native.built()
    assert (" vectors" in said) == _native.available()
    monkeypatch.setattr(_native, "built", lambda: False)
    assert "not built" in run("info")[0]
    monkeypatch.setattr(_native, "built", lambda: True)
    monkeypatch.setattr(_native, "available", lambda: False)
    assert "switched off by XBARJAX_NATIVE=0" in run("info")[0]
