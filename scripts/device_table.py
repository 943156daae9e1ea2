"""Write the tables of docs/accuracy-devices.md: operator tables at shapes left out.

scripts/device_table.py            write
scripts/device_table.py --check    exit 1 when the page is not up to date
"""

from __future__ import annotations

import argparse
import functools
import operator
import sys
from pathlib import Path

import numpy as np
from pages import agree, filled, table

from hasten.accuracy.operators import LeftOut, operators_left_out
from hasten.latency.tables import OperatorTables, operator_paths

PAGE = Path(__file__).resolve().parent.parent / "docs" / "accuracy-devices.md"


def operators() -> str:
    """Errors at operator shapes that were left out, by device and kind, and of all kinds of a device."""
    rows = []
    for path in operator_paths():
        tables = OperatorTables(path)
        parts = operators_left_out(tables)
        parts["all"] = functools.reduce(operator.add, parts.values())
        rows += [[tables.about["device"], kind, *cells(found)] for kind, found in parts.items()]
    head = ["device", "what", "left out", "median error", "95th percentile", "raised", "outliers"]
    return table([*head, "median without them", "95th percentile without them"], rows)


def cells(found: LeftOut) -> list[str]:
    """Sizes of errors over all shapes, shares of times not believed, and sizes over the shapes believed."""
    cells = [str(len(found.errors))]
    cells += [f"{share:.1%}" for share in np.percentile(np.abs(found.errors), [50, 95])]
    cells += [f"{found.raised / found.timed:.1%}", f"{found.outliers.mean():.1%}"]
    return cells + [f"{share:.1%}" for share in np.percentile(np.abs(found.believed), [50, 95])]


def main() -> int:
    """Write the tables, or compare them with the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit 1 when the page is not up to date")
    args = parser.parse_args()
    old = page = PAGE.read_text(encoding="utf-8")
    page = filled(page, "operator table", operators())
    if args.check:
        is_same = agree(page, old)
        print("up to date" if is_same else f"{PAGE.name} is out of date: run scripts/device_table.py")
        return int(not is_same)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
