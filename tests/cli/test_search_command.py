"""`xbarjax search` against the search of the package and against digital comparisons."""

import json
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax import _files as files

pytest.importorskip("typer", reason="the command line needs the extra cli")
from typer.testing import CliRunner

from xbarjax import cli

WORDS = ["10x1", "0011", "1x01", "xxxx"]
ASKED = ["1001", "0011", "110x", "0100"]
LOW, HIGH = [[0, 3], [2, 0], [0, 0]], [[2, 6], [8, 8], [8, 8]]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("# stored\n" + "\n".join(WORDS) + "\n")
    Path("asked.csv").write_text("\n".join(",".join(word) for word in ASKED) + "\n")
    for name, x in (("low", LOW), ("high", HIGH), ("q", [[1, 4], [3, 7]])):
        np.savetxt(f"{name}.csv", x, delimiter=",", fmt="%d")
    return tmp_path


def run(*arguments: object, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(cli.app, ["search", *map(str, arguments)])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result.stdout, result.stderr


def report(prefix: str) -> dict[str, Any]:
    return json.loads(Path(f"{prefix}.json").read_text(), parse_constant=pytest.fail)


def digital() -> np.ndarray:
    same = lambda a, b: a == b or "x" in (a, b)
    return np.array([[all(map(same, word, asked)) for word in WORDS] for asked in ASKED])


def test_words_match_as_a_digital_memory_says():
    pytest.importorskip("matplotlib", reason="figures need the extra plot")
    wires = "--r-match", 20, "--v-offset", 0.01, "--parameter", "switch.w=3"
    out, err = run("words.txt", "--query", "asked.csv", *wires, "--out", "found", "--plot", "f.png")
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")
    assert err == "" and "16 of 16 rows" in out and "wrote found.csv" in out
    bits = lambda words: np.array([[{"x": 0.5}.get(c, c) for c in w] for w in words], float)
    stored, asked = bits(WORDS), bits(ASKED)
    g = lambda opened: np.where(opened, 1.5e-4, 1e-6)
    switch = xb.Mosfet(7.5e-4, 0.2, 0.0, 1.3, 0.05)
    tile = xb.cam.Tile(
        xb.cam.Ternary2T2R(g(stored == 0), g(stored == 1), switch, v_gate=1.2),
        r_match=20.0,
        v_offset=jnp.full(4, 0.01),
        t_sense=3e-10,
    )
    one = xb.cam.search(tile, asked[2], np.linspace(0, 3e-10, 62)[1:-1])  # times of the figure
    said = report("found")
    with np.load("found.npz", allow_pickle=False) as kept:
        np.testing.assert_array_equal(kept["match"], digital())
        np.testing.assert_array_equal(kept["expected"], digital())
        np.testing.assert_allclose(kept["margin"][2], one.margin, rtol=1e-6)
        np.testing.assert_allclose(kept["t_fall"][2], one.t_fall, rtol=1e-6)
        np.testing.assert_allclose(kept["energy_match"][2], one.energy_match, rtol=1e-6)
        assert set(kept.files) <= set(said["units"])
        margin, energy = kept["margin"], kept["energy_match"] + kept["energy_data"]
    results = said["results"]
    assert results["missed"] == results["false"] == 0 and results["matches"] == digital().sum()
    np.testing.assert_allclose(results["margin_match_least"], margin[digital()].min())
    np.testing.assert_allclose(results["margin_mismatch_most"], margin[~digital()].max())
    np.testing.assert_allclose(results["energy"], energy.mean())
    assert said["inputs"]["--cell"] == "2t2r" and said["inputs"]["--parameter"]["switch.w"] == 3
    table = files.load("found.csv")
    assert table.shape == (16, 7)
    np.testing.assert_array_equal(table[:, 2].reshape(4, 4), digital())
    np.testing.assert_allclose(table[:, 4].reshape(4, 4), margin)


@pytest.mark.slow
def test_levels_on_wires_with_and_without_compensation():
    wires = "--r-high", 100, "--r-low", 100
    call = "low.csv", "high.csv", "--levels", 8, "--query", "q.csv", *wires
    out, err = run(*call, "--compensate", "--out", "found")
    assert err == "" and "6 of 6 rows" in out
    results = report("found")["results"]
    with np.load("found.npz") as kept:
        # low <= query < high
        np.testing.assert_array_equal(kept["match"], [[1, 0, 1], [0, 1, 1]])
        np.testing.assert_array_equal(kept["expected"], kept["match"])
        assert kept["g_low"].shape == (3, 2) and kept["g_low"][2].tolist() == [0, 0]
        assert kept["query"][0, 0] < kept["query"][1, 0]  # levels rise with the voltage
    assert results["bound_error_largest"] < 1e-3
    run(*call, "--out", "plain")
    assert report("plain")["results"]["bound_error_largest"] > 5e-3


def test_bounds_in_volts():
    """Rows that share a bound, one without an upper bound, and one that never matches."""
    Path("lower.csv").write_text("0.1,0.15\n0.25,-inf\n-inf,-inf\n")
    Path("upper.csv").write_text("0.25,0.4\ninf,0.4\ninf,-inf\n")
    Path("volts.txt").write_text("0.2 0.3\n0.3 0.1\n")
    out, err = run("lower.csv", "upper.csv", "--query", "volts.txt", "--out", "found")
    assert err == "" and "6 of 6 rows" in out and "row 1, by" in out
    with np.load("found.npz") as kept:
        np.testing.assert_array_equal(kept["match"], [[1, 0, 0], [0, 1, 0]])
        assert kept["g_high"][1, 0] == 1e-3 and kept["g_low"][2, 0] == 0
        assert kept["query"].tolist() == [[0.2, 0.3], [0.3, 0.1]]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("words.txt", "--query", "q.csv"), "q.csv, line 1, has '4'; a word has 0, 1 and x"),
        (("low.csv", "high.csv", "--query", "asked.csv"), "asked.csv, line 3"),
        (("words.txt", "--query", "short.txt"), "--query has shape (1, 3), but the memory has 4"),
        (("ragged.txt", "--query", "asked.csv"), "ragged.txt, line 2, has 3 bits"),
        (("empty.txt", "--query", "asked.csv"), "empty.txt has no words"),
        (("no.txt", "--query", "asked.csv"), "no.txt"),
        (("words.txt", "--query", ""), "--query is empty"),
        (("words.txt", "--query", "asked.csv", "--compensate"), "--compensate is for analog"),
        (("words.txt", "--query", "asked.csv", "--levels", 4), "--levels is for analog"),
        (("words.txt", "--query", "asked.csv", "--cell", "6t2m"), "--cell is 6t2m, which stores"),
        (("low.csv", "high.csv", "--query", "q.csv", "--cell", "16t"), "--cell is 16t"),
        (("low.csv", "high.csv", "q.csv", "--query", "q.csv"), "3 files are given"),
        (("high.csv", "low.csv", "--query", "q.csv"), "the bounds cross"),
        (("high.csv", "low.csv", "--levels", 8, "--query", "q.csv"), "above HIGH"),
        (("low.csv", "short.txt", "--query", "q.csv"), "LOW has shape (3, 2) and HIGH (1, 1)"),
        (("low.csv", "high.csv", "--levels", 8, "--query", "nine.txt"), "numbers from 0 to 7"),
        (("words.txt", "--query", "asked.csv", "--parameter", "w=1"), "has no 'w'"),
        (("words.txt", "--query", "asked.csv", "--parameter", "kp=a"), "give kp=NUMBER"),
        (("words.txt", "--query", "asked.csv", "--r-match", "-1"), "r_match is -1.0 ohm"),
        (
            ("words.txt", "--query", "asked.csv", "--t-sense", "0"),
            "t_sense is 0 s; it must be positive",
        ),
        (("words.txt", "--query", "asked.csv", "--v-offset", "q.csv"), "--v-offset has shape"),
        (("words.txt", "--query", "asked.csv", "--out", "a.csv"), "leave out the suffix"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(arguments, said):
    Path("short.txt").write_text("101\n")
    Path("ragged.txt").write_text("1011\n101\n")
    Path("empty.txt").write_text("\n")
    Path("nine.txt").write_text("0 9\n")
    out, err = run(*arguments, code=2)
    assert out == "" and err.startswith("Error: ") and err.count("\n") == 1 and said in err


@pytest.mark.slow
def test_the_examples_of_the_help_work():
    out, _ = run("--help")
    lines = [x.strip() for x in out.split("Examples:")[1].split("\n\n")[0].splitlines()]
    for line in filter(None, lines):
        if not line.startswith("printf"):
            result = CliRunner().invoke(cli.app, line.split()[1:])
            assert result.exit_code == 0, (result.stdout, result.stderr)
            continue
        for text, name in re.findall(r"printf '(.*?)' > ([\w.]+)", line):
            Path(name).write_text(text.replace("\\n", "\n"))
