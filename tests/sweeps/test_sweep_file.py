"""Guards sweeps on the command line: a file gives the dies that it says, is refused in one sentence
where it does not, and results are drawn."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import xbarjax as xb
from xbarjax import variability as va
from xbarjax.cli import app
from xbarjax.sweeps.file import PERTURBATIONS, load, load_said

FILE = """
about = "a small array"
dies = 20
seed = 5
batch = 8
metrics = ["error", "p"]

[array]
rows = 5
cols = 4
g_min = 1e-6
g_max = 1e-4
pattern = 2
v_in = 0.3

[wires]
r_row = "r"
r_col = 2.0

[[vary]]
kind = "Lognormal"
sigma = "sigma"

[[vary]]
kind = "Spread"
at = "r_row"
relative = 0.1

[axes]
r = [1.0, 10.0]
sigma = [0.0, 0.1, 0.2]

[limits]
error = [0, 0.1]
"""


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("file")
    (folder / "dies.toml").write_text(FILE)
    answer = run("sweep", folder / "dies.toml", "--out", folder / "store", "--devices", 1)
    assert answer.exit_code == 0, answer.output
    return folder, answer.output


def test_the_dies_are_those_that_the_file_says(swept):
    folder, said = swept
    plan, found = load(folder / "dies.toml"), xb.results(folder / "store")
    assert found["error"].dims == ("r", "sigma", "die") and found["error"].shape == (2, 3, 20)
    assert found["p"].attrs["units"] == "W" and found.attrs["about"] == "a small array"
    g = jnp.asarray(np.random.default_rng(2).uniform(1e-6, 1e-4, (5, 4)))
    v = jnp.full(5, 0.3)
    fabrication = va.Chain(
        va.At(lambda c: c.cell.g, va.Lognormal(0.1), (5, 4)),
        va.At(lambda c: c.wires.r_row, va.Spread(relative=0.1), (5, 4)),
    )
    die = fabrication(xb.Crossbar(xb.Ohmic(g), xb.Wires(10.0, 2.0)), plan.key(7))
    i = xb.read(die, v).i_out
    worst = jnp.max(abs(i - v @ g)) / jnp.max(v @ g)
    np.testing.assert_allclose(found["error"].sel(r=10.0, sigma=0.1)[7], worst, rtol=1e-9)
    assert "120 dies" in said and "95 % confidence" in said


def test_the_same_command_goes_on_and_ends_at_once(swept):
    folder, _ = swept
    again = run("sweep", folder / "dies.toml", "--out", folder / "store", "--devices", 1)
    assert again.exit_code == 0, again.output


def test_results_are_drawn(swept):
    folder, _ = swept
    answer = run("plot", folder / "store", "--plot", folder / "yield.png")
    assert answer.exit_code == 0 and (folder / "yield.png").stat().st_size > 10_000
    from xbarjax import plot

    found = xb.results(folder / "store")
    panels = plot.distributions(found).axes
    assert [panel.get_xlabel() for panel in panels] == ["error [1]", "p [W]"]
    assert len(panels[0].lines) == 6 + 2  # settings and limits
    curve = plot.yield_curves(found).axes[0]
    assert curve.get_xlabel() == "sigma" and curve.get_ylabel() == "yield [%]"


def test_presets_are_listed_with_their_sources():
    said = run("presets").output
    assert "copper_wires(node" in said and "10.1038/s41586-022-04992-8" in said


def test_every_perturbation_has_its_name_in_files():
    assert {"Lognormal", "Correlated", "Stuck", "Drift", "RandomTelegraphNoise"} <= set(
        PERTURBATIONS
    )
    assert not {"At", "Chain"} & set(PERTURBATIONS)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("seed = 5", "sede = 5", "did you mean 'seed'"),
        ('r_row = "r"', "r_raw = 1.0", "did you mean 'r_row'"),
        ('r_row = "r"', 'r_row = "rr"', "r_row is 'rr', which is no axis"),
        ("sigma = [0.0, 0.1, 0.2]", "sigma = []", "axes['sigma']"),
        ('kind = "Lognormal"', 'kind = "Lognormall"', "kind in [[vary]] is 'Lognormall'"),
        ('sigma = "sigma"', "sigam = 0.1", "did you mean 'sigma'"),
        ('sigma = "sigma"', "", "Lognormal lacks an argument"),
        ('sigma = "sigma"', "sigma = -0.1", "sigma is -0.1"),
        ('at = "r_row"', 'at = "row"', "at in [[vary]] is 'row'"),
        ("dies = 20", "", "has no dies"),
        ("dies = 20", "dies = 0", "dies is 0"),
        ("rows = 5", "", "[array] has no rows"),
        ("rows = 5", "rows = 5.5", "rows is 5.5"),
        ("g_min = 1e-6", 'g_min = "low"', "g_min is 'low'"),
        ('["error", "p"]', '"error"', "metrics is 'error'"),
        ("error = [0, 0.1]", "error = 0.1", "limits.error is 0.1"),
        ("error = [0, 0.1]", "eror = [0, 0.1]", "limits has 'eror'"),
        ('"p"', '"q"', "metrics has 'q'"),
        ('"p"', '"nowhere:q"', "cannot be imported"),
        ("[axes]", "[axes", "not valid TOML"),
        ("[axes]", "x = " + "[" * 9000 + "\n[axes]", "nested too deep"),
        ("dies = 20", "dies = " + "9" * 5000, "not valid TOML"),
        ("dies = 20", "dies = 99999999999", "dies is 99999999999"),
        ("seed = 5", 'seed = "5"', "seed is '5'"),
        ("rows = 5", "rows = 20000000", "array has 67108864 cells at most"),
        ("rows = 5", "rows = " + "9" * 400, "it must be a whole number from 1 to 67108864"),
        ("g_max = 1e-4", "g_max = 1e-7", "g_min is 1e-06 S and g_max 1e-07 S"),
        ("g_max = 1e-4", "g_max = inf", "g_max inf S; they must be finite"),
        ("v_in = 0.3", "v_in = inf", "v_in is inf"),
        ("v_in = 0.3", 'v_in = "r"', "v_in is 'r'"),
        ("pattern = 2", "pattern = -2", "pattern is -2"),
        ("rows = 5", "g = 5", "g in [array] is 5"),
        ("rows = 5", 'g = "no.csv"', "no.csv does not exist"),
        ("rows = 5", 'unit = "volt"', "unit in [array] is 'volt'"),
        ("rows = 5", "unit = 5", "unit is 5"),
        ('"a small array"', "5", "about is 5"),
        ('kind = "Lognormal"', 'kind = ["Lognormal"]', "kind in [[vary]] is ['Lognormal']"),
        ('at = "r_row"', 'at = ["r_row"]', "at in [[vary]] is ['r_row']"),
        ("relative = 0.1", 'relative = ["a"]', "relative is ['a']"),
        ("relative = 0.1", "relative = {}", "relative is {}"),
        ('["error", "p"]', "[]", "metrics is []"),
        ('"p"', '":q"', "metrics has ':q'"),
        ('"p"', '"..x:q"', "metrics has '..x:q'"),
        ('"p"', '"math:pi"', "which is no function"),
    ],
)
def test_files_that_cannot_be_are_refused_in_one_sentence(tmp_path, old, new, said):
    assert old in FILE
    (tmp_path / "dies.toml").write_text(FILE.replace(old, new))
    answer = run("sweep", tmp_path / "dies.toml", "--out", tmp_path / "store", "--devices", 1)
    assert answer.exit_code == 2 and said in answer.output
    assert answer.output.startswith("Error: ") and answer.output.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("unit, factor", [(None, 1.0), ("uS", 1e6), ("kohm", None)])
def test_conductances_of_a_file_are_in_the_unit_that_is_named(tmp_path, unit, factor):
    g = np.random.default_rng(0).uniform(1e-6, 1e-4, (5, 4))
    head = ",".join("abcd")
    text = 1e-3 / g if factor is None else g * factor
    np.savetxt(tmp_path / "g.csv", text, delimiter=",", header=head, comments="", fmt="%.17g")
    named = 'g = "g.csv"' + (f'\nunit = "{unit}"' if unit else "")
    rest = FILE.replace("rows = 5\ncols = 4\ng_min = 1e-6\ng_max = 1e-4\npattern = 2", named)
    (tmp_path / "dies.toml").write_text(rest)
    described = load_said(tmp_path / "dies.toml")
    die: Any = described.plan.die
    np.testing.assert_allclose(die.build({"r": jnp.asarray(1.0)}).cell.g, g, rtol=1e-15)
    assert described.skipped == ("g.csv, line 1, a header: 'a', 'b', 'c', 'd'",)
    assert described.doubts == ()


def test_conductances_that_no_cell_has_are_a_warning(tmp_path):
    (tmp_path / "dies.toml").write_text(FILE.replace("g_max = 1e-4", "g_max = 1e2"))
    with pytest.warns(xb.UnitWarning, match='unit = "uS" would make that'):
        load(tmp_path / "dies.toml")
    (tmp_path / "dies.toml").write_text(
        FILE.replace("g_max = 1e-4", "g_max = 1e2").replace("1e-6", '1\nunit = "uS"')
    )
    assert load_said(tmp_path / "dies.toml").doubts == ()


def test_files_that_are_not_there_are_named(tmp_path):
    answer = run("sweep", tmp_path / "no.toml", "--out", tmp_path / "store", "--devices", 1)
    assert answer.exit_code == 2 and "no.toml does not exist" in answer.output
    answer = run("plot", tmp_path / "store", "--plot", tmp_path / "a.png")
    assert answer.exit_code == 2 and "no store of a sweep" in answer.output
