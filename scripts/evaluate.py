"""Prints every table of the models' cards, computed from the shipped files: `--help` says how.

    python scripts/evaluate.py [--data DIR] [chat] [sentiment] [summarize]

Each part in scripts/evaluation/ has `tables`, which gives its tables as Markdown. Those that need
text which is not part of the repository take it from DIR; without it they are left out.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.evaluation import chat, sentiment, summarize

DATA = Path(__file__).parents[2] / "shared" / "data"
PARTS: dict[str, Callable[[Path], list[str]]] = {
    "chat": lambda _: chat.tables(),
    "sentiment": sentiment.tables,
    "summarize": summarize.tables,
}


def main() -> None:
    """Prints the tables of the parts that are named, of all where none is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the texts to test on")
    given = parser.parse_args()
    for name in given.parts or PARTS:
        if name not in PARTS:
            parser.error(f"there is no part {name}: {', '.join(PARTS)}")
        for table in PARTS[name](given.data):
            print(f"{table}\n", flush=True)


if __name__ == "__main__":
    main()
