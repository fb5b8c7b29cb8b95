"""The numbered migrations that lie beside the code of a store."""

import re
from importlib import resources

_NAME = re.compile(r"(\d{4})_\w+\.sql")


def migrations_in(package: str) -> dict[int, str]:
    """The migrations in a package's folder, by number: from 1 on, without a gap."""
    folder = resources.files(package) / "migrations"
    return {
        int(match[1]): file.read_text()
        for file in folder.iterdir()
        if (match := _NAME.fullmatch(file.name))
    }
