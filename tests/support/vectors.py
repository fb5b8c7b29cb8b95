"""Golden vectors: what has been released never changes."""

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parents[1] / "vectors"


def vectors(name: str) -> list[Any]:
    """The vectors of a file, each with its name as the test's id where it has one."""
    return list(json.loads((_FOLDER / f"{name}.json").read_text())["vectors"])


def name_of(vector: dict[str, Any]) -> str:
    return str(vector.get("name", vector.get("text")))
