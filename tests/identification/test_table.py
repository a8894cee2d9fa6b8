"""Measured reads in files and datasets: units, names, what is missing, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

import xbarjax as xb

NAN = np.nan
V_ROW = np.array([[0.1, 0.0], [0.0, 0.2], [-0.1, 0.2]])
I_OUT = np.array([[1e-6, 2e-6, NAN], [4e-6, 5e-6, 6e-6], [7e-6, 8e-6, 9e-6]])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str, name: str = "m.csv") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def alike(a: xb.Measured, b: xb.Measured) -> None:
    """Equal to the last digit, missing readings included."""
    for name in ("v_row", "v_row_far", "v_col", "v_col_far", "v_gate"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            np.testing.assert_array_equal(x, y)
    assert set(a.sensed) == set(b.sensed) and a.open_ends == b.open_ends
    assert (a.sigma is None) == (b.sigma is None)
    for name, x in a.sensed.items():
        np.testing.assert_array_equal(x, b.sensed[name])
        if a.sigma is not None and b.sigma is not None:
            assert np.array_equal(
                np.broadcast_to(a.sigma[name], x.shape), np.broadcast_to(b.sigma[name], x.shape)
            )


CASES = {
    "plain": xb.Measured(V_ROW, {"i_out": I_OUT}),
    "one sigma": xb.Measured(V_ROW, {"i_out": I_OUT}, 1e-9),
    "sigma of lines": xb.Measured(V_ROW, {"i_out": I_OUT}, np.array([1e-9, 2e-9, 3e-9])),
    "sigma of reads": xb.Measured(V_ROW, {"i_out": I_OUT}, np.array([[1e-9], [2e-9], [3e-9]])),
    "everything": xb.Measured(
        V_ROW,
        {"i_out": I_OUT, "i_in_far": I_OUT[:, :2] / 3, "v_sense": I_OUT * 1e3, "output": I_OUT},
        {"i_out": 1e-9 + I_OUT[1] * 1e-3, "i_in_far": 2e-9, "v_sense": 1e-3, "output": 1e-9},
        v_row_far=V_ROW / 3,
        v_col=np.ones((3, 3)) / 7,
        v_col_far=np.ones((3, 3)) / 9,
        v_gate=np.arange(18.0).reshape(3, 2, 3),
        open_ends=("col_far", "row_far"),
    ),
    "one gate": xb.Measured(V_ROW, {"i_out": I_OUT}, v_gate=np.array([1.0, 2.0, 3.0])),
    "gates of rows": xb.Measured(V_ROW, {"i_out": I_OUT}, v_gate=V_ROW + 1),
    "single": xb.Measured(V_ROW.astype(np.float32), {"i_out": I_OUT.astype(np.float32)}),
}


@pytest.mark.parametrize("case", CASES)
def test_reads_go_there_and_back(case):
    measured = CASES[case]
    for name in ("m.csv", "m.npz"):
        assert xb.save_measured(measured, name) == Path(name)
        found = xb.load_measured(name)
        if case == "single":  # text does not say its precision, but all its digits
            found = xb.Measured(
                np.asarray(found.v_row, np.float32),
                {"i_out": np.asarray(found.sensed["i_out"], np.float32)},
            )
        alike(found, measured if case != "everything" else _ordered(measured))


def _ordered(measured: xb.Measured) -> xb.Measured:
    """With open ends in the order in which files have them."""
    parts = {k: getattr(measured, k) for k in ("v_row_far", "v_col", "v_col_far", "v_gate")}
    ends = ("row_far", "col_far")
    return xb.Measured(measured.v_row, measured.sensed, measured.sigma, **parts, open_ends=ends)


@pytest.mark.parametrize("case", CASES)
def test_datasets_go_there_and_back(case):
    pytest.importorskip("xarray", reason="datasets need the extra sweep")
    measured = CASES[case]
    dataset = xb.to_dataset(measured)
    assert dataset["v_row"].dims == ("read", "line") and dataset["v_row"].attrs["units"] == "V"
    assert dataset["i_out"].dims == ("read", "col") and dataset["i_out"].attrs["units"] == "A"
    turned = dataset.transpose(*reversed(list(dataset.dims)))
    for one in (dataset, turned):
        alike(xb.measured_from(one), measured if case != "everything" else _ordered(measured))


# what an instrument writes


def test_units_order_and_empty_fields():
    found = xb.load_measured(
        written(
            "# probe station\n"
            "i_out[1] [nA],v_row[1] [mV],v_row[0] [V],sigma i_out [pA],i_out[0] [µA],i_in[0] [mA],"
            "i_in[1] [uA],sigma i_in [nA]\n"
            "2000,200,0.1,500,1.5,,nan,1\n"
            ",-50,0,1e3,2.5,0.25,NaN,2\n",
        )
    )
    np.testing.assert_allclose(found.v_row, [[0.1, 0.2], [0, -0.05]], rtol=1e-15)
    np.testing.assert_allclose(found.sensed["i_out"], [[1.5e-6, 2e-6], [2.5e-6, NAN]], rtol=1e-15)
    np.testing.assert_allclose(found.sensed["i_in"], [[NAN, NAN], [2.5e-4, NAN]], rtol=1e-15)
    assert found.missing == 4 and found.sigma is not None
    np.testing.assert_allclose(found.sigma["i_out"], [[5e-10], [1e-9]], rtol=1e-15)
    np.testing.assert_allclose(found.sigma["i_in"], [[1e-9], [2e-9]], rtol=1e-15)


def test_sheets_with_semicolons_and_decimal_commas():
    found = xb.load_measured(
        written("v_row[0] [uV];i_out[0] [pA];sigma i_out[0] [μA]\n1,5;2,5;1\n3;;2,0\n")
    )
    np.testing.assert_allclose(found.v_row, [[1.5e-6], [3e-6]], rtol=1e-15)
    np.testing.assert_allclose(found.sensed["i_out"], [[2.5e-12], [NAN]], rtol=1e-15)
    assert found.sigma is not None
    np.testing.assert_allclose(found.sigma["i_out"], [[1e-6], [2e-6]], rtol=1e-15)


def test_tabs_open_ends_and_quotes():
    text = (
        '"v_row[0] [V]"\topen_ends\t"i_out[0] [A]"\n1\trow_far col_far\t\n2\tcol_far row_far\t3\n'
    )
    found = xb.load_measured(written(text, "m.tsv"))
    assert found.open_ends == ("row_far", "col_far")
    np.testing.assert_array_equal(found.sensed["i_out"], [[NAN], [3.0]])


def test_archives_take_whole_numbers():
    arrays = {"v_row": np.eye(2, dtype=int), "i_out": np.ones((2, 1)), "sigma i_out": np.array(1)}
    np.savez("m.npz", **arrays)  # pyright: ignore[reportArgumentType]
    found = xb.load_measured("m.npz")
    np.testing.assert_array_equal(found.v_row, np.eye(2))
    assert found.sigma is not None and found.sigma["i_out"].shape == ()


HEAD = "v_row[0] [V],v_row[1] [V],i_out[0] [A]"


@pytest.mark.parametrize(
    "text, said",
    [
        ("v_row[0],i_out[0] [A]\n1,2\n", "'v_row[0]' has no unit; write it as 'v_row[0] [V]'"),
        ("v_row[0] [V],i_out [A]\n1,2\n", "'i_out [A]' must name one line, such as 'i_out[0] [A]'"),
        (
            "v_row[0] [V],i_out[0] [V]\n1,2\n",
            "'i_out[0] [V]' has the unit 'V'; it must be one of A",
        ),
        ("v_row[0] [kV],i_out[0] [A]\n1,2\n", "'v_row[0] [kV]' has the unit 'kV'"),
        ("v_row[0] [mv],i_out[0] [A]\n1,2\n", "'v_row[0] [mv]' has the unit 'mv'"),
        ("v_row[0] [V],time [s],i_out[0] [A]\n1,2,3\n", "column 'time [s]' is none of v_row,"),
        ("v_row[0] [V],sigma v_row [V],i_out[0] [A]\n1,2,3\n", "'sigma v_row [V]' is none of"),
        ("v_row[0] [V],,i_out[0] [A]\n1,2,3\n", "column '' is none of"),
        ("v_row[0] [V],v_row[0] [mV],i_out[0] [A]\n1,2,3\n", "are the same; keep one"),
        (
            "v_row[0] [V],v_row[2] [V],i_out[0] [A]\n1,2,3\n",
            "has no column 'v_row[1]', but one of a",
        ),
        ("v_row[0] [V],i_out[9999999] [A]\n1,2\n", "no column 'i_out[0]'"),
        ("i_out[0] [A],i_out[1] [A]\n1,2\n", "has no v_row"),
        ("v_row[0] [V],v_row[1] [V]\n1,2\n", "sensed is empty"),
        (f"{HEAD}\n", "holds no rows below a header"),
        (f"{HEAD}\n1,2\n", "line 2 has 2 fields, but the header names 3 columns"),
        ("v_row[0] [V] i_out[0] [A]\n1 2\n", "columns are not separated"),
        (f"{HEAD}\n1,,3\n", "line 2, column 2, 'v_row[1] [V]' is empty; give the voltage"),
        (
            f"{HEAD}\n1,2,3\n1,2,OVL\n",
            "line 3, column 3, 'i_out[0] [A]': 'OVL' is not a number; leave",
        ),
        (f"{HEAD}\n1,2,3 uA\n", "'3 uA' is not a number: it has a unit"),
        (f"{HEAD}\n1,2,inf\n", "'inf' is no reading"),
        (f"{HEAD}\n1,2,+9.91E37\n", "'+9.91E37' is no reading; leave empty"),
        (
            f"{HEAD},sigma i_out [A]\n1,2,3,0\n",
            "'sigma i_out [A]' is '0'; give a standard deviation",
        ),
        (f"{HEAD},sigma i_out [A]\n1,2,3,\n", "'sigma i_out [A]' is empty; give a standard"),
        (f"{HEAD},sigma i_in [A]\n1,2,3,4\n", "sigma has 'i_in', which was not sensed"),
        (f"{HEAD},i_in[0] [A],sigma i_out [A]\n1,2,3,4,5\n", "sigma lacks 'i_in'; give its noise"),
        (f"{HEAD},sigma i_out [A],sigma i_out[0] [A]\n1,2,3,4,5\n", "name a line and none"),
        (f"{HEAD},open_ends\n1,2,3,left\n", "open_ends has 'left'; an end is one of row, row_far"),
        (f"{HEAD},open_ends\n1,2,3,row\n1,2,3,\n", "open_ends differs between lines"),
        (f"{HEAD},open_ends [V]\n1,2,3,row\n", "it must be open_ends alone"),
    ],
)
def test_bad_tables_are_refused_with_the_column(text, said):
    with pytest.raises(ValueError) as caught:
        xb.load_measured(written(text))
    told = str(caught.value)
    assert said in told and told.startswith("m.csv") and "\n" not in told


def test_bad_archives_and_files_are_refused():
    np.savez("a.npz", v_row=V_ROW, current=I_OUT)
    np.savez("b.npz", v_row=V_ROW, i_out=I_OUT, open_ends=[2, 0, 0, 0])
    np.savez("c.npz", v_row=V_ROW, i_out=np.full((3, 1), np.inf))
    np.savez("d.npz", v_row=V_ROW, i_out=I_OUT[:2])
    for name, said in {
        "a.npz": "array 'current' is none of",
        "b.npz": "open_ends must be 0 or 1 for each of row, row_far, col, col_far",
        "c.npz": "i_out[0, 0] is infinite; give NaN",
        "d.npz": "v_row has 3 reads",
        written("no archive", "e.npz"): "is damaged or no numpy archive",
        written("x", "m.xlsx"): "is no .csv, .tsv, .txt or .npz file",
    }.items():
        with pytest.raises(ValueError) as caught:
            xb.load_measured(name)
        assert name in str(caught.value) and said in str(caught.value)
    with pytest.raises(FileNotFoundError, match="none.csv does not exist"):
        xb.load_measured("none.csv")
    with pytest.raises(ValueError, match="is a folder"):
        xb.load_measured(".")


def test_what_cannot_be_written_leaves_the_older_file():
    with pytest.raises(TypeError, match="Measured"):
        xb.save_measured(I_OUT, "m.csv")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="must end in .csv or .npz"):
        xb.save_measured(CASES["plain"], "m.txt")
    with pytest.raises(FileNotFoundError):
        xb.save_measured(CASES["plain"], "none/m.csv")
    assert not list(Path().iterdir())


def test_bad_datasets_are_refused_with_the_variable():
    xarray = pytest.importorskip("xarray", reason="datasets need the extra sweep")
    good = xb.to_dataset(CASES["one sigma"])
    bare = good.copy(deep=True)
    del bare["i_out"].attrs["units"]
    milli = good.copy(deep=True)
    milli["v_row"].attrs["units"] = "mV"
    np.testing.assert_allclose(xb.measured_from(milli).v_row, 1e-3 * V_ROW)
    text = xarray.DataArray(np.full((3, 2), "a"), dims=("read", "line"), attrs={"units": "V"})
    for dataset, said in {
        "bare": (bare, "variable 'i_out' has no units; set its attribute 'units' to A"),
        "name": (good.rename(i_out="current"), "variable 'current' is none of"),
        "dims": (good.rename(line="row"), "variable 'v_row' has the dimensions ('read', 'row')"),
        "text": (good.assign(v_row=text), "it must hold real numbers"),
        "ends": (good.assign_attrs(open_ends="left"), "open_ends has 'left'"),
        "none": (good.drop_vars("v_row"), "has no v_row"),
    }.values():
        with pytest.raises(ValueError) as caught:
            xb.measured_from(dataset)
        assert said in str(caught.value) and str(caught.value).startswith("dataset")
