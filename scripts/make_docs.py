"""Writes the generated parts of README.md and ARCHITECTURE.md; `--check` only compares.

A part stands between `<!-- made: NAME -->` and `<!-- end -->`.
"""

import ast
import inspect
import itertools
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from dispatchd.api.errors import STATUS
from dispatchd.config.options import DOCTOR_OPTIONS, RUN_OPTIONS, WORKER_OPTIONS, Option
from dispatchd.core import errors
from dispatchd.core.job import MOVES
from dispatchd.core.limits import Limits
from dispatchd.metrics.metrics import Metrics

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
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> pending", "    [*] --> assigned"]
    lines += [f"    {here} --> {there}" for here, to in MOVES.items() for there in sorted(to)]
    return "\n".join([*lines, "```"])


def errors_table() -> str:
    """Every error that a caller can act on, and its HTTP status."""
    rows = ["| error | code | status |", "| --- | --- | --- |"]
    kinds = errors.DispatchError.__subclasses__()
    rows += [f"| `{kind.__name__}` | `{kind.code}` | {STATUS[kind.code]} |" for kind in kinds]
    return "\n".join(rows)


def limits_table() -> str:
    """Every limit, its default, and the sentence that stands below it in the source."""
    (struct,) = ast.parse(inspect.getsource(Limits)).body
    assert isinstance(struct, ast.ClassDef)
    rows = ["| limit | default | |", "| --- | --- | --- |"]
    for field, text in itertools.pairwise(struct.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            name = ast.unparse(field.target)
            sentence = " ".join(ast.literal_eval(text.value).split())
            rows.append(f"| `{name}` | {getattr(Limits(), name):,.10g} | {sentence} |")
    assert len(rows) == 2 + len(Limits.__struct_fields__), "a limit has no sentence"
    return "\n".join(rows)


def metrics_table() -> str:
    """What `/metrics` shows, as a node's registry says it."""
    rows = ["| metric | type | |", "| --- | --- | --- |"]
    for family in sorted(Metrics().families(), key=lambda each: each.name):
        if not family.name.startswith("dispatchd_process_"):
            name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
            rows.append(f"| `{name}` | {family.type} | {family.documentation} |")
    return "\n".join(rows)


def layers() -> str:
    """The order of imports, as pyproject.toml has it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (each for each in settings["contracts"] if each["type"] == "layers")
    names = [layer.replace("(", "").replace(")", "") for layer in contract["layers"]]
    return "\n".join(["```text", *names, "```"])


MAKERS: Mapping[str, Callable[[], str]] = {
    "run options": lambda: options_table(RUN_OPTIONS),
    "worker options": lambda: options_table(WORKER_OPTIONS),
    "doctor options": lambda: options_table(DOCTOR_OPTIONS),
    "moves": moves_diagram,
    "errors": errors_table,
    "limits": limits_table,
    "metrics": metrics_table,
    "layers": layers,
}


def made(page: str) -> str:
    """A page with its generated parts as they should be."""
    return _PART.sub(lambda part: f"{part[1]}{MAKERS[part['name']]()}\n{part[3]}", page)


def main() -> int:
    """Writes the pages, or says which are out of date."""
    pages = {ROOT / name: (ROOT / name).read_text() for name in PAGES}
    stale = {path: made(text) for path, text in pages.items() if made(text) != text}
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.name} is out of date; run scripts/make_docs.py")
        return 1 if stale else 0
    for path, text in stale.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
