"""Write the golden circuits: netlists from seeds, solved by ngspice, stored as JSON.

    python tests/golden/make.py            # all circuits
    python tests/golden/make.py wide tiny  # those of these names

Nothing here is shared with the package or with the nodal reference: the netlist is written element
by element. Every wire segment and every cell has an ammeter (a 0 V source) in series, so that the
currents are unknowns of ngspice's own matrix and not differences of voltages. An ideal wire is the
ammeter alone: a resistor of 0 ohm would silently become 1 mohm. A broken wire (inf) and a cell of
0 S are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
HERE = Path(__file__).parent
OPTIONS = ".options reltol=1e-9 abstol=1e-18 vntol=1e-13 gmin=1e-20 itl1=500"

# name: rows, cols, seed, wires, drive, sense. "open" ends at the near end only, "both" has
# terminals at both ends, "far" has one at the far end only; "ideal" sets the near resistance to 0,
# "ideal both" those of both ends.
CIRCUITS: dict[str, tuple[int, int, int, str, str, str]] = {
    "square8": (8, 8, 1, "uniform", "open", "open"),
    "square8_random": (8, 8, 2, "random", "open", "open"),
    "square8_both": (8, 8, 3, "random", "both", "both"),
    "square8_faults": (8, 8, 4, "faults", "both", "open"),
    "square16": (16, 16, 5, "uniform", "open", "open"),
    "square16_both": (16, 16, 6, "uniform", "both", "both"),
    "square16_faults": (16, 16, 7, "faults", "open", "both"),
    "wide": (5, 12, 8, "random", "open", "open"),
    "wide_some_ideal": (5, 12, 9, "some ideal", "ideal", "both"),
    "wide_ideal_rows": (5, 12, 10, "ideal rows", "open", "open"),
    "tall": (20, 7, 11, "uniform", "both", "open"),
    "tall_some_ideal": (20, 7, 12, "some ideal", "both", "ideal"),
    "tall_ideal_cols": (20, 7, 13, "ideal cols", "ideal", "open"),
    "tall_far": (20, 7, 14, "random", "far", "far"),
    "ideal_ends": (6, 6, 15, "random", "ideal both", "ideal both"),
    "tiny": (1, 1, 16, "random", "open", "open"),
    "tiny_both": (1, 1, 17, "random", "both", "both"),
    "one_row": (1, 9, 18, "random", "open", "open"),
    "one_row_both": (1, 9, 19, "some ideal", "both", "both"),
    "one_column": (9, 1, 20, "random", "open", "open"),
    "one_column_both": (9, 1, 21, "uniform", "both", "both"),
}


def inputs(name: str) -> dict[str, Array]:
    """The circuit, in the package's terms: r_row[i, j] is the segment that enters cell (i, j) from
    the driver's side, r_col[i, j] the one that leaves it towards the sense end; the resistances of
    drivers and sense terminals are apart, inf where there is no terminal. Both ends of a row are
    driven with v_in, both ends of a column are held at v_ref + v_offset."""
    rows, cols, seed, wires, drive, sense = CIRCUITS[name]
    rng = np.random.default_rng(seed)
    shape = (rows, cols)
    g = rng.uniform(1e-6, 1e-4, shape) if seed % 2 else 10 ** rng.uniform(-6, -3.5, shape)
    r_row, r_col = rng.uniform(0.1, 20, shape), rng.uniform(0.1, 20, shape)
    if wires == "uniform":
        r_row, r_col = np.full(shape, 2.5), np.full(shape, 1.1)
    elif wires == "ideal rows":
        r_row = np.zeros(shape)
    elif wires == "ideal cols":
        r_col = np.zeros(shape)
    elif wires in ("some ideal", "faults"):
        r_row[rng.random(shape) < 0.15] = 0
        r_col[rng.random(shape) < 0.15] = 0
    if wires == "faults":
        r_row[rng.random(shape) < 0.04] = np.inf
        r_col[rng.random(shape) < 0.04] = np.inf
        g[rng.random(shape) < 0.15] = 0
        g[rng.random(shape) < 0.03] = 1e-2

    def ends(kind: str, n: int) -> tuple[Array, Array]:
        near = np.zeros(n) if "ideal" in kind else rng.uniform(20, 200, n)
        far = rng.uniform(20, 200, n) if "both" in kind or kind == "far" else np.full(n, np.inf)
        if kind == "far":
            near[:] = np.inf
        if kind == "ideal both":
            far[:] = 0
        return near, far

    r_source, r_source_far = ends(drive, rows)
    r_in, r_in_far = ends(sense, cols)
    return {
        "g": g,
        "r_row": r_row,
        "r_col": r_col,
        "r_source": r_source,
        "r_source_far": r_source_far,
        "r_in": r_in,
        "r_in_far": r_in_far,
        "v_in": rng.uniform(-0.3, 0.3, rows),
        "v_ref": np.full(cols, 0.1 if seed % 3 == 0 else 0.0),
        "v_offset": rng.normal(0, 2e-3, cols) if seed % 4 else np.zeros(cols),
    }


def netlist(x: dict[str, Array], raw: str) -> str:
    """Row segment k of line i has the ammeter vr{i}_{k}, counted from the driver (k = cols: the far
    end); column segment k of line j has vc{k}_{j}, counted from the far end (k = 0) down to the
    sense terminal; the cells have vg{i}_{j}; the nodes are w{i}_{j} and b{i}_{j}."""
    rows, cols = x["g"].shape
    lines = ["* crossbar", OPTIONS]

    def branch(tag: str, a: str, b: str, *resistances: float) -> None:
        """An ammeter and resistors in series from a to b; nothing if one of them is inf."""
        if np.isinf(resistances).any():
            return
        values = [r for r in resistances if r > 0]
        nodes = [f"{tag}_{k}" for k in range(len(values))] + [b]
        lines.append(f"v{tag} {a} {nodes[0]} 0")
        for k, r in enumerate(values):
            lines.append(f"r{tag}_{k} {nodes[k]} {nodes[k + 1]} {r:.17g}")

    for i in range(rows):
        lines += [f"vs{i} s{i} 0 {x['v_in'][i]:.17g}", f"vt{i} t{i} 0 {x['v_in'][i]:.17g}"]
        for j in range(cols):
            before = f"w{i}_{j - 1}" if j else f"s{i}"
            source = [] if j else [x["r_source"][i]]
            branch(f"r{i}_{j}", before, f"w{i}_{j}", *source, x["r_row"][i, j])
        branch(f"r{i}_{cols}", f"w{i}_{cols - 1}", f"t{i}", x["r_source_far"][i])
    for j in range(cols):
        v = x["v_ref"][j] + x["v_offset"][j]
        lines += [f"vn{j} n{j} 0 {v:.17g}", f"vf{j} f{j} 0 {v:.17g}"]
        branch(f"c0_{j}", f"f{j}", f"b0_{j}", x["r_in_far"][j])
        for i in range(rows):
            last = i == rows - 1
            after = f"n{j}" if last else f"b{i + 1}_{j}"
            sense = [x["r_in"][j]] if last else []
            branch(f"c{i + 1}_{j}", f"b{i}_{j}", after, x["r_col"][i, j], *sense)
    for i, j in np.ndindex(rows, cols):
        if x["g"][i, j] > 0:
            branch(f"g{i}_{j}", f"w{i}_{j}", f"b{i}_{j}", 1 / x["g"][i, j])
    # The raw file holds full doubles, by name; wrdata and print would round them.
    lines += [".control", "set filetype=binary", "op", f"write {raw}", "quit", ".endc", ".end"]
    return "\n".join(lines) + "\n"


def simulate(x: dict[str, Array]) -> dict[str, Array]:
    """Run ngspice. The exit status says nothing about convergence, so the output is checked."""
    rows, cols = x["g"].shape
    with tempfile.TemporaryDirectory() as folder:
        text = netlist(x, "out.raw")
        (Path(folder) / "in.cir").write_text(text)
        command = ["ngspice", "-b", "in.cir"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        log = run.stdout + run.stderr
        raw = Path(folder) / "out.raw"
        if not raw.exists() or any(w in log.lower() for w in ("singular", "error", "stepping")):
            raise RuntimeError(f"ngspice failed:\n{log[-2000:]}")
        head, _, body = raw.read_bytes().partition(b"Binary:\n")
    names = [line.split("\t")[2] for line in head.decode().splitlines() if line.startswith("\t")]
    data = np.frombuffer(body)
    if len(data) != len(names) or not np.isfinite(data).all():
        raise RuntimeError(f"{len(names)} columns expected, {len(data)} found, or not finite")
    value = dict(zip(names, data))
    ammeters = sum(line.startswith(("vr", "vc", "vg")) for line in text.splitlines())
    if sum(n.startswith(("i(vr", "i(vc", "i(vg")) for n in names) != ammeters:
        raise RuntimeError("an ammeter is missing in the output")

    def collect(form: str, m: int, n: int) -> Array:
        # What has no ammeter is open; a missing node voltage is an error.
        get = value.__getitem__ if form[0] == "v" else lambda name: value.get(name, 0.0)
        return np.array([[get(form.format(i, j)) for j in range(n)] for i in range(m)])

    return {
        "v_row": collect("v(w{}_{})", rows, cols),
        "v_col": collect("v(b{}_{})", rows, cols),
        "i_cell": collect("i(vg{}_{})", rows, cols),
        "i_row": collect("i(vr{}_{})", rows, cols + 1),
        "i_col": collect("i(vc{}_{})", rows + 1, cols),
    }


def version() -> str:
    """The version line of ngspice."""
    out = subprocess.run(["ngspice", "--version"], capture_output=True, text=True).stdout
    return next(w for w in out.split() if w.startswith("ngspice-"))


def save(path: Path, record: dict[str, Any]) -> None:
    """Strict JSON, which has no infinity: written as the string "inf"."""

    def plain(x: Any) -> Any:
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        if isinstance(x, list):
            return [plain(v) for v in x]
        if isinstance(x, np.ndarray):
            return plain(x.tolist())
        return "inf" if x == np.inf else x

    text = json.dumps(plain(record), sort_keys=True, separators=(",", ":"), allow_nan=False)
    path.write_text(text.replace('],"', '],\n"') + "\n")


def load(path: Path) -> dict[str, Any]:
    """A record; its lists become float64 arrays."""

    def arrays(x: Any) -> Any:
        if isinstance(x, dict):
            return {k: arrays(v) for k, v in x.items()}
        return np.array(x, dtype=object).astype(float) if isinstance(x, list) else x

    return arrays(json.loads(path.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="circuits to write (default: all)")
    for name in parser.parse_args().names or CIRCUITS:
        x = inputs(name)
        record = {"name": name, "ngspice": version(), "inputs": x, "outputs": simulate(x)}
        save(HERE / f"{name}.json", record)


if __name__ == "__main__":
    main()
