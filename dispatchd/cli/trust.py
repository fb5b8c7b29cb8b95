"""`dispatchd trust`: which workers may see a user's PRIVATE jobs."""

import click

from dispatchd.cli.coordinator import ask, with_coordinator
from dispatchd.cli.terminal import say_facts, say_json, say_table, tell


@click.group()
def trust() -> None:
    """Pair users with the workers that may see their PRIVATE jobs.

    Example: dispatchd trust create alice
    """


@trust.command()
@click.argument("user_id")
@with_coordinator
def create(user_id: str, url: str, *, as_json: bool) -> None:
    """Make a pairing code, for the owner of a worker that you trust.

    Example: dispatchd trust create alice
    """
    answer = ask(url, lambda coordinator: coordinator.create_code(user_id))
    if as_json:
        say_json(answer)
        return
    say_facts(answer)
    tell(f"The worker's owner starts it with: --trust-code {answer.get('pairing_code')}")


@trust.command()
@click.argument("pairing_code")
@click.argument("provider_pubkey")
@with_coordinator
def claim(pairing_code: str, provider_pubkey: str, url: str, *, as_json: bool) -> None:
    """Claim a pairing code for a worker's public key.

    Example: dispatchd trust claim A3F2B1 96956bc4cfe04565…
    """
    answer = ask(url, lambda coordinator: coordinator.claim_code(pairing_code, provider_pubkey))
    (say_json if as_json else say_facts)(answer)


@trust.command("list")
@click.argument("user_id")
@with_coordinator
def list_pairings(user_id: str, url: str, *, as_json: bool) -> None:
    """List the workers that a user is paired with.

    Example: dispatchd trust list alice
    """
    params = {"user_id": user_id}
    answer = ask(url, lambda coordinator: coordinator.get("/v1/trust/list", params))
    if as_json:
        say_json(answer)
        return
    rows = [[one.get("provider_pubkey"), one.get("paired_at")] for one in answer["providers"]]
    say_table(("WORKER", "PAIRED"), rows)


@trust.command()
@click.argument("user_id")
@click.argument("provider_pubkey")
@with_coordinator
def remove(user_id: str, provider_pubkey: str, url: str, *, as_json: bool) -> None:
    """End a user's trust in a worker; it gets no other PRIVATE job of that user.

    Example: dispatchd trust remove alice 96956bc4cfe04565…
    """
    answer = ask(url, lambda coordinator: coordinator.unpair(user_id, provider_pubkey))
    (say_json if as_json else say_facts)(answer)
