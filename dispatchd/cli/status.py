"""`dispatchd status`: the network at a glance, as the live page shows it."""

import asyncio
import sys
from datetime import datetime
from typing import Any

import click
import msgspec
from msgspec import Struct

from dispatchd.cli.coordinator import ask, with_coordinator
from dispatchd.cli.terminal import say, say_json, say_table
from dispatchd.core.job import JobType
from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.errors import BadReply, NotFound

_LOOK_SECONDS = 1.0
_WORKERS = ("WORKER", "TYPE", "CAPABILITIES", "BUSY", "DONE", "DEVICE", "MODELS")
_JOBS = ("JOB", "TYPE", "TIER", "STATUS", "USER", "TOOK")
_ROWS = 8
_MINUTES = 15
_BARS = " ▁▂▃▄▅▆▇█"
_ENDS = frozenset({"completed", "failed"})


class _Share(Struct, frozen=True):
    completed: int
    p50: float


class _Bucket(Struct, frozen=True):
    at: int
    completed: dict[JobType, _Share]


class _Numbers(Struct, frozen=True):
    waiting: int
    running: int
    workers_online: int
    completed: int
    failed: int
    completed_in_last_minute: int


class _Worker(Struct, frozen=True):
    provider_pubkey: str
    provider_type: str
    capabilities: list[str]
    active_jobs: int
    max_concurrent_jobs: int
    record: dict[str, int]
    models: list[str]
    device: str | None = None


class _Step(Struct, frozen=True):
    event: str
    at: datetime | None


class _Job(Struct, frozen=True):
    id: str
    job_type: str
    tier: str
    status: str
    user_id: str
    created_at: datetime
    steps: list[_Step]


class _Glance(Struct, frozen=True):
    """What is shown of `GET /v1/network`."""

    version: str
    network: str
    payments: str
    started_at: str
    timestamp: datetime
    now: _Numbers
    series: list[_Bucket]
    workers: list[_Worker]
    jobs: list[_Job]


@click.command()
@click.option("--watch", is_flag=True, help="Show it again every second, until interrupted.")
@with_coordinator
def status(url: str, *, watch: bool, as_json: bool) -> None:
    """Show the network at a glance, once or live.

    Jobs, workers and the last fifteen minutes.

    Example: dispatchd status --watch
    """

    async def show(coordinator: CoordinatorClient) -> None:
        while True:
            _show(await _glance(coordinator), url, live=watch, as_json=as_json)
            if not watch:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    ask(url, show)


async def _glance(coordinator: CoordinatorClient) -> dict[str, Any]:
    try:
        return await coordinator.get("/v1/network")
    except NotFound:
        raise NotFound(
            "This coordinator does not show its network", hint="`dispatchd workers` may work there"
        ) from None


def _show(found: dict[str, Any], url: str, *, live: bool, as_json: bool) -> None:
    if as_json:
        say_json(found)
        return
    try:
        glance = msgspec.convert(found, _Glance)
    except msgspec.ValidationError as error:
        raise BadReply(f"The coordinator does not show its network as ours do: {error}") from None
    if live and sys.stdout.isatty():
        click.clear()
    now = glance.timestamp.timestamp()
    say(f"dispatchd {glance.version} on {glance.network}, {url}")
    say(f"payments {glance.payments}, counted since {glance.started_at}")
    say("")
    say(_numbers(glance.now))
    say("")
    say(f"completed a minute  {_bars(glance.series, now)}  last {_MINUTES} minutes")
    say(f"median time         {_medians(glance.series)}")
    say("")
    say_table(_WORKERS, [_worker(one) for one in glance.workers[:_ROWS]])
    _say_rest(glance.now.workers_online - _ROWS, "workers")
    say("")
    say_table(_JOBS, [_job(one, now) for one in glance.jobs[:_ROWS]])


def _numbers(now: _Numbers) -> str:
    shown = {
        "waiting": now.waiting,
        "running": now.running,
        "workers": now.workers_online,
        "completed": now.completed,
        "failed": now.failed,
        "last minute": now.completed_in_last_minute,
    }
    return "   ".join(f"{name} {count:,}" for name, count in shown.items())


def _bars(series: list[_Bucket], now: float) -> str:
    """A bar for each of the last minutes, the present one last."""
    counts = [0] * _MINUTES
    for bucket in series:
        age = int(now // 60 - bucket.at // 60)
        if 0 <= age < _MINUTES:
            counts[-1 - age] += _completed(bucket)
    most = max(counts) or 1
    top = len(_BARS) - 1
    return "".join(_BARS[-(-count * top // most)] for count in counts) + f"  most {most:,}"


def _completed(bucket: _Bucket) -> int:
    return sum(share.completed for share in bucket.completed.values())


def _medians(series: list[_Bucket]) -> str:
    """Of the latest five seconds in which such a job completed."""
    found = []
    for kind in JobType:
        shares = [bucket.completed[kind] for bucket in series if kind in bucket.completed]
        found.append(f"{kind} {_span(shares[-1].p50)}" if shares else f"{kind} -")
    return "   ".join(found)


def _worker(one: _Worker) -> list[object]:
    return [
        one.provider_pubkey[:16],
        one.provider_type,
        one.capabilities,
        f"{one.active_jobs}/{one.max_concurrent_jobs}",
        one.record.get("completed"),
        one.device,
        one.models,
    ]


def _job(one: _Job, now: float) -> list[object]:
    ends = [step.at for step in one.steps if step.event in _ENDS]
    until = ends[-1].timestamp() if ends and ends[-1] else now
    took = _span(until - one.created_at.timestamp())
    return [one.id, one.job_type, one.tier, one.status, one.user_id, took]


def _say_rest(more: int, what: str) -> None:
    if more > 0:
        say(f"and {more:,} more {what}")


def _span(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
