"""Guards the loaders against 10,000 mutated files: each is refused in one sentence, or has the
shape that a count of its bytes gives, which knows nothing of the loader."""

import io
import re
import struct
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from xbarjax import _files as files
from xbarjax.sweeps.file import load as load_sweep

pytestmark = pytest.mark.slow

TEXTS, NPYS, NPZS, TOMLS = 6000, 1700, 1500, 800
WORDS = ["NA", "", "-", "OVL", "n/a", "5u", "7 uS", "--", "#N/A", "1_0", "0x1F", "1.2.3", "x"]
PIECES = [b",", b";", b"\t", b" ", b'"', b"\n", b"\r", b"#", b"e", b".", b"-", b"0", b"9", b"NA"]
PIECES += [b"\x00", b"\xff", b"\xef\xbb\xbf", b"inf", b"nan", b"\xe2\x88\x92", b"\xc2\xa0", b"\x0c"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outcome(load: Callable[[str], Any], name: str, seed: object) -> Any:
    """What a loader makes of a file: its result, or None where it was refused in one sentence."""
    try:
        return load(name)
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
        assert said.rstrip().endswith((".", "?")) and len(said) > 20, (seed, said)
        assert not isinstance(error, UnicodeError), (seed, said)
        assert len(said.splitlines()) == 1, (seed, said)
        assert name == "dies.toml" or name.split(":")[0] in said, (seed, said)
        return None
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error


def flipped(rng: np.random.Generator, raw: bytes) -> bytes:
    """A few bytes changed, cut out, put in or repeated anywhere."""
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, len(raw) + 1))
        until = min(len(raw), at + int(rng.integers(0, 6)))
        new = [
            bytes(rng.integers(0, 256, 1, np.uint8)),
            PIECES[rng.integers(len(PIECES))],
            raw[at:until] * 2,
            b"",
        ][rng.integers(4)]
        raw = raw[:at] + new + raw[until if rng.integers(2) else at :]
    return raw


# text


def written(rng: np.random.Generator) -> tuple[np.ndarray, list[list[str]], str, str, str]:
    """An array, its lines of fields, the separator, the end of lines and the kind of file."""
    rows, cols = rng.integers(1, 7, 2)
    values = rng.uniform(1e-6, 1e-4, (rows, cols)) * 10.0 ** rng.integers(-3, 4)
    form = ["{:.6e}", "{!r}", "{:.5f}", "{:.4E}"][rng.integers(4)]
    separator = ",;\t "[rng.integers(4)]
    table = [[form.format(float(x)) for x in row] for row in values]
    values = np.array([[float(field) for field in row] for row in table])
    if rng.integers(4) == 0:
        table = [[field.replace("e", "D") for field in row] for row in table]
    # one column of them alone could as well be two
    if separator in ";\t" and cols > 1 and rng.integers(2):
        table = [[field.replace(".", ",") for field in row] for row in table]
    if separator == "," and rng.integers(4) == 0:
        table = [[f'"{field}"' for field in row] for row in table]
    end = ["\n", "\r\n", "\r"][rng.integers(3)]
    suffix = {",": ".csv", ";": ".csv", "\t": [".tsv", ".csv"][rng.integers(2)], " ": ".txt"}
    return values, table, separator, end, suffix[separator]


def named(rng: np.random.Generator, table: list[list[str]]) -> list[list[str]]:
    """The lines with a header, an index or both."""
    kind = rng.integers(4)
    if kind in (1, 2):
        start = int(rng.integers(2))
        label = ["WL{}", "{}"][rng.integers(2)] if kind == 2 else "WL{}"
        table = [[label.format(k + start), *row] for k, row in enumerate(table)]
    if kind in (2, 3):
        names = [f"BL{k}" for k in range(len(table[0]) - (kind == 2))]
        table = [(["index"] if kind == 2 else []) + names, *table]
    return table


def stored(table: list[list[str]], separator: str, end: str, rng: np.random.Generator) -> bytes:
    text = end.join(separator.join(row) for row in table) + end * int(rng.integers(0, 4))
    return text.encode(["utf-8", "utf-8-sig", "utf-16"][rng.integers(3)])


def keep(rng: np.random.Generator, lines: list[list[str]], separator: str) -> list[list[str]]:
    """Changes that say nothing of the numbers: comments, empty lines at the end, blanks around
    fields."""
    kind = rng.integers(3)
    if kind == 0:
        at = rng.integers(0, len(lines) + 1)
        return [*lines[:at], ["# 1" + separator + "2 and words"], *lines[at:]]
    if kind == 1:
        return [*lines, [""], [""]]
    pad = lambda field: field if '"' in field else f" {field} "
    return [[pad(field) for field in row] for row in lines]


