"""Random crossbars: cells from nothing to shorts, wires from ideal to open, one or two ends."""

from __future__ import annotations

import numpy as np

SHAPES = [(5, 4), (8, 8), (1, 6), (12, 9)]
SHORTS = [np.inf, 1e30, 1e8, 1e12, 1e15, 1e40, 1e3]


def circuit(rng: np.random.Generator, rows: int, cols: int, shorts: bool) -> tuple:
    """`(g, r_row, r_col, v_row, v_row_far, v_col, v_col_far)`, as `merged.solve` takes them."""
    of = lambda *shape: rng.random(shape)
    g = 10 ** rng.uniform(rng.choice([-6, -9, -12]), rng.choice([-4, -3]), (rows, cols))
    g[of(rows, cols) < rng.choice([0, 0.2, 0.6])] = 0
    if shorts:
        count = rng.integers(1, g.size + 1) if rng.random() < 0.3 else rng.integers(1, 5)
        at = rng.choice(g.size, min(count, g.size), replace=False)
        alike = rng.choice(SHORTS) if rng.random() < 0.6 else np.inf
        each = 10 ** rng.uniform(2, 40, len(at))
        g.ravel()[at] = alike if rng.random() < 0.7 else each
    scale = 10 ** rng.uniform(-3, 4) if rng.random() < 0.5 else 1.0
    spread = lambda *shape: 10 ** rng.uniform(-1, 1, shape) if rng.random() < 0.5 else 1.0
    r_row = np.broadcast_to(scale * spread(rows, cols + 1), (rows, cols + 1)).copy()
    r_col = np.broadcast_to(scale * spread(rows + 1, cols), (rows + 1, cols)).copy()
    ideal, opened = rng.choice([0, 0, 0.1, 0.5]), rng.choice([0, 0, 0.05, 0.2])
    for r in (r_row, r_col):
        r[of(*r.shape) < ideal] = 0
        r[of(*r.shape) < opened] = np.inf
    if rng.random() < 0.6:  # one end each
        r_row[:, -1], r_col[0] = np.inf, np.inf
    for r in (r_row, r_col):
        if rng.random() < 0.1:
            r[np.isfinite(r)] = 0
    v = rng.uniform(-1, 1, rows) if rng.random() < 0.7 else np.full(rows, 0.2)
    v_far = v if rng.random() < 0.7 else v + rng.uniform(-1, 1, rows)
    v_col = np.zeros(cols) if rng.random() < 0.7 else rng.uniform(-1, 1, cols)
    return g, r_row, r_col, v, v_far, v_col, v_col.copy()


def circuits(seed: int, count: int, shape: tuple[int, int], shorts: bool) -> list[tuple]:
    rng = np.random.default_rng(seed)
    return [circuit(rng, *shape, shorts) for _ in range(count)]


def of_usual_parts(rng: np.random.Generator, rows: int, cols: int) -> tuple:
    """Cells of 1 nS to 3 mS and wires of 0.1 mohm to 100 kohm, with cells and wires that are
    missing and wires that are ideal, as `merged.solve` takes them. Each part is drawn alone, or all
    about one scale. Sources go up to 1 V."""

    def drawn(shape, low, high):
        if rng.random() < 0.5:
            return 10 ** rng.uniform(low, high, shape)
        middle = rng.uniform(low, high)
        return 10 ** np.clip(middle + rng.uniform(-0.5, 0.5, shape), low, high)

    g = drawn((rows, cols), -9, np.log10(3e-3))
    g[rng.random(g.shape) < rng.choice([0, 0.2, 0.6])] = 0
    wires = [drawn(shape, -4, 5) for shape in ((rows, cols + 1), (rows + 1, cols))]
    for r in wires:
        r[rng.random(r.shape) < rng.choice([0, 0, 0.1])] = 0
        r[rng.random(r.shape) < rng.choice([0, 0, 0.05, 0.2])] = np.inf
    if rng.random() < 0.6:  # one end each
        wires[0][:, -1], wires[1][0] = np.inf, np.inf
    v, v_far = rng.uniform(-1, 1, (2, rows))
    v_col = np.zeros(cols) if rng.random() < 0.7 else rng.uniform(-1, 1, cols)
    return g, *wires, v, v if rng.random() < 0.7 else v_far, v_col, v_col.copy()
