"""`dispatchd status`: the network at a glance, as the live page shows it."""

import asyncio
import sys
from datetime import datetime
from typing import Any

import click

from dispatchd.cli.coordinator import ask, with_coordinator
from dispatchd.cli.terminal import say, say_json, say_table
from dispatchd.core.job import JobType
from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.errors import NotFound

_LOOK_SECONDS = 1.0
_WORKERS = ("WORKER", "TYPE", "CAPABILITIES", "BUSY", "DONE", "DEVICE", "MODELS")
_JOBS = ("JOB", "TYPE", "TIER", "STATUS", "USER", "TOOK")
_ROWS = 8
_MINUTES = 15
_BARS = " ▁▂▃▄▅▆▇█"
_ENDS = frozenset({"completed", "failed"})


@click.command()
@click.option("--watch", is_flag=True, help="Show it again every second, until interrupted.")
@with_coordinator
def status(url: str, *, watch: bool, as_json: bool) -> None:
    """Show the network at a glance: jobs, workers, the last fifteen minutes.

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
    if live and sys.stdout.isatty():
        click.clear()
    now = _moment(found["timestamp"])
    say(f"dispatchd {found['version']} on {found['network']}, {url}")
    say(f"payments {found['payments']}, counted since {found['started_at']}")
    say("")
    say(_numbers(found["now"]))
    say("")
    say(f"completed a minute  {_bars(found['series'], now)}  last {_MINUTES} minutes")
    say(f"median time         {_medians(found['series'])}")
    say("")
    say_table(_WORKERS, [_worker(one) for one in found["workers"][:_ROWS]])
    _say_rest(found["now"]["workers_online"] - _ROWS, "workers")
    say("")
    say_table(_JOBS, [_job(one, now) for one in found["jobs"][:_ROWS]])


def _numbers(now: dict[str, Any]) -> str:
    shown = {
        "waiting": now["waiting"],
        "running": now["running"],
        "workers": now["workers_online"],
        "completed": now["completed"],
        "failed": now["failed"],
        "last minute": now["completed_in_last_minute"],
    }
    return "   ".join(f"{name} {count:,}" for name, count in shown.items())


def _bars(series: list[dict[str, Any]], now: float) -> str:
    """A bar for each of the last minutes, the present one last."""
    counts = [0] * _MINUTES
    for bucket in series:
        age = int(now // 60 - bucket["at"] // 60)
        if 0 <= age < _MINUTES:
            counts[-1 - age] += _completed(bucket)
    most = max(counts) or 1
    top = len(_BARS) - 1
    return "".join(_BARS[-(-count * top // most)] for count in counts) + f"  most {most:,}"


def _completed(bucket: dict[str, Any]) -> int:
    return sum(share["completed"] for share in bucket["completed"].values())


def _medians(series: list[dict[str, Any]]) -> str:
    """Of the latest five seconds in which such a job completed."""
    found = []
    for kind in JobType:
        shares = [bucket["completed"][kind] for bucket in series if kind in bucket["completed"]]
        found.append(f"{kind} {_span(shares[-1]['p50'])}" if shares else f"{kind} -")
    return "   ".join(found)


def _worker(one: dict[str, Any]) -> list[object]:
    return [
        one["provider_pubkey"][:16],
        one["provider_type"],
        one["capabilities"],
        f"{one['active_jobs']}/{one['max_concurrent_jobs']}",
        one["record"]["completed"],
        one["device"],
        one["models"],
    ]


def _job(one: dict[str, Any], now: float) -> list[object]:
    ends = [step["at"] for step in one["steps"] if step["event"] in _ENDS]
    until = _moment(ends[-1]) if ends and ends[-1] else now
    names = ("id", "job_type", "tier", "status", "user_id")
    return [*(one[name] for name in names), _span(until - _moment(one["created_at"]))]


def _say_rest(more: int, what: str) -> None:
    if more > 0:
        say(f"and {more:,} more {what}")


def _moment(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def _span(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
