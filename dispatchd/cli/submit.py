"""`dispatchd submit`: from a text to its result."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from msgspec import Struct

from dispatchd.cli.batch import run_batch
from dispatchd.cli.coordinator import Command, ask, with_coordinator, with_timeout
from dispatchd.cli.given import given_object, given_text
from dispatchd.cli.job import show_end
from dispatchd.cli.live import LiveText
from dispatchd.cli.patience import within
from dispatchd.cli.payer import opened_wallet, paid_note, with_payer
from dispatchd.cli.quote import POLICIES
from dispatchd.cli.terminal import say, say_json, tell
from dispatchd.core.job import Privacy
from dispatchd.core.limits import SUMMARY_CHARS_MAX, SUMMARY_CHARS_MIN
from dispatchd.sdk import Payer
from dispatchd.sdk.batch import Defaults, read_orders
from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.errand import Errand
from dispatchd.sdk.errors import JobTimeout
from dispatchd.sdk.follow import followed
from dispatchd.sdk.order import Order
from dispatchd.sdk.router import LLM_SECONDS, TASK_SECONDS
from dispatchd.sdk.telling import Telling

_TASKS = ("summarize", "classify", "extract_json")
_OPTIONS_OF_TASKS = {"max_length": "summarize", "mode": "summarize", "schema": "extract_json"}
_COMMON = (
    click.option(
        "--user-id",
        envvar="DISPATCHD_USER_ID",
        default="local",
        show_default=True,
        show_envvar=True,
        metavar="NAME",
        help="Whose jobs these are.",
    ),
    click.option(
        "--policy",
        type=click.Choice(POLICIES, case_sensitive=False),
        default="AUTO",
        show_default=True,
        help="FAST and dearer, or CHEAP.",
    ),
    click.option("--private", is_flag=True, help="Only for workers that the user is paired with."),
)
_DETACH = click.option("--no-wait", is_flag=True, help="Print the job's id and end.")


def _with_common(command: Command) -> Command:
    for option in reversed(_COMMON):
        command = option(command)
    return with_payer(with_timeout(with_coordinator(command)))


@click.group(invoke_without_command=True)
@click.option(
    "--batch",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Jobs, a JSON object a line: a commit's body or its payload; - for stdin.",
)
@click.option(
    "--parallel", type=click.IntRange(1, 1000), default=8, show_default=True, help="Jobs at once."
)
@_with_common
@click.pass_context
def submit(ctx: click.Context, /, batch: Path | None, parallel: int, **given: Any) -> None:
    """Submit jobs and show their results.

    With --batch, stdout gets each job's JSON, in the order of the file.

    Example: dispatchd submit --batch jobs.jsonl > results.jsonl
    """
    if ctx.invoked_subcommand is not None:
        _refuse_options(ctx)
        return
    if batch is None:
        raise click.UsageError("Give llm, task or --batch FILE; see --help.", ctx)
    with click.open_file(str(batch), encoding="utf-8") as file:
        text = file.read()
    defaults = Defaults(given["user_id"], given["policy"], _privacy(private=given["private"]))
    orders = read_orders(text, defaults)
    payer, seconds = opened_wallet(given), given["timeout"]
    ctx.exit(ask(given["url"], lambda c: run_batch(c, orders, payer, parallel, seconds)))


@submit.command()
@click.argument("text", callback=given_text, metavar="TEXT|-|@FILE")
@click.option("--max-tokens", type=click.IntRange(1), help="Length of the answer at most.")
@click.option("--model", help="Only workers that have this model.")
@click.option("--system", callback=given_text, metavar="TEXT", help="What the model is told first.")
@click.option("--temperature", type=click.FloatRange(0), help="0, the default, is greedy.")
@click.option("--top-p", type=click.FloatRange(0, 1))
@click.option("--top-k", type=click.IntRange(0))
@click.option("--seed", type=int, help="The same seed draws the same text.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text. Repeatable.")
@_DETACH
@_with_common
def llm(
    text: str, url: str, *, no_wait: bool, as_json: bool, timeout: float | None, **given: Any
) -> None:
    """Generate a text.

    Example: dispatchd submit llm "What is a blockchain?" --max-tokens 64
    """
    names = ("max_tokens", "model", "system", "temperature", "top_p", "top_k", "seed")
    fields = {name: given[name] for name in names} | {"stop": list(given["stop"]) or None}
    privacy = _privacy(private=given["private"])
    order = Order.llm(fields | {"prompt": text}, given["user_id"], given["policy"], privacy)
    wanted = _Wanted(order, url, opened_wallet(given), timeout or LLM_SECONDS)
    _submit(wanted, no_wait=no_wait, as_json=as_json)


@submit.command()
@click.argument("kind", type=click.Choice(_TASKS))
@click.argument("text", callback=given_text, metavar="TEXT|-|@FILE")
@click.option(
    "--max-length",
    type=click.IntRange(SUMMARY_CHARS_MIN, SUMMARY_CHARS_MAX),
    metavar="CHARS",
    help="summarize: length at most, 200 without it.",
)
@click.option(
    "--mode",
    type=click.Choice(("extractive", "abstractive")),
    help="summarize: sentences of the text, or a language model's own.",
)
@click.option(
    "--schema",
    callback=given_object,
    metavar="JSON|-|@FILE",
    help="extract_json: a JSON Schema, filled in from prose by a language model.",
)
@_DETACH
@_with_common
def task(
    kind: str,
    text: str,
    url: str,
    *,
    no_wait: bool,
    as_json: bool,
    timeout: float | None,
    **given: Any,
) -> None:
    """Summarize a text, classify it or extract the JSON in it.

    Example: dispatchd submit task summarize @report.txt --max-length 500
    """
    for name, its_kind in _OPTIONS_OF_TASKS.items():
        if given[name] is not None and kind != its_kind:
            raise click.UsageError(f"--{name.replace('_', '-')} is for {its_kind}.")
    fields = {name: given[name] for name in _OPTIONS_OF_TASKS} | {"task_type": kind, "input": text}
    privacy = _privacy(private=given["private"])
    order = Order.task(fields, given["user_id"], given["policy"], privacy)
    wanted = _Wanted(order, url, opened_wallet(given), timeout or TASK_SECONDS)
    _submit(wanted, no_wait=no_wait, as_json=as_json)


class _Wanted(Struct, frozen=True):
    """What is to be done, where, who pays, and how long it may take."""

    order: Order
    url: str
    payer: Payer | None
    seconds: float


def _submit(wanted: _Wanted, *, no_wait: bool, as_json: bool) -> None:
    async def submitted(coordinator: CoordinatorClient) -> None:
        errand = Errand(coordinator, wanted.order, wanted.payer)
        see = _commit if no_wait else _finish
        work = see(coordinator, errand, as_json=as_json)
        try:
            await within(wanted.seconds, work, lambda: errand.job_id, wanted.url)
        except (JobTimeout, asyncio.CancelledError):
            if errand.money_is_out and errand.job_id is None:
                tell("A payment was sent, and may be taken still; paying again may pay twice.")
            raise

    ask(wanted.url, submitted)


async def _commit(_: CoordinatorClient, errand: Errand, *, as_json: bool) -> None:
    job_id = await errand.commit()
    if as_json:
        say_json({"job_id": job_id})
    else:
        say(job_id)


async def _finish(coordinator: CoordinatorClient, errand: Errand, *, as_json: bool) -> None:
    """Shows the result, and its text while it grows."""
    job_id = await errand.commit()
    if as_json or not errand.tells_text:
        job = await errand.wait()
        show_end(job, job_id, as_json=as_json)
        if note := paid_note(job, errand.payment):
            tell(note)
        return
    telling = Telling()
    with LiveText(telling) as live:
        async with aclosing(followed(coordinator, job_id, telling)) as pieces:
            await live.show(pieces)
        job = await errand.wait()
        result = errand.result(job_id, job)
        live.finish(result.output)
    cost = paid_note(job, errand.payment) or result.price
    tell(f"job {job_id}, {cost}, {result.latency_ms} ms")


def _privacy(*, private: bool) -> str:
    return (Privacy.PRIVATE if private else Privacy.PUBLIC).value


def _refuse_options(ctx: click.Context) -> None:
    """Options before `llm` or `task` would be another command's, and be lost."""
    for name in ctx.params:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            sub = ctx.invoked_subcommand
            raise click.UsageError(f"Options go behind {sub}: dispatchd submit {sub} … --option")
