"""Writes the generated parts of README.md and ARCHITECTURE.md; `--check` only compares.

A part stands between `<!-- made: NAME -->` and `<!-- end -->`.
"""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from dispatchd.api.errors import STATUS
from dispatchd.config import RUN_OPTIONS, WORKER_OPTIONS, Option
from dispatchd.core import errors
from dispatchd.core.job import MOVES
from dispatchd.core.limits import Limits

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "ARCHITECTURE.md")
_PART = re.compile(r"(<!-- made: (?P<name>[a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def options_table(options: tuple[Option, ...]) -> str:
    """The flags of a command, with their variables and defaults."""
    rows = ["| flag | environment | default | |", "| --- | --- | --- | --- |"]
    for option in options:
        variables = ", ".join(f"`{name}`" for name in option.variables)
        default = option.shown_default or ("" if option.default is None else f"`{option.default}`")
        choices = f" ({', '.join(option.choices)})" if option.choices else ""
        again = " Repeatable." if option.repeatable else ""
        rows.append(
            f"| `{option.flag}` | {variables} | {default.replace('`False`', 'off')} |"
            f" {option.help}{choices}{again} |"
        )
    return "\n".join(rows)


def moves_diagram() -> str:
    """The states of a job and the moves between them."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> pending"]
    lines += [f"    {here} --> {there}" for here, to in MOVES.items() for there in sorted(to)]
    return "\n".join([*lines, "```"])


def errors_table() -> str:
    """Every error that a caller can act on, and its HTTP status."""
    rows = ["| error | code | status |", "| --- | --- | --- |"]
    for kind in errors.DispatchError.__subclasses__():
        if kind.__module__ == errors.__name__:
            rows.append(f"| `{kind.__name__}` | `{kind.code}` | {STATUS[kind.code]} |")
    return "\n".join(rows)


def limits_table() -> str:
    """Every limit and its default."""
    limits = Limits()
    rows = ["| limit | default |", "| --- | --- |"]
    rows += [f"| `{name}` | {getattr(limits, name):,} |" for name in limits.__struct_fields__]
    return "\n".join(rows)


def layers() -> str:
    """The order of imports, as pyproject.toml has it."""
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(r"layers = \[\n(.*?)\]", text, re.DOTALL)
    assert found, "no layers contract in pyproject.toml"
    names = re.findall(r'"([^"]+)"', found[1])
    return "\n".join(["```text", *(name.replace("dispatchd.", "") for name in names), "```"])


MAKERS: Mapping[str, Callable[[], str]] = {
    "run options": lambda: options_table(RUN_OPTIONS),
    "worker options": lambda: options_table(WORKER_OPTIONS),
    "moves": moves_diagram,
    "errors": errors_table,
    "limits": limits_table,
    "layers": layers,
}


def made(page: str) -> str:
    """A page with its generated parts as they should be."""
    return _PART.sub(lambda part: f"{part[1]}{MAKERS[part['name']]()}\n{part[3]}", page)


def main() -> int:
    """Writes the pages, or says which are out of date."""
    stale = [name for name in PAGES if made((ROOT / name).read_text()) != (ROOT / name).read_text()]
    if "--check" in sys.argv:
        for name in stale:
            print(f"{name} is out of date; run scripts/make_docs.py")
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).write_text(made((ROOT / name).read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
