"""Tiles of the experiment, and the voltages of their levels."""

from typing import Any

import numpy as np

import xbarjax as xb

G = 1e-6, 8e-5  # [S]
MOST = 16  # levels


def tile(shape: tuple[int, int], size: float = 1.0, **lines: Any) -> xb.cam.Tile:
    of = lambda w, v_t: xb.Mosfet(w * 2.5e-4, v_t, 0.0, lam=0.05)
    g = np.zeros(shape)
    cell = xb.cam.Analog6T2M(g, g, of(4 * size, 0.2), of(1, 0.3), of(1, 0.2))
    return xb.cam.Tile(cell, t_sense=2e-8, **lines)


def scale(of: xb.cam.Tile, count: int, size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Edges [V], and queries [V] of all levels, repeated to the most levels of the experiment."""
    edges, queries = xb.cam.data_levels(of, count, g_min=G[0] * size, g_max=G[1] * size)
    return np.asarray(edges), np.resize(np.asarray(queries), MOST)
