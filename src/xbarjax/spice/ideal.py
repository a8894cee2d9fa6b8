"""Loops of ideal wires, cells that short and ideal terminals, which no simulator can take."""

from .elements import GROUND

Link = tuple[str, str, list[str]]  # two nodes, and the lines that join them


def without_loops(links: list[Link]) -> list[Link]:
    """The links without the 0 V sources that close a loop of ideal sources.

    A loop of voltage sources leaves the current around it open, so that its matrix is singular,
    whatever flows elsewhere. A source that closes one says nothing new and is left out: first of
    all stay those to ground, since currents into terminals are asked for.

    **Errors:** `ValueError` where the sources of a loop contradict each other.
    """
    tied: dict[str, tuple[str, float]] = {}  # of a node: another, and how far it lies above that

    def root(node: str) -> tuple[str, float]:
        above = 0.0
        while node in tied:
            node, more = tied[node]
            above += more
        return node, above

    ideal = [x for _, _, lines in links for line in lines if (x := _source(line)) is not None]
    dropped = set()
    for name, plus, minus, v in sorted(ideal, key=lambda x: GROUND not in x[1:3]):
        (a, above_a), (b, above_b) = root(plus), root(minus)
        if a != b:
            tied[a] = (b, v + above_b - above_a)
        elif above_a - above_b == v:
            dropped.add(name)
        else:
            apart = abs(above_a - above_b)
            raise ValueError(
                f"{name} joins the nodes {plus} and {minus} without resistance, and ideal terminals"
                f" hold them {apart:.6g} V apart: give a terminal, a wire or the cell a resistance."
            )
    return [(a, b, [x for x in lines if x.split()[0] not in dropped]) for a, b, lines in links]


def _source(line: str) -> tuple[str, str, str, float] | None:
    """Name, nodes and voltage of a wire, a cell or a terminal that is an ideal source."""
    name, *rest = line.split()
    if not name.startswith(("v_wire_", "v_cell_", "v_row_", "v_col_")) or len(rest) != 3:
        return None
    return name, rest[0], rest[1], float(rest[2])
