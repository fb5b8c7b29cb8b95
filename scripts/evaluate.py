"""Prints every table of the models' cards, computed from the shipped files: `--help` says how.

    python scripts/evaluate.py [--data DIR] [summarize] [sentiment] [chat]

Each part in scripts/evaluate/ has `tables`, which gives its tables as Markdown. Those that need
text which is not part of the repository take it from DIR; without it they are left out.
"""

import argparse
import inspect
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = {path.stem: path for path in sorted((ROOT / "scripts" / "evaluate").glob("[a-z]*.py"))}


def main() -> None:
    """Prints the tables of the parts that are named, of all where none is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--data", type=Path, help="folder with the texts to test on")
    given = parser.parse_args()
    for name in given.parts or PARTS:
        if name not in PARTS:
            parser.error(f"there is no part {name}: {', '.join(PARTS)}")
        # A folder and a file of one name cannot both be imported; the parts are run by their paths.
        tables = runpy.run_path(str(PARTS[name]))["tables"]
        takes_data = "data" in inspect.signature(tables).parameters
        for table in tables(given.data) if takes_data else tables():
            print(f"{table}\n", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
