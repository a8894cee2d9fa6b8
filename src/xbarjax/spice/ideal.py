"""Removal of loops of ideal voltage sources (ideal wires, shorted cells, ideal terminals), which no
circuit simulator accepts."""

from .elements import GROUND

Link = tuple[str, str, list[str]]  # two nodes, and the netlist lines of the elements between them


def without_loops(links: list[Link]) -> list[Link]:
    """The links without the sources that close a loop of ideal voltage sources.

    The current around such a loop is undetermined, and the circuit matrix is singular. A source
    that closes a loop adds no information if the voltages agree, and is left out. Sources to ground
    are kept first, since their currents are the terminal currents.

    **Errors:** `ValueError` for a loop whose sources contradict each other.
    """
    tied: dict[str, tuple[str, float]] = {}  # node: (another node, voltage [V] above that node)

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
                f"{name} joins the nodes {plus} and {minus} without resistance, but ideal terminals"
                f" hold them {apart:.6g} V apart: give a terminal, a wire or the cell a resistance."
            )
    return [(a, b, [x for x in lines if x.split()[0] not in dropped]) for a, b, lines in links]


def _source(line: str) -> tuple[str, str, str, float] | None:
    """Name, nodes and voltage [V] of a line that is an ideal source (wire, cell or terminal);
    `None` for other lines."""
    name, *rest = line.split()
    if not name.startswith(("v_wire_", "v_cell_", "v_row_", "v_col_")) or len(rest) != 3:
        return None
    return name, rest[0], rest[1], float(rest[2])
