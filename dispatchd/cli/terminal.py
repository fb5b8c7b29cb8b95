"""What goes to stdout as data, and what goes to stderr for people."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import click

# Texts come from other people's machines; on a terminal they must not move the cursor.
_CONTROL = re.compile("[\ud800-\udfff\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOURS: Mapping[str, str] = MappingProxyType(
    {"completed": "green", "failed": "red", "pending": "yellow", "will run": "green"}
)
_NO_VALUE = "-"


def say(text: str, *, end: str = "\n") -> None:
    """Data, on stdout."""
    shown = _safe(text) if sys.stdout.isatty() else text
    # `color` keeps click from taking escape sequences out of what a pipe gets.
    click.echo(_printable(shown) + end, nl=False, color=True)


def say_bytes(line: bytes) -> None:
    """Data of which every byte counts, one line."""
    if sys.stdout.isatty():
        say(line.decode())
    else:
        click.echo(line)


def say_json(value: Any) -> None:
    """Data in JSON, one line."""
    say(json_text(value))


def json_text(value: Any) -> str:
    """Compact JSON, with escapes where the terminal or the pipe cannot take what they stand for."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if _printable(text) == text else json.dumps(value, separators=(",", ":"))


def say_table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Data in columns."""
    cells = [list(names), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(padded).rstrip())


def say_facts(facts: Mapping[str, object]) -> None:
    """Data as names and values, a line each; those without a value are left out."""
    shown = {name: value for name, value in facts.items() if value is not None}
    width = max(map(len, shown))
    for name, value in shown.items():
        text = _cell(value)
        colour = _COLOURS.get(text)
        say(f"{name.ljust(width)}  ", end="")
        if colour:
            click.echo(click.style(text, fg=colour))
        else:
            say(text)


def tell(text: str) -> None:
    """Something for the person at the terminal, on stderr."""
    click.echo(click.style(_safe(text), dim=True), err=True)


def complain(sentence: str) -> None:
    """What went wrong, on stderr."""
    click.echo(f"dispatchd: {_safe(sentence)}", err=True)


def _safe(text: str) -> str:
    return _CONTROL.sub("\ufffd", text)


def _cell(value: object) -> str:
    if value is None or value == "":
        return _NO_VALUE
    if isinstance(value, str):
        return value.replace("\n", " ")
    if isinstance(value, list):
        return ", ".join(map(str, value)) or _NO_VALUE
    return json.dumps(value, ensure_ascii=False)


def _printable(text: str) -> str:
    """The text with `?` for what stdout's encoding lacks, halves of surrogate pairs among it."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
