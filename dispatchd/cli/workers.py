"""`dispatchd workers`: who works for a coordinator, and how well."""

from typing import Any

import click

from dispatchd.cli.coordinator import ask, with_coordinator
from dispatchd.cli.terminal import say_json, say_table, tell

_CARD = ("WORKER", "TYPE", "CAPABILITIES", "BUSY", "PROVEN", "STANDING")
_COUNTS = {
    "DONE": "completed",
    "FAILED": "failed",
    "LATE": "timed_out",
    "LOST": "lost",
    "REJECTED": "rejected",
    "BAD RECEIPTS": "bad_receipts",
}
_NAMES = (*_CARD, *_COUNTS, "CANARIES", "DEVICE", "MODELS")
_PAGE = 50


@click.command()
@click.option("--all", "everyone", is_flag=True, help="Also those that are not connected.")
@click.option("--after", metavar="WORKER", help="With --all: go on behind this worker.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=_PAGE,
    show_default=True,
    help="With --all: how many to show.",
)
@with_coordinator
def workers(url: str, after: str | None, limit: int, *, everyone: bool, as_json: bool) -> None:
    """List the workers that are connected.

    Example: dispatchd workers --coordinator http://192.168.1.20:4010
    """
    params = {"all": "true", "limit": str(limit)} if everyone else {}
    params |= {"after": after} if everyone and after else {}
    answer = ask(url, lambda coordinator: coordinator.get("/v1/workers", params))
    if as_json:
        say_json(answer)
        return
    found = answer.get("workers", [])
    say_table(_NAMES, [_row(worker) for worker in found])
    if not found and not everyone:
        tell("Nobody works there. One joins with: dispatchd worker --coordinator URL")
    if answer.get("next"):
        tell(f"There are more: --all --after {answer['next']}")


def _row(worker: dict[str, Any]) -> list[object]:
    record = worker.get("record")
    record = record if isinstance(record, dict) else {}
    return [
        worker.get("provider_pubkey"),
        worker.get("provider_type"),
        worker.get("capabilities"),
        _load(worker),
        worker.get("proven"),
        _standing(worker),
        *(record.get(name) for name in _COUNTS.values()),
        _canaries(record),
        worker.get("device"),
        worker.get("models"),
    ]


def _load(worker: dict[str, Any]) -> str:
    if worker.get("online") is False:
        return "offline"
    return f"{worker.get('active_jobs', 0)}/{worker.get('max_concurrent_jobs', '?')}"


def _standing(worker: dict[str, Any]) -> object:
    until = worker.get("suspended_until")
    return f"suspended until {until}" if until else worker.get("standing")


def _canaries(record: dict[str, Any]) -> str | None:
    """Those that were passed, of all."""
    passed, failed = record.get("canaries_passed"), record.get("canaries_failed")
    if not isinstance(passed, int) or not isinstance(failed, int) or not passed + failed:
        return None
    return f"{passed}/{passed + failed}"
