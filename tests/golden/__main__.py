"""Write golden circuits again with ngspice.

    cd tests && python -m golden                      # all circuits, in minutes
    cd tests && python -m golden devices linear/wide  # a family, and one circuit

Commit what changed only with the change to a circuit that explains it.
"""

import argparse

from . import FAMILIES


def main() -> None:
    parser = argparse.ArgumentParser(prog="golden", description="Write golden circuits again.")
    parser.add_argument("names", nargs="*", help="families, or FAMILY/CIRCUIT (default: all)")
    asked = parser.parse_args().names or FAMILIES
    circuits = {
        f"{family.name}/{x}": family for family in FAMILIES.values() for x in family.circuits
    }
    for name in asked:
        found = [path for path in circuits if name in (path, circuits[path].name)]
        if not found:
            parser.error(f"there is no family and no circuit {name}")
        for path in found:
            circuits[path].write(path.split("/")[1])


if __name__ == "__main__":
    main()
