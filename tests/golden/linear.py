"""Linear crossbars: wires, ends and resistors, ideal, broken and missing ones among them.

Nothing here is shared with the package or with the nodal reference: the netlist is written element
by element. Every wire segment and every cell has an ammeter in series. A broken wire (inf) and a
cell of 0 S are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .suite import Array, Family, ammeter, collect, number, operating_point, solve, source

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


def netlist(x: dict[str, Array]) -> str:
    """Row segment k of line i has the ammeter vr{i}_{k}, counted from the driver (k = cols: the far
    end); column segment k of line j has vc{k}_{j}, counted from the far end (k = 0) down to the
    sense terminal; the cells have vg{i}_{j}; the nodes are w{i}_{j} and b{i}_{j}."""
    rows, cols = x["g"].shape
    lines: list[str] = []

    def branch(tag: str, a: str, b: str, *resistances: float) -> None:
        """An ammeter and resistors in series from a to b; nothing if one of them is inf."""
        if np.isinf(resistances).any():
            return
        values = [r for r in resistances if r > 0]
        nodes = [f"{tag}_{k}" for k in range(len(values))] + [b]
        lines.append(ammeter(tag, a, nodes[0]))
        for k, r in enumerate(values):
            lines.append(f"r{tag}_{k} {nodes[k]} {nodes[k + 1]} {number(r)}")

    for i in range(rows):
        lines += [source(f"s{i}", f"s{i}", x["v_in"][i]), source(f"t{i}", f"t{i}", x["v_in"][i])]
        for j in range(cols):
            before = f"w{i}_{j - 1}" if j else f"s{i}"
            driver = [] if j else [x["r_source"][i]]
            branch(f"r{i}_{j}", before, f"w{i}_{j}", *driver, x["r_row"][i, j])
        branch(f"r{i}_{cols}", f"w{i}_{cols - 1}", f"t{i}", x["r_source_far"][i])
    for j in range(cols):
        v = x["v_ref"][j] + x["v_offset"][j]
        lines += [source(f"n{j}", f"n{j}", v), source(f"f{j}", f"f{j}", v)]
        branch(f"c0_{j}", f"f{j}", f"b0_{j}", x["r_in_far"][j])
        for i in range(rows):
            last = i == rows - 1
            after = f"n{j}" if last else f"b{i + 1}_{j}"
            sense = [x["r_in"][j]] if last else []
            branch(f"c{i + 1}_{j}", f"b{i}_{j}", after, x["r_col"][i, j], *sense)
    for i, j in np.ndindex(rows, cols):
        if x["g"][i, j] > 0:
            branch(f"g{i}_{j}", f"w{i}_{j}", f"b{i}_{j}", float(1 / x["g"][i, j]))
    return operating_point(lines)


def simulate(x: dict[str, Any]) -> dict[str, Array]:
    rows, cols = x["g"].shape
    value = solve(netlist(x))
    return {
        "v_row": collect(value, "v(w{}_{})", rows, cols),
        "v_col": collect(value, "v(b{}_{})", rows, cols),
        "i_cell": collect(value, "i(vg{}_{})", rows, cols),
        "i_row": collect(value, "i(vr{}_{})", rows, cols + 1),
        "i_col": collect(value, "i(vc{}_{})", rows + 1, cols),
    }


LINEAR = Family("linear", CIRCUITS, inputs, simulate)