def spoil(
    rng: np.random.Generator, lines: list[list[str]], separator: str
) -> list[list[str]] | None:
    """Changes that leave no array: a missing or unreadable field, a row of such, a field too few or
    too many; None where the lines cannot be changed so."""
    lines = [list(row) for row in lines]
    at, k = rng.integers(len(lines)), rng.integers(len(lines[0]))
    kind = rng.integers(4)
    if kind == 0:
        lines[at][k] = ["NA", "OVL", "5u", "1.2.3", "0x1F", "<3"][rng.integers(6)]
    elif kind == 1:
        word = WORDS[rng.integers(len(WORDS))]
        if word == "" and (separator == " " or len(lines[0]) == 1):
            return None  # an empty line above a table is no row
        if word == "x" and len(lines[0]) == 1:
            return None  # a name
        lines[0] = [word] * len(lines[0])
    elif kind == 2 and len(lines) > 1 and len(lines[0]) > 2:
        at = at or 1
        del lines[at][int(rng.integers(1, len(lines[at])))]
    elif kind == 3 and len(lines) > 1:
        lines[at or 1].insert(len(lines[0]), "1.5e-05")
    else:
        return None
    return lines


def test_texts_are_the_array_or_refused():
    taken = refused = 0
    for seed in range(TEXTS):
        rng = np.random.default_rng([0, seed])
        values, table, separator, end, suffix = written(rng)
        name, how = "g" + suffix, seed % 3
        if how == 2:  # anything at all
            raw = flipped(rng, stored(named(rng, table), separator, end, rng))
        else:
            lines = (
                keep(rng, named(rng, table), separator)
                if how == 0
                else spoil(rng, table, separator)
            )
            if lines is None:
                lines, how = keep(rng, table, separator), 0
            raw = stored(lines, separator, end, rng)
        Path(name).write_bytes(raw)
        found = outcome(files.load_said, name, (seed, raw))
        taken, refused = taken + (found is not None), refused + (found is None)
        if how == 0:
            assert found is not None, (seed, raw)
            np.testing.assert_array_equal(found.array, values, err_msg=str((seed, raw)))
        elif how == 1:
            assert found is None, (seed, raw, found)
        elif found is not None:
            assert found.array.shape in counted(raw, found.skipped), (seed, raw, found)
    assert taken > TEXTS // 3 and refused > TEXTS // 3


def counted(raw: bytes, skipped: tuple[str, ...]) -> set[tuple[int, int]]:
    """The shapes that counts of lines and separators allow, less what was said to be skipped."""
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    lines = [line for line in re.split("\r\n|\r|\n", text) if line.strip()]
    lines = [re.sub('"[^"]*"', "Q", line) for line in lines if not line.strip().startswith("#")]
    heads = any("a header" in part for part in skipped)
    index = any("an index" in part for part in skipped)
    empty = sum(int(part.split()[0]) for part in skipped if "empty column" in part)
    rows, shapes = len(lines) - heads, set()
    body = lines[1:] if heads else lines
    for separator in (",", ";", "\t", None):
        widths = {len(line.split(separator)) for line in body}
        if len(widths) == 1:
            shapes.add((rows, widths.pop() - index - empty))
    return shapes


# numpy's files


def array_of(rng: np.random.Generator) -> np.ndarray:
    shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 4)))
    kind = ["<f8", ">f8", "<f4", "<f2", "<i4", "|u1", ">i8"][rng.integers(7)]
    array = rng.uniform(0, 100, shape).astype(kind)
    return np.asfortranarray(array) if rng.integers(2) else array


def as_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def with_header(array: np.ndarray, **changed: str) -> bytes:
    """The bytes of an array behind a header that says something else of it."""
    said = {"descr": repr(array.dtype.str), "fortran_order": "False", "shape": repr(array.shape)}
    text = "{" + "".join(f"'{key}': {value}, " for key, value in (said | changed).items()) + "}"
    text = text + " " * (118 - len(text)) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + array.tobytes()


def test_npy_files_are_the_array_or_refused():
    taken = refused = 0
    for seed in range(NPYS):
        rng = np.random.default_rng([1, seed])
        array = array_of(rng)
        raw, kind = as_bytes(array), seed % 6
        start = len(raw) - array.nbytes
        if kind == 0:
            raw = raw[: rng.integers(0, len(raw))]
        elif kind == 1:
            raw += bytes(int(rng.integers(1, 200)))
        elif kind == 2:
            n = int(rng.integers(1, 2**62))
            shapes = [(n,), (n, 2), (n, n, n), (-1,), (-1, 2), (*array.shape, 2), (0,), ()]
            raw = with_header(array, shape=repr(shapes[rng.integers(7 + (array.size > 1))]))
        elif kind == 3:
            raw = as_bytes(np.array([{"a": 1}, None, array], dtype=object))
        elif kind == 4:
            raw = raw[:start] + bytes(rng.integers(0, 256, array.nbytes, np.uint8))
        else:
            at = int(rng.integers(0, start))
            raw = raw[:at] + bytes([rng.integers(256)]) + raw[at + 1 :]
        Path("g.npy").write_bytes(raw)
        found = outcome(files.load, "g.npy", (seed, raw))
        taken, refused = taken + (found is not None), refused + (found is None)
        if kind < 4:
            assert found is None, (seed, raw)
        elif kind == 4:
            assert found is not None and found.shape == array.shape, (seed, raw)
        elif found is not None:
            with np.errstate(over="ignore"):
                told = np.load("g.npy").astype(np.float64)
            np.testing.assert_array_equal(found, told, err_msg=str((seed, raw)))
    assert taken > NPYS // 6 and refused > NPYS // 2


