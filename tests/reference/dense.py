"""A dense nodal solve of any small network, for circuits that the other references do not know.

Elements are stamped one by one into the textbook matrix (modified nodal analysis; C.-W. Ho,
A. E. Ruehli, P. A. Brennan, IEEE Trans. Circuits Syst. 22, 504, 1975). It shares nothing with the
package.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

Node = Any  # any hashable name; None is ground


class Circuit:
    """Conductances, voltage sources and amplifiers between named nodes; values may be arrays over
    samples, which are then solved one by one."""

    def __init__(self) -> None:
        self.nodes: dict[Node, int] = defaultdict(lambda: len(self.nodes))
        self.stamps: list[tuple[Any, ...]] = []

    def conductor(self, p: Node, q: Node, g: float) -> None:
        self._stamp("g", p, q, g)

    def resistor(self, p: Node, q: Node, r: float) -> None:
        self._stamp("g", p, q, 1 / r)

    def current(self, p: Node, q: Node, i: Any) -> None:
        """A source of `i` from `p` to `q`."""
        self._stamp("i", p, q, i)

    def voltage(self, p: Node, q: Node, v: Any) -> int:
        """`v_p - v_q = v`. Returns the number of its current, into `p`."""
        return self._stamp("v", p, q, v)

    def amplifier(self, out: Node, plus: Any, minus: Node, gain: float) -> int:
        """`v_out = gain (plus - v_minus)`, with `plus` a voltage."""
        return self._stamp("a", out, minus, (plus, gain))

    def _stamp(self, kind: str, p: Node, q: Node, value: Any) -> int:
        for node in (p, q):
            if node is not None:
                self.nodes[node]  # noqa: B018, numbers it
        self.stamps.append((kind, p, q, value))
        return sum(s[0] in "va" for s in self.stamps) - 1

    def solve(self) -> tuple[dict[Node, Any], np.ndarray]:
        """Voltages by node, and currents of sources and amplifiers, each maybe over samples."""
        n = len(self.nodes)
        m = sum(s[0] in "va" for s in self.stamps)
        samples = max([np.size(s[3]) for s in self.stamps if s[0] in "iv"] + [1])
        y, b, k = np.zeros((n + m, n + m)), np.zeros((n + m, samples)), n
        at = lambda node: self.nodes[node]
        for kind, p, q, value in self.stamps:
            ends = [(at(x), s) for x, s in ((p, 1), (q, -1)) if x is not None]
            if kind == "g":
                for i, s in ends:
                    for j, t in ends:
                        y[i, j] += s * t * value
            elif kind == "i":
                for i, s in ends:
                    b[i] -= s * np.ravel(value)
            elif kind == "v":
                for i, s in ends:
                    y[i, k] += s
                    y[k, i] += s
                b[k] += np.ravel(value)
                k += 1
            else:
                plus, gain = value
                y[at(p), k] += 1
                y[k, at(p)] += 1
                y[k, at(q)] += gain
                b[k] += gain * np.ravel(plus)
                k += 1
        x = np.linalg.solve(y, b)
        squeeze = lambda v: v[0] if samples == 1 else v
        return {node: squeeze(x[i]) for node, i in self.nodes.items()}, x[n:]
