"""`dispatchd job`: jobs that are under way or done."""

import json
from contextlib import aclosing
from typing import Any

import click

from dispatchd.cli.coordinator import ask, with_coordinator, with_timeout
from dispatchd.cli.live import LiveText, output_text
from dispatchd.cli.patience import within
from dispatchd.cli.terminal import json_text, say, say_facts, say_json, say_table, tell
from dispatchd.core.job import JobStatus
from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.follow import followed
from dispatchd.sdk.result import JobReply
from dispatchd.sdk.telling import Telling

_LIST_NAMES = ("JOB", "TYPE", "TIER", "STATUS", "USER", "CREATED")
_PAGE = 50


@click.group()
def job() -> None:
    """Look at jobs, wait for them, cancel them.

    Example: dispatchd job wait JOB_ID
    """


@job.command()
@click.argument("job_id")
@with_coordinator
def get(job_id: str, url: str, *, as_json: bool) -> None:
    """Show a job as it is now.

    Example: dispatchd job get JOB_ID
    """
    found = ask(url, lambda coordinator: coordinator.job(job_id))
    if as_json:
        say(found.text)
    else:
        say_facts(_facts(found))


@job.command()
@click.argument("job_id")
@with_timeout
@with_coordinator
def wait(job_id: str, timeout: float | None, url: str, *, as_json: bool) -> None:
    """Wait until a job has ended, and print its result.

    Example: dispatchd job wait JOB_ID --timeout 60
    """
    found = ask(url, lambda coordinator: within(timeout, coordinator.wait(job_id), job_id, url))
    show_end(found, job_id, as_json=as_json)


@job.command()
@click.argument("job_id")
@with_timeout
@with_coordinator
def watch(job_id: str, timeout: float | None, url: str, *, as_json: bool) -> None:
    """Print a job's text while it is generated; with --json, its events.

    Example: dispatchd job watch JOB_ID
    """
    see = _print_events if as_json else _watch
    ask(url, lambda coordinator: within(timeout, see(coordinator, job_id), job_id, url))


@job.command()
@click.argument("job_id")
@with_coordinator
def cancel(job_id: str, url: str, *, as_json: bool) -> None:
    """Cancel a job, even in the middle of its text.

    Example: dispatchd job cancel JOB_ID
    """
    found = ask(url, lambda coordinator: coordinator.cancel(job_id))
    say(found.text if as_json else "cancelled")


@job.command()
@click.argument("job_id")
@with_coordinator
def explain(job_id: str, url: str, *, as_json: bool) -> None:
    """Say why a job waits: for each worker what keeps it from the job.

    Example: dispatchd job explain JOB_ID
    """
    answer = ask(url, lambda coordinator: coordinator.explain(job_id))
    if as_json:
        say_json(answer)
        return
    say_facts({name: answer.get(name) for name in ("job_id", "status", "verdict")})
    workers = answer.get("workers") or []
    if workers:
        rows = [[one.get("provider_pubkey"), _verdict(one)] for one in workers]
        say_table(("WORKER", "EXCLUDED BY"), rows)
    else:
        tell("No worker is connected. One joins with: dispatchd worker --coordinator URL")


@job.command("list")
@click.option("--user-id", metavar="NAME", help="Only this user's.")
@click.option("--status", type=click.Choice([one.value for one in JobStatus]), help="Only those.")
@click.option("--after", metavar="PLACE", help="Go on from there (`next` of the page before).")
@click.option("--limit", type=click.IntRange(1), default=_PAGE, show_default=True)
@with_coordinator
def list_jobs(url: str, *, as_json: bool, **filters: Any) -> None:
    """List PUBLIC jobs, newest first.

    Example: dispatchd job list --status failed
    """
    params = {name: str(value) for name, value in filters.items() if value is not None}
    answer = ask(url, lambda coordinator: coordinator.get("/v1/jobs", params))
    if as_json:
        say_json(answer)
        return
    names = ("id", "job_type", "tier", "status", "user_id", "created_at")
    say_table(_LIST_NAMES, [[one.get(name) for name in names] for one in answer["jobs"]])
    if answer.get("next"):
        tell(f"There are more: --after {answer['next']}")


def show_end(found: JobReply, job_id: str, *, as_json: bool) -> None:
    """Prints what came of a job; raises `JobFailed`."""
    if as_json:
        say(found.text)
    if failure := found.failure(job_id):
        raise failure
    if not as_json:
        say(output_text(found.output))


async def _watch(coordinator: CoordinatorClient, job_id: str) -> None:
    telling = Telling()
    with LiveText(telling) as live:
        async with aclosing(followed(coordinator, job_id, telling)) as pieces:
            await live.show(pieces)
        found = await coordinator.wait(job_id)
        if failure := found.failure(job_id):
            raise failure
        live.finish(found.output)


async def _print_events(coordinator: CoordinatorClient, job_id: str) -> None:
    async with aclosing(coordinator.events(job_id)) as events:
        async for event in events:
            if event.kind != "done":
                say(f'{{"event":{json_text(event.kind)},"data":{event.data}}}')
    found = await coordinator.wait(job_id)
    say(f'{{"event":"done","data":{found.line}}}')
    if failure := found.failure(job_id):
        raise failure


def _verdict(worker: dict[str, object]) -> str:
    rule = worker.get("excluded_by")
    if rule == "suspended" and worker.get("suspended_until"):
        failures = worker.get("failures")
        return f"suspended until {worker['suspended_until']}, after {failures} failures"
    return str(rule or "may take it")


def _facts(found: JobReply) -> dict[str, object]:
    body = json.loads(found.text)
    receipt = found.receipt or {}
    payment = found.payment
    return {
        "job": body.get("id"),
        "status": found.status,
        "created": body.get("created_at"),
        "completed": body.get("completed_at"),
        "result": None if body.get("result") is None else found.result_text,
        "payment": payment and payment.state,
        "transaction": payment and payment.transaction,
        "signed by": receipt.get("provider_pubkey"),
    }
