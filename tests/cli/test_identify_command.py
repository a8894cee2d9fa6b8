"""`xbarjax identify` against an array that is solved here, by nodal analysis in NumPy."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xbarjax as xb

pytest.importorskip("typer", reason="the command line needs the extra cli")
from typer.testing import CliRunner

from xbarjax import cli

ROWS, COLS, READS = 4, 4, 24
R_ROW, R_COL, SIGMA = 60.0, 90.0, 1e-9
G = np.random.default_rng(0).uniform(2e-5, 1e-4, (ROWS, COLS))
# From one end of the rows, their wires and the cells are known together only: one must be known.
WIRES = "--r-row", R_ROW, "--known", "r_row", "--r-col", 30


def currents(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Currents into the rows and out of the columns of the array, one line per read."""
    size = ROWS * COLS
    row = lambda i, j: i * COLS + j
    col = lambda i, j: size + i * COLS + j
    y = np.zeros((2 * size, 2 * size))
    into = np.zeros((2 * size, ROWS))

    def branch(a: int, b: int | None, g: float) -> None:
        y[a, a] += g
        if b is not None:
            y[b, b] += g
            y[a, b] -= g
            y[b, a] -= g

    for i in range(ROWS):
        for j in range(COLS):
            branch(row(i, j), col(i, j), G[i, j])
            branch(row(i, j), row(i, j - 1) if j else None, 1 / R_ROW)
            branch(col(i, j), col(i + 1, j) if i < ROWS - 1 else None, 1 / R_COL)
        into[row(i, 0), i] = 1 / R_ROW
    x = np.linalg.solve(y, into @ v.T).T
    i_in = (v - x[:, [row(i, 0) for i in range(ROWS)]]) / R_ROW
    return i_in, x[:, [col(ROWS - 1, j) for j in range(COLS)]] / R_COL


def table(path: str, offset: float = 0.0) -> None:
    """What an instrument writes of that array, in mV and uA; `offset` [A] is on column 2."""
    rng = np.random.default_rng(1)
    v = rng.uniform(-0.2, 0.2, (READS, ROWS))
    i_in, i_out = (i + rng.normal(0, SIGMA, i.shape) for i in currents(v))
    i_out[:, 2] += offset
    head = [f"v_row[{i}] [mV]" for i in range(ROWS)]
    head += [f"i_in[{i}] [uA]" for i in range(ROWS)] + [f"i_out[{j}] [uA]" for j in range(COLS)]
    head += ["sigma i_in [nA]", "sigma i_out [A]"]
    noise = np.full((READS, 1), SIGMA)
    lines = np.hstack([1e3 * v, 1e6 * i_in, 1e6 * i_out, 1e9 * noise, noise])
    fields = [[repr(float(x)) for x in line] for line in lines]
    fields[5][ROWS + 1] = ""  # was not measured
    Path(path).write_text("\n".join(",".join(line) for line in [head, *fields]) + "\n")


