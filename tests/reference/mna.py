"""Modified nodal analysis of a netlist, branch by branch and dense. It shares no code with src.

Every branch but a current source and a capacitor has its current as an unknown, so that resistors
of 0 ohm need no care."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg


class Net:
    """Branches between named nodes; "0" is ground."""

    def __init__(self) -> None:
        self.nodes: dict[str, int] = {}
        self.branches: list[tuple[str, tuple[str, ...], dict[str, float]]] = []

    def _add(self, kind: str, *nodes: str, **values: Any) -> int:
        for node in nodes:
            if node != "0":
                self.nodes.setdefault(node, len(self.nodes))
        self.branches.append((kind, nodes, {k: float(x) for k, x in values.items()}))
        return len(self.branches) - 1

    def resistor(self, a: str, b: str, r: Any) -> int:
        return self._add("R", a, b, r=r) if np.isfinite(float(r)) else -1

    def capacitor(self, a: str, b: str, c: Any) -> int:
        return self._add("C", a, b, c=c)

    def voltage(self, to: str, back: str, v: Any, r: Any = 0.0) -> int:
        return self._add("V", to, back, v=v, r=r)

    def current(self, to: str, back: str, i: Any) -> int:
        return self._add("I", to, back, i=i)

    def amplifier(
        self, minus: str, plus: str, out: str, gain: Any, gbw: Any, v: Any = 0.0, r: Any = 0.0
    ) -> int:
        return self._add("A", minus, plus, out, gain=gain, gbw=gbw, v=v, r=r)

    def array(self, g: Any, r_row: Any, r_col: Any, ends: dict[str, list[str]], tag: str,
              c: tuple[Any, Any, Any] | None = None) -> None:  # fmt: skip
        """A crossbar whose line ends are the nodes of `ends`: rows, cols, rows_far, cols_far."""
        rows, cols = np.shape(g)
        row, col = (lambda i, j: f"{tag}w{i}_{j}"), (lambda i, j: f"{tag}b{i}_{j}")
        for i in range(rows):
            for j in range(cols):
                self.resistor(row(i, j - 1) if j else ends["rows"][i], row(i, j), r_row[i, j])
                after = col(i + 1, j) if i + 1 < rows else ends["cols"][j]
                self.resistor(col(i, j), after, r_col[i, j])
                if g[i, j] > 0:
                    self.resistor(row(i, j), col(i, j), 1 / g[i, j])
                if c is not None:
                    self.capacitor(row(i, j), "0", c[0][i, j])
                    self.capacitor(col(i, j), "0", c[1][i, j])
                    self.capacitor(row(i, j), col(i, j), c[2][i, j])
        for i, node in enumerate(ends.get("rows_far", [])):
            self.resistor(row(i, cols - 1), node, 0.0)
        for j, node in enumerate(ends.get("cols_far", [])):
            self.resistor(node, col(0, j), 0.0)

    def matrices(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[int, int]]:
        """`K`, `C` and `b` of `K z + C dz/dt = b`, and the place of each branch's own unknown."""
        own: dict[int, int] = {}
        size = len(self.nodes)
        for k, (kind, _, _) in enumerate(self.branches):
            if kind in "RVA":
                own[k] = size
                size += 2 if kind == "A" else 1
        stiffness, charge, b = np.zeros((size, size)), np.zeros((size, size)), np.zeros(size)

        def put(matrix: np.ndarray, row: int | None, col: int | None, x: float) -> None:
            if row is not None and col is not None:
                matrix[row, col] += x

        for k, (kind, names, x) in enumerate(self.branches):
            at = [self.nodes.get(name) for name in names]
            if kind == "C":
                for row, sign in ((at[0], 1), (at[1], -1)):
                    put(charge, row, at[0], sign * x["c"])
                    put(charge, row, at[1], -sign * x["c"])
            elif kind == "I":
                for row, sign in ((at[0], 1), (at[1], -1)):
                    if row is not None:
                        b[row] += sign * x["i"]
            elif kind in "RV":
                sign = 1 if kind == "R" else -1  # currents of sources flow out of them
                put(stiffness, at[0], own[k], sign)
                put(stiffness, at[1], own[k], -sign)
                put(stiffness, own[k], at[0], 1)
                put(stiffness, own[k], at[1], -1)
                stiffness[own[k], own[k]] = -sign * x["r"]
                b[own[k]] = x.get("v", 0.0)
            else:
                p, i = own[k], own[k] + 1
                put(stiffness, at[2], i, -1)
                stiffness[p, p] = 1 / x["gain"]
                charge[p, p] = 1 / (2 * np.pi * x["gbw"]) if np.isfinite(x["gbw"]) else 0.0
                put(stiffness, p, at[1], -1)
                put(stiffness, p, at[0], 1)
                b[p] = x["v"]
                put(stiffness, i, at[2], 1)
                stiffness[i, p], stiffness[i, i] = -1, x["r"]
        return stiffness, charge, b, own

    def solve(self) -> tuple[dict[str, float], dict[int, float]]:
        """Voltages [V] of nodes, and currents [A] of branches that have an unknown."""
        stiffness, _, b, own = self.matrices()
        scale = np.abs(stiffness).max(axis=1)
        z = np.linalg.solve(stiffness / scale[:, None], b / scale)
        left = b - stiffness @ z
        z += np.linalg.solve(stiffness / scale[:, None], left / scale)
        kind = lambda k: self.branches[k][0]
        currents = {k: z[at + (kind(k) == "A")] for k, at in own.items()}
        return {name: z[k] for name, k in self.nodes.items()}, currents

    def noise(
        self, node: str, f: float, temperature: float, more: dict[int, dict[str, float]]
    ) -> np.ndarray:
        """Density [V^2/Hz] at a node that each branch causes: thermal noise of resistances, and of
        some branches `more`: "e" [V^2/Hz] in series, "i" [A^2/Hz] into both inputs."""
        stiffness, charge, _, own = self.matrices()
        wanted = np.zeros(len(stiffness))
        wanted[self.nodes[node]] = 1.0
        h = np.linalg.solve((stiffness + 2j * np.pi * f * charge).T, wanted)
        found = np.zeros(len(self.branches))
        for k, (kind, names, x) in enumerate(self.branches):
            extra = more.get(k, {})
            if kind in "RVA":
                thermal = 4 * 1.380649e-23 * temperature * x["r"] if kind != "A" else 0.0
                found[k] += abs(h[own[k]]) ** 2 * (thermal + extra.get("e", 0.0))
            if kind == "A":
                into = [h[self.nodes[name]] for name in names[:2] if name != "0"]
                found[k] += sum(abs(x) ** 2 for x in into) * extra.get("i", 0.0)
        return found

    def poles(self) -> np.ndarray:
        """Finite poles [1/s], the largest real part first."""
        stiffness, charge, _, _ = self.matrices()
        m = scipy.linalg.eigvals(-np.linalg.solve(stiffness, charge))
        m = m[np.abs(m) > 1e-11 * np.abs(m).max()]
        return np.array(sorted(1 / m, key=lambda s: -s.real))
