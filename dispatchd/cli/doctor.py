"""`dispatchd doctor`: what is wrong here, and what to do about it."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import click
import msgspec

from dispatchd import __version__
from dispatchd.cli.coordinator import with_json
from dispatchd.cli.options import with_options
from dispatchd.cli.terminal import say, say_json
from dispatchd.config.options import DOCTOR_OPTIONS
from dispatchd.config.parse import doctor_config
from dispatchd.doctor import Finding, State
from dispatchd.doctor.checks import checks_for
from dispatchd.doctor.examine import examine

_COLOURS: Mapping[State, str] = MappingProxyType(
    {"ok": "green", "warning": "yellow", "failure": "red"}
)
_STATE_WIDTH, _NAME_WIDTH = 9, 24


@click.command()
@with_options(DOCTOR_OPTIONS)
@with_json
@click.pass_context
def doctor(ctx: click.Context, /, *, as_json: bool, **values: Any) -> None:
    """Find out what is wrong here, and what to do about it.

    It looks at this machine, at what a node would use, and at the way of a job. Without
    --coordinator the job is done by a node that is started for it and leaves nothing behind. The
    exit code is 1 where something failed.

    Example: dispatchd doctor --coordinator http://192.168.1.20:4010
    """
    config = doctor_config(values)
    logging.getLogger().addHandler(logging.NullHandler())  # each finding says what is wrong
    found: list[dict[str, object]] = []
    for check in checks_for(config):
        finding = examine(check)
        found.append({"check": check.name} | msgspec.structs.asdict(finding))
        if not as_json:
            _show(check.name, finding)
    failures = sum(each["state"] == "failure" for each in found)
    if as_json:
        say_json({"version": __version__, "failures": failures, "checks": found})
    ctx.exit(1 if failures else 0)


def _show(name: str, finding: Finding) -> None:
    state = finding.state.ljust(_STATE_WIDTH)
    click.echo(click.style(state, fg=_COLOURS[finding.state]), nl=False)
    say(f"{name.ljust(_NAME_WIDTH)} {_one_line(finding.sentence)}")
    if finding.remedy:
        say(f"{' ' * (_STATE_WIDTH + _NAME_WIDTH)} → {_one_line(finding.remedy)}")


def _one_line(text: str) -> str:
    return " ".join(text.split())
