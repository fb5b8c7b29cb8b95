"""`dispatchd workers`: who works for a coordinator."""

import click

from dispatchd.cli.coordinator import ask, with_coordinator
from dispatchd.cli.terminal import say_json, say_table, tell

_NAMES = ("WORKER", "TYPE", "CAPABILITIES", "BUSY", "PROVEN", "DONE", "FAILED", "MODELS")


@click.command()
@with_coordinator
def workers(url: str, *, as_json: bool) -> None:
    """List the workers that are connected.

    Example: dispatchd workers --coordinator http://192.168.1.20:4010
    """
    answer = ask(url, lambda coordinator: coordinator.get("/v1/workers"))
    if as_json:
        say_json(answer)
        return
    cards = answer.get("workers", [])
    say_table(_NAMES, [_row(card) for card in cards])
    if not cards:
        tell("Nobody works there. One joins with: dispatchd worker --coordinator URL")


def _row(card: dict[str, object]) -> list[object]:
    record = card.get("record")
    record = record if isinstance(record, dict) else {}
    return [
        card.get("provider_pubkey"),
        card.get("provider_type"),
        card.get("capabilities"),
        f"{card.get('active_jobs', 0)}/{card.get('max_concurrent_jobs', '?')}",
        card.get("proven"),
        record.get("completed"),
        record.get("failed"),
        card.get("models"),
    ]
