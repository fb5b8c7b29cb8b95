"""Texts as they are given on a command line: literally, from stdin or from a file."""

import json
import sys
from pathlib import Path
from typing import Any

import click


def given_text(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """TEXT itself, `-` for standard input, `@FILE` for a file's content, `@@…` for a real `@`.

    A click callback. One line break at the end is nobody's wish.
    """
    return None if value is None else read_text(value)


def given_object(_: click.Context, __: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """A JSON object, given as a text is. A click callback."""
    if value is None:
        return None
    try:
        given = json.loads(read_text(value))
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"No JSON: {error}") from None
    if not isinstance(given, dict):
        raise click.BadParameter("It must be a JSON object")
    return given


def read_text(value: str) -> str:
    """The same, for a value that is there."""
    text = _read(value).removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise click.BadParameter("The text is empty")
    return text


def _read(value: str) -> str:
    try:
        if value == "-":
            return sys.stdin.buffer.read().decode()
        if value.startswith("@@"):
            return value[1:]
        return Path(value[1:]).read_bytes().decode() if value.startswith("@") else value
    except OSError as error:
        raise click.BadParameter(f"Cannot read {value[1:]}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.BadParameter("The text is not UTF-8") from None
