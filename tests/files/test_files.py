"""Guards files of numbers: every row of a file is a row of the array or is said to be none, what
has one reading is taken, and what has two is refused with the place and what to do."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from xbarjax import _files as files

G = np.array([[1e-5, 2e-5, 3e-5], [4e-5, 5e-5, 6e-5]])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(content: str | bytes, name: str = "g.csv") -> files.Loaded:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return files.load_said(name)


def refusal(content: str | bytes, name: str = "g.csv") -> str:
    with pytest.raises(ValueError) as caught:
        loaded(content, name)
    said = str(caught.value)
    assert said.startswith(name) and said.endswith(".") and "\n" not in said
    return said


# what has one reading


@pytest.mark.parametrize(
    "content",
    [
        "1e-5,2e-5,3e-5\n4e-5,5e-5,6e-5",
        "1e-5,2e-5,3e-5\r\n4e-5,5e-5,6e-5\r\n\r\n\r\n",
        "1e-5,2e-5,3e-5\r4e-5,5e-5,6e-5\r",
        "\ufeff1e-5,2e-5,3e-5\n4e-5,5e-5,6e-5\n",
        "\ufeff1e-5\t2e-5\t3e-5\r\n4e-5\t5e-5\t6e-5\r\n".encode("utf-16-le"),
        "\ufeff1e-5\t2e-5\t3e-5\r\n4e-5\t5e-5\t6e-5\r\n".encode("utf-16-be"),
        "1e-5;2e-5;3e-5\n4e-5;5e-5;6e-5\n",
        "1,0e-5;2,0e-5;3,0e-5\n4,0e-5;5,0e-5;6,0e-5\n",
        "0,00001;0,00002;0,00003\n0,00004;0,00005;0,00006\n",
        "1,0e-5 2,0e-5 3,0e-5\n4,0e-5 5,0e-5 6,0e-5\n",
        '"1,0e-5","2,0e-5","3,0e-5"\n"4,0e-5","5,0e-5","6,0e-5"\n',
        "1e-5\t2e-5\t3e-5\n4e-5\t5e-5\t6e-5\n",
        "  1e-5  2e-5 3e-5\n4e-5   5e-5 6e-5  \n",
        "1e-5, 2e-5, 3e-5\n4e-5 ,5e-5 ,6e-5\n",
        '"1e-5","2e-5","3e-5"\n"4e-5", "5e-5", "6e-5"\n',
        "1.0D-5,2.0d-05,3.D-5\n4.D-5,.5D-4,+6d-5\n",
        "# by hand\n1e-5,2e-5,3e-5\n  # half way\n\n4e-5,5e-5,6e-5\n#1,2,3\n",
    ],
)
def test_what_people_and_programs_write_is_taken(content):
    found = loaded(content)
    np.testing.assert_allclose(found.array, G, rtol=1e-15)
    assert found.skipped == ()


@pytest.mark.parametrize(
    "content, skipped",
    [
        ("a,b,c\n{0}\n{1}\n", ["line 1, a header: 'a', 'b', 'c'"]),
        ("# v\n\nBL 1,BL 2,G (µS)\n{0}\n{1}\n", ["line 3, a header: 'BL 1', 'BL 2', 'G (µS)'"]),
        ('"a, b",b,c\n{0}\n{1}\n', ["line 1, a header: 'a, b', 'b', 'c'"]),
        ("WL0,{0}\nWL1,{1}\n", ["column 1, an index: 'WL0' to 'WL1'"]),
        (
            ",a,b,c\n0,{0}\n1,{1}\n",
            ["line 1, a header: '', 'a', 'b', 'c'", "column 1, an index: '0' to '1'"],
        ),
        (
            "index,a,b,c\n0,{0}\n1,{1}\n",
            ["line 1, a header: 'index', 'a', 'b', 'c'", "column 1, an index: '0' to '1'"],
        ),
        (
            "Unnamed: 0,a,b,c\n0,{0}\n1,{1}\n",
            ["line 1, a header: 'Unnamed: 0', 'a', 'b', 'c'", "column 1, an index: '0' to '1'"],
        ),
        (
            ",0,1,2\n0,{0}\n1,{1}\n",
            ["line 1, a header: '', '0', '1', '2'", "column 1, an index: '0' to '1'"],
        ),
        (
            "WL,0,1,2\n0,{0}\n1,{1}\n",
            ["line 1, a header: 'WL', '0', '1', '2'", "column 1, an index: '0' to '1'"],
        ),
        (
            '"V1","V2","V3"\n"1",{0}\n"2",{1}\n',
            ["line 1, a header: 'V1', 'V2', 'V3'", "column 1, an index: '1' to '2'"],
        ),
        ("{0},\n{1},\n", ["1 empty column at the end"]),
        ("{0},,\n{1},,\n", ["2 empty columns at the end"]),
        (
            "a,b,c\n{0},\n{1},\n",
            ["line 1, a header: 'a', 'b', 'c'", "1 empty column at the end"],
        ),
    ],
)
def test_what_is_skipped_is_said(content, skipped):
    found = loaded(content.format("1e-5,2e-5,3e-5", "4e-5,5e-5,6e-5"))
    np.testing.assert_array_equal(found.array, G)
    assert list(found.skipped) == skipped


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("names", [None, "abc"])
@pytest.mark.parametrize("index", [True, "index", False])
def test_tables_of_pandas_are_the_array(separator, names, index):
    pandas = pytest.importorskip("pandas", reason="comes with the extra sweep")
    frame = pandas.DataFrame(G, columns=None if names is None else list(names))
    label = index if isinstance(index, str) else None
    frame.to_csv("g.csv", sep=separator, index=bool(index), index_label=label)
    if names is None and not index:  # 0, 1, 2 could be conductances
        with pytest.raises(ValueError, match="line 1 counts 0, 1, "):
            files.load("g.csv")
        return
    found = files.load_said("g.csv")
    np.testing.assert_array_equal(found.array, G)
    assert len(found.skipped) == 1 + bool(index)


def test_names_of_several_words_head_one_column():
    assert loaded("v in (V)\n0.1\n0.2\n").array.tolist() == [[0.1], [0.2]]


def test_kinds_of_text_differ_in_what_a_comma_can_be():
    assert loaded("0,5\n0,7\n", "v.tsv").array.tolist() == [[0.5], [0.7]]
    assert loaded("1,2\n3,4\n", "v.csv").array.tolist() == [[1, 2], [3, 4]]
    assert "'1,2' is one number or several" in refusal("1,2\n3,4\n", "v.txt")
    assert loaded("1.5,2.5\n3,4\n", "v.txt").array.tolist() == [[1.5, 2.5], [3, 4]]


def test_whole_numbers_stay_a_table():
    for text in ("0,1,2\n3,4,5", "100,200\n300,400", "1,0\n0,1", "0\n0.1\n0.2", "1,-1\n2,1"):
        rows = [[float(field) for field in line.split(",")] for line in text.split("\n")]
        assert loaded(text) == (pytest.approx(np.array(rows)), ())


def test_a_typeset_minus_is_a_minus():
    assert loaded("\N{MINUS SIGN}1,2e\N{MINUS SIGN}5\n").array.tolist() == [[-1, 2e-5]]


# what stands for a missing number, or has two readings


@pytest.mark.parametrize(
    "word",
    ["NA", "N/A", "n.a.", "<NA>", "", "-", "--", "—", "OVL", "O.L", "+OL", "Overflow", "null", "?"]
    + ["None", "failed", "***", "...", "OVL1", "#N/A", "TRUE", "out of range", "1.#QNAN"],
)
@pytest.mark.parametrize("where", [0, 1])
def test_missing_numbers_are_refused_in_any_row(word, where):
    lines = ["1e-5,2e-5,3e-5"] * 3
    lines[2 * where] = ",".join(["x" if word == "#N/A" else word, word, word])
    said = refusal("\n".join(lines))
    assert f"line {2 * where + 1}, column " in said and "is not a number" in said


@pytest.mark.parametrize(
    "content, said",
    [
        ("5u,7u\n1,2\n", "line 1, column 1: '5u' is not a number: it has a unit"),
        ("5 µS,7 µS\n1,2\n", "line 1, column 1: '5 µS' is not a number: it has a unit"),
        ("5%,6%\n1,2\n", "'5%' is not a number: it has a unit"),
        ("<1e-9,<1e-9\n1,2\n", "'<1e-9' is not a number: it has a unit"),
        ("x,x\n1,2\n", "line 1 repeats 'x'"),
        ("Title,,\n1,2,3\n", "line 1, column 2: ''"),
        ("Title\n1,2\n3,4\n", "line 1 has 1 name, but line 2 has 2 numbers"),
        ("title of it\n1 2\n", "line 1 has 3 names, but line 2 has 2 numbers"),
        ("a,b,c\n1,2\n", "line 1 has 3 names, but line 2 has 2 numbers"),
        ("a,b\nS,S\n1,2\n", "line 2, column 1: 'S' is not a number"),
        ("1,2\na,b\n", "line 2, column 1: 'a' is not a number"),
        ("1,,2\n3,4,5\n", "line 1, column 2: ''"),
        ("1,2\n3,\n", "line 2, column 2: ''"),
        ("1,2\n,\n", "line 2, column 1: ''"),
        ("1\t2\n\t\n3\t4\n", "line 2, column 1: ''"),
        ("1\t\t2\n", "line 1, column 2: ''"),
        ("WL0,1e-5,2e-5\n0,1,2\n", "line 1, column 1: 'WL0' is not a number"),
        ("OVL,1,2\nOVL,1,2\n", "line 1, column 1: 'OVL'"),
        ("x,1,2\nx,3,4\n", "line 1, column 1: 'x'"),
        ("#N/A,1\n2,3\n", "line 1 begins with a spreadsheet error"),
        ("1,2\n#DIV/0!,3\n", "line 2 begins with a spreadsheet error"),
        ("1e-5\n\n2e-5\n", "line 2 is empty, between lines of one number each"),
        ("v\n1e-5\n  \n2e-5\n", "line 3 is empty, between lines of one number each"),
        ("1,000,2\n", "line 1: '1,000' is one number or several"),
        ("1,234,2\n", "line 1: '1,234' is one number or several"),
        ("1,234\n5,678\n", "line 1: '1,234' is one number or several"),
        ("2,5,1\n7,050,1\n", "line 2: '7,050' is one number or several"),
        ("1 000 2\n", "line 1: '1 000' is one number or several"),
        ("1,234;2,345\n", "line 1: '1,234' is one number or several"),
        ('"1,500","2,500"\n', "line 1: '1,500' is one number or several"),
        ("1,234.5;2\n", "line 1, column 1: '1,234.5' is not a number with one decimal mark"),
        ("1.234,5;2\n", "'1.234,5' is not a number with one decimal mark"),
        ("1 000;2 000\n", "'1 000' is not a number; leave out separators of thousands"),
        ("0,5\n0,25\n", "line 1: '0,5' is one number or several"),
        ("0,5,0,75\n", "line 1: '0,5' is one number or several"),
        ("1,2E-05\n3,4E-05\n", "line 1: '1,2E-05' is one number or several"),
        ("0,5;1\n0.7;1\n", "line 2, column 1: '0.7' has a decimal point, but line 1"),
        ("WL;0,5;1\nWB;0,5;0.7\n", "line 2, column 3: '0.7' has a decimal point"),
        ("1e-5;2e-5\n1e-5,2e-5\n", "line 2 has 1 number, but line 1 has 2; every line"),
        ("1;2\n3,4\n", "line 2 has 1 number, but line 1 has 2"),
        ("a;b\n1,2\n3,4\n", "line 1 has 2 names, but line 2 has 1 number;"),
        ("1,2,3\n4,5\n", "line 2 has 2 numbers, but line 1 has 3"),
        ("0,1,2\n1e-5,2e-5,3e-5\n", "line 1 counts 0, 1, ...: these may be names of columns or"),
        ("0,1,2,3\n10,20,30,40\n", "line 1 counts 0, 1, ...: these may be names of columns"),
        ("0,1e-5\n1,2e-5\n", "column 1 counts 0, 1, ...: these may be names of rows"),
        ("die,a\n0,1e-5\n1,2e-5\n", "column 1, 'die', counts the rows"),
        (",a,b\n3,1e-5,2e-5\n7,2e-5,3e-5\n", "line 1: column 1 has no name"),
        (",1,2\n3,4,5\n", "line 1, column 1: ''"),
        ('1,"2\n3",4\n', "line 1 has quotes that do not close"),
        ('1,"2"3\n', "line 1 has quotes that do not close"),
        ("1,2\x0c3,4\n", "line 1 holds the control character '\\x0c'"),
        ("1,2\x00\n", "line 1 holds the control character '\\x00'"),
        ("1,2\u20283,4\n", "line 1 holds the control character"),
        ("1e999,2\n", "'1e999' is not a number that float64 can hold"),
        ("0.1,0.2 # c\n", "line 1, column 2: '0.2 # c' is not a number"),
        ("\N{FULLWIDTH DIGIT FIVE},1\n", "line 1, column 1"),
        ("0x1F,1\n", "'0x1F' is not a number"),
        ("1,2\n3,\ufeff4\n", "line 2, column 2"),
        (b"1,2\n\xb5S,3\n", "line 2 is not text in UTF-8"),
        ("1,2\n".encode("utf-16-le"), "control character '\\x00'"),
        (b"PK\x03\x04 ...", "is a workbook or a zip, not text"),
        ("a,b\n", "holds no numbers below its header"),
    ],
)
def test_what_is_missing_or_could_be_read_in_two_ways_is_refused(content, said):
    assert said in refusal(content)


# numpy's files


def header(shape: str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "shape",
    ["(3000000000000,)", "(4, 9000000000000000000)", "(-1, 2)", "(-2, -3)", "(2, 4)", "(7,)"]
    + ["(2, 3", "[2, 3]", "(2.0, 3)", "(" * 900, "('2', 3)"],
)
def test_a_header_that_its_file_does_not_fill_takes_no_memory(shape):
    Path("g.npy").write_bytes(header(shape) + G.tobytes())
    with pytest.raises(ValueError, match="damaged or cut short"):
        files.load("g.npy")


def test_a_file_of_two_arrays_is_not_one():
    stream = io.BytesIO()
    np.save(stream, G)
    np.save(stream, 2 * G)
    Path("g.npy").write_bytes(stream.getvalue())
    with pytest.raises(ValueError, match="goes on after its array of shape"):
        files.load("g.npy")


def test_the_order_and_the_bytes_of_an_array_do_not_change_it():
    for array in (np.asfortranarray(G), G.astype(">f8"), G.T, np.asfortranarray(G)[::-1]):
        np.save("g.npy", array)
        np.savez_compressed("g.npz", array)
        np.testing.assert_array_equal(files.load("g.npy"), array)
        np.testing.assert_array_equal(files.load("g.npz"), array)


def test_numbers_beyond_float64_do_not_become_infinite():
    np.save("g.npy", np.array([np.longdouble("1e400")]))
    with pytest.raises(ValueError, match="beyond the range of float64"):
        files.load("g.npy")


def packed(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def test_a_small_archive_of_a_huge_array_is_refused():
    body = header("(1000000, 1000000)") + bytes(10**5)
    raw = bytearray(packed("g.npy", body))
    claimed = struct.pack("<I", 2**32 - 2)  # as the directory of the archive has it
    at = raw.index(struct.pack("<I", len(body)), raw.index(b"PK\x01\x02"))
    raw[at : at + 4] = claimed
    Path("g.npz").write_bytes(bytes(raw))
    with pytest.raises(ValueError, match="would unpack to 4294967294 bytes"):
        files.load("g.npz")


def test_archives_in_archives_and_names_that_are_there_twice_are_refused():
    stream = io.BytesIO()
    np.savez(stream, g=G)
    Path("g.npz").write_bytes(packed("inner.npz", stream.getvalue()))
    with pytest.raises(ValueError, match=r"inner.npz in g.npz is not a numpy file"):
        files.load("g.npz")
    array = header("(2, 3)") + G.tobytes()
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile("g.npz", "w") as archive:
        archive.writestr("g.npy", array)
        archive.writestr("g.npy", array)
    with pytest.raises(ValueError, match="holds 'g' twice"):
        files.load("g.npz:g")