def packed(entries: list[tuple[str, bytes]], how: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, how)
    return stream.getvalue()


def bomb(rng: np.random.Generator, how: int) -> bytes:
    """An archive whose directory and header claim gigabytes."""
    size = int(rng.integers(2**30 + 1, 2**32 - 2))
    body = with_header(np.zeros(50), shape=repr((size // 8, 1)))
    raw = packed([("g.npy", body)], how)
    at = raw.index(b"PK\x01\x02") + 24  # how large the entry is, in the directory
    return raw[:at] + struct.pack("<I", size) + raw[at + 4 :]


def test_npz_files_are_the_array_or_refused():
    taken = refused = 0
    ways = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    for seed in range(NPZS):
        rng = np.random.default_rng([2, seed])
        array, how, kind = array_of(rng), ways[rng.integers(4)], seed % 6
        raw, name = packed([("g.npy", as_bytes(array))], how), "g.npz"
        if kind == 0:
            raw = raw[: rng.integers(0, len(raw))]
        elif kind == 1:
            raw = flipped(rng, raw)
        elif kind == 2:
            raw = packed([("g.npz", raw)], how)
        elif kind == 3:
            raw = bomb(rng, how)
        elif kind == 4:
            wrong = [
                as_bytes(np.array([None])),
                as_bytes(array) + b"\x00",
                as_bytes(array)[:-1],
                with_header(array, shape="(4611686018427387904,)"),
                b"1,2\n3,4\n",
                b"",
            ]
            raw = packed([("g.npy", wrong[rng.integers(len(wrong))])], how)
        else:
            raw = packed([("g.npy", as_bytes(array)), ("h.npy", as_bytes(-array))], how)
            name = ["g.npz:g", "g.npz"][rng.integers(2)]
        Path("g.npz").write_bytes(raw)
        found = outcome(files.load, name, (seed, raw))
        taken, refused = taken + (found is not None), refused + (found is None)
        if kind in (2, 3, 4) or name == "g.npz" and kind == 5:
            assert found is None, (seed, raw)
        elif name == "g.npz:g":
            assert found is not None, (seed, raw)
        if found is not None:  # its checksum held
            np.testing.assert_array_equal(found, array.astype(np.float64), err_msg=str(seed))
    assert taken > NPZS // 12 and refused > NPZS // 2


# sweeps

SWEEP = """about = "a"
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
[ends]
r_in = 3.0
[[vary]]
kind = "Lognormal"
sigma = "sigma"
[[vary]]
kind = "Levels"
count = 8
g_min = 1e-6
g_max = 1e-4
[axes]
r = [1.0, 10.0]
sigma = [0.0, 0.1, 0.2]
[limits]
error = [0, 0.1]
"""
VALUES = ["-1", "0", "1e999", "nan", "inf", '"x"', "[]", "[[1]]", "{}", "true", "2000-01-01", "[1]"]
VALUES += ["9" * 5000, "99999999999", "1.5", '"r"', "[1, 2, 3, 4]", '["a"]', '""', "'os:getcwd'"]


@pytest.mark.filterwarnings("ignore::xbarjax.UnitWarning")  # mutated numbers are no cells'
def test_sweeps_have_the_shape_that_the_file_says_or_are_refused():
    taken = refused = 0
    for seed in range(TOMLS):
        rng = np.random.default_rng([3, seed])
        lines = list[str](SWEEP.splitlines())
        at, kind = int(rng.integers(len(lines))), seed % 4
        if kind == 0:
            lines.insert(at, ["# dies = 3", "", "  # [array]"][rng.integers(3)])
        elif kind == 1:
            del lines[at]
        elif kind == 2:
            lines[at] = lines[at].split("=")[0] + "= " + VALUES[rng.integers(len(VALUES))]
        raw = "\n".join(lines).encode()
        if kind == 3:
            raw = flipped(rng, raw)
        Path("dies.toml").write_bytes(raw)
        plan = outcome(load_sweep, "dies.toml", (seed, raw))
        taken, refused = taken + (plan is not None), refused + (plan is None)
        assert kind or plan is not None, (seed, raw)
        if plan is None:
            continue
        said = tomllib.loads(raw.decode("utf-8-sig"))
        axes = said.get("axes", {})
        assert plan.shape == (*map(len, axes.values()), said["dies"]), (seed, raw)
        settings = {name: jnp.asarray(float(x[0])) for name, x in axes.items()}
        built = eqx.filter_eval_shape(plan.die.build, settings)
        assert built.cell.shape == (said["array"]["rows"], said["array"]["cols"]), (seed, raw)
    assert taken > TOMLS // 3 and refused > TOMLS // 4
