"""The `dispatchd` command; each noun has a small file of its own, read only when it is used."""

import importlib
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from dispatchd import __version__, garbage
from dispatchd.cli.terminal import complain
from dispatchd.core.errors import Unusable
from dispatchd.sdk.errors import (
    ComputeError,
    Conflict,
    JobFailed,
    JobTimeout,
    NetworkFailed,
    PaymentError,
    VerificationFailed,
)

USAGE_EXIT = 2
INTERRUPTED_EXIT = 130
EXITS: Mapping[type[ComputeError], int] = MappingProxyType(
    {
        PaymentError: 4,
        JobFailed: 1,
        Conflict: 1,
        NetworkFailed: 3,
        VerificationFailed: 5,
        JobTimeout: 6,
        ComputeError: USAGE_EXIT,
    }
)
"""The first kind that an error is of says with which code a command ends."""

# The sentences stand here too, so that `--help` need not read the commands.
COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "run": (
            "run:run",
            "Run a node: coordinator, job store, scheduler and a worker of its own.",
        ),
        "worker": (
            "worker:worker",
            "Work for a coordinator on another machine; it may be started later.",
        ),
        "submit": ("submit:submit", "Submit jobs and show their results."),
        "job": ("job:job", "Look at jobs, wait for them, cancel them."),
        "status": ("status:status", "Show the network at a glance, once or live."),
        "doctor": ("doctor:doctor", "Find out what is wrong here, and what to do about it."),
        "quote": ("quote:quote", "Ask what a job costs."),
        "workers": ("workers:workers", "List the workers that are connected."),
        "trust": ("trust:trust", "Pair users with the workers that may see their PRIVATE jobs."),
        "keys": ("keys:keys", "API keys, with which users show who they are."),
        "wallet": ("wallet:wallet", "Development wallets, and simulated money for them."),
        "pay": ("pay:pay", "Send a request to any x402 server, and pay for it once."),
        "receipt": ("receipt:receipt", "Show, keep and check the receipts of jobs."),
        "store": (
            "store:store",
            "Move a job store to a shared database, and look whether one is whole.",
        ),
        "models": ("models:models", "Language models and classifiers of this machine."),
        "completion": ("completion:completion", "Print what makes a shell complete commands."),
    }
)


class _Commands(click.Group):
    """Loads commands when they are asked for; what goes wrong is one sentence on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"dispatchd.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [
            CompletionItem(name, help=sentence)
            for name, (_, sentence) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        garbage.let_be()
        try:
            named = {"prog_name": "dispatchd"} | kwargs  # completion goes by this name
            code = super().main(*args, **(named | {"standalone_mode": False}))
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(USAGE_EXIT)
        except click.ClickException as error:
            _fail(error.format_message(), error.exit_code)
        except Unusable as error:
            _fail(str(error), USAGE_EXIT)
        except ComputeError as error:
            _fail(_with_hint(error), _exit_of(error))
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED_EXIT)
        sys.exit(code if isinstance(code, int) else 0)


def _exit_of(error: ComputeError) -> int:
    return next(code for kind, code in EXITS.items() if isinstance(error, kind))


def _with_hint(error: ComputeError) -> str:
    sentence = str(error)
    return f"{sentence.rstrip('.')}. {error.hint}" if error.hint else sentence


def _fail(sentence: str, code: int) -> NoReturn:
    complain(" ".join(sentence.split()))
    sys.exit(code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dispatchd")
@click.option("--no-color", envvar="NO_COLOR", hidden=True, default="", help="No colours.")
@click.pass_context
def main(ctx: click.Context, no_color: str) -> None:
    """The node of the Dispatch compute network, and its client.

    Example: dispatchd run --testnet
    """
    if no_color:
        ctx.color = False