def run(*arguments: object, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(cli.app, ["identify", *map(str, arguments)])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result.stdout, result.stderr


def stored(prefix: str) -> dict[str, np.ndarray]:
    with np.load(f"{prefix}.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def report(prefix: str) -> dict[str, Any]:
    return json.loads(Path(f"{prefix}.json").read_text(), parse_constant=pytest.fail)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    table("m.csv")
    return tmp_path


def test_cells_and_wires_are_found_within_their_deviations():
    pytest.importorskip("matplotlib", reason="figures need the extra plot")
    options = "--g", "50uS", *WIRES, "--out", "twin", "--plot", "twin.png"
    out, err = run("m.csv", *options)
    arrays = stored("twin")
    off = (arrays["g"] - G) / arrays["g_std"]
    assert np.abs(off).max() < 4.5 and 0.4 < np.sqrt(np.mean(off**2)) < 2.0
    assert np.all(arrays["g_std"] < 0.05 * G)
    r_col, r_col_std = arrays["r_col"], arrays["r_col_std"]
    assert np.all(r_col == r_col[0, 0])  # one number, per array
    assert np.all(np.abs(r_col - R_COL) < 4.5 * r_col_std) and np.all(r_col_std < 0.1 * R_COL)
    for name, value in (("r_row", R_ROW), ("r_source", 0), ("r_in", 0)):  # known
        assert np.all(arrays[name] == value) and not np.any(arrays[f"{name}_std"])
    residual = arrays["residual_i_in"]
    assert residual.shape == (READS, ROWS) and np.isnan(residual).sum() == 1
    said = report("twin")
    assert set(arrays) == set(said["units"]) and said["units"]["r_row"] == "ohm"
    results = said["results"]
    assert results["converged"] and not results["refuted"] and results["status"] == "good"
    assert results["missing"] == 1 and results["readings"] == READS * (ROWS + COLS) - 1
    assert abs(results["chi2"] - 1) < 5 * np.sqrt(2 / (READS * (ROWS + COLS) - 18))
    assert set(results["found"]) == {"g", "r_col"}
    assert said["inputs"]["unknown"] == ["g", "r_col"]
    assert said["inputs"]["MEASURED"][0]["reads"] == READS
    assert "4 x 4" in out and "at rest after" in out and "ohm, standard deviation" in out
    assert "step" in err and "Warning: 1 readings are NaN" in err
    assert Path("twin.png").read_bytes().startswith(b"\x89PNG")


def test_a_search_that_does_not_rest_writes_and_has_status_1():
    _, err = run("m.csv", "--g", 5e-5, *WIRES, "--max-steps", 1, "--out", "twin", code=1)
    assert "Warning: The search did not come to rest" in err
    assert not report("twin")["results"]["converged"] and Path("twin.npz").exists()


def test_reads_that_refute_the_model_are_a_warning():
    table("off.csv", offset=5e-8)  # of an amplifier, of which the model knows nothing
    out, err = run("off.csv", "--g", 20, "--unit", "kohm", *WIRES, "--out", "twin")
    assert "Warning: The reads refute the model" in err and "refutes the model" in out
    assert "line 2 of i_out" in err
    assert report("twin")["results"]["refuted"]


def test_known_cells_leave_the_wires():
    np.save("g.npy", G)
    options = "--r-row", 30, "--r-col", 30, "--known", "g", "--per", "row"
    run("m.csv", "--g", "g.npy", *options, "--out", "twin")
    found = stored("twin")
    np.testing.assert_array_equal(found["g"], G)
    assert not np.any(found["g_std"])
    assert np.all(np.abs(found["r_row"] - R_ROW) < 4.5 * found["r_row_std"])
    assert np.all(found["r_row"] == found["r_row"][:, :1]) and np.ptp(found["r_row"]) > 0


def test_the_examples_of_the_help_work():
    out, _ = run("--help")
    examples = out.split("Examples:")[1].split("\n\n")[0]
    first, *rest = [line.strip() for line in examples.splitlines() if line.strip()]
    exec(re.sub("16", "4", first.split('"')[1]))
    for line in rest:
        result = CliRunner().invoke(cli.app, line.split()[1:])
        assert result.exit_code == 0, (result.stdout, result.stderr, result.exception)
        if line.split()[1] == "identify":  # the reads state no noise
            assert "of a nominal noise" in result.stdout


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("none.csv", "--g", 1e-5), "none.csv does not exist"),
        (("", "--g", 1e-5), "MEASURED is empty"),
        (("m.csv", "--g", ""), "--g is empty"),
        (("m.csv", "--g", "much"), "--g is 'much', neither a number nor a file"),
        (("m.csv", "--g", "50uS", "--unit", "uS"), "--g is 50uS, but --unit is uS; give the unit"),
        (("m.csv", "--g", 0), "--g has cells that are not above 0 and finite"),
        (("m.csv", "--g", "inf"), "--g has cells that are not above 0 and finite"),
        (("m.csv", "--g", "v.npy"), "--g has shape (3,); it must be a number or (rows, cols)"),
        (("m.csv", "--g", "w.npy"), "the numbers of rows differ: the reads have 4, --g has 3"),
        (("m.csv", "--g", 1e-5, "--rows", 8), "the reads have 4, --rows says 8"),
        (("m.csv", "--g", 1e-5, "--cols", 8), "i_out of the reads has 4, --cols says 8"),
        (("in.npz", "--g", 1e-5), "the reads do not tell the number of columns; give --cols"),
        (("m.csv", "--g", 1e-5, "--known", "g"), "--known is g: nothing is left to find"),
        (("m.csv", "--g", 1e-5, "--known", "c_row"), "--known has 'c_row'; it must be one of g,"),
        (("m.csv", "--g", 1e-5, "--sigma", 1e-9), "m.csv states its own noise; leave one out"),
        (("in.npz", "--g", 1e-5, "--cols", 2, "--sigma", 0), "--sigma is 0.0; it must be above 0"),
        (("both.npz", "--g", 1e-5, "--sigma", 1), "has readings in V and A: write columns such as"),
        (("m.csv", "--g", 1e-5, "--r-row", -1), "r_row is -1.0 ohm"),
        (("m.csv", "--g", 1e-5, "--r-in", "w.npy"), "--r-in has shape (3, 4)"),
        (("m.csv", "--g", 0.05), "times the"),  # of other units than the reads
        (("m.csv", "--g", 1e-5, "--out", "no/x"), "does not exist"),
        (("m.csv", "--g", 1e-5, "--plot", "x.doc"), "its name must end in"),
    ],
)
def test_bad_input_is_one_sentence(folder, arguments, said):
    np.save("v.npy", np.full(3, 1e-5))
    np.save("w.npy", np.full((3, 4), 1e-5))
    np.savez("in.npz", v_row=np.eye(2), i_in=1e-5 * np.eye(2))
    np.savez("both.npz", v_row=np.eye(2), i_out=1e-5 * np.eye(2), v_sense=np.eye(2))
    before = {path.name for path in folder.iterdir()}
    out, err = run(*arguments, code=2)
    assert out == "" and err.startswith("Error: ") and err.count("\n") == 1, (out, err)
    assert said in err, err
    assert {path.name for path in folder.iterdir()} == before


def test_reads_of_several_files_are_one_search():
    whole = xb.load_measured("m.csv")
    for name, part in (("a.npz", slice(12)), ("b.csv", slice(12, None))):
        pick = lambda x, part=part: np.asarray(x)[part]
        sigma = {k: pick(x) for k, x in (whole.sigma or {}).items()}
        sensed = {k: pick(x) for k, x in whole.sensed.items()}
        xb.save_measured(xb.Measured(pick(whole.v_row), sensed, sigma), name)
    run("a.npz", "b.csv", "--g", "50uS", *WIRES, "--out", "twin")
    found = stored("twin")
    assert found["residual_i_out_0"].shape == found["residual_i_out_1"].shape == (12, COLS)
    run("m.csv", "--g", "50uS", *WIRES, "--out", "whole")
    whole = stored("whole")
    assert np.all(np.abs(found["g"] - whole["g"]) < 0.2 * whole["g_std"])  # searches end within
    np.testing.assert_allclose(found["g_std"], whole["g_std"], rtol=1e-3)
