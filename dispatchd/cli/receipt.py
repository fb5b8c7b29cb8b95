"""`dispatchd receipt`: what proves a result."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from dispatchd.cli.coordinator import ask, with_coordinator
from dispatchd.cli.given import read_text
from dispatchd.cli.terminal import say, say_bytes, say_facts, say_json
from dispatchd.core.receipt import Receipt
from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.errors import BadReply, InvalidRequest, VerificationFailed
from dispatchd.sdk.export import exported_chain
from dispatchd.sdk.proofs import Auditor, ProvenChain, ProvenResult
from dispatchd.sdk.result import JobReply
from dispatchd.sdk.verify import verify_texts

_FILE_MARKS = ("-", "@")
_KEY = r"[0-9a-fA-F]{64}"


@click.group()
def receipt() -> None:
    """Show, keep and check the receipts of jobs.

    Example: dispatchd receipt verify JOB_ID
    """


@receipt.command()
@click.argument("job_id")
@with_coordinator
def show(job_id: str, url: str, *, as_json: bool) -> None:
    """Show a job's receipt.

    Example: dispatchd receipt show JOB_ID
    """
    job = ask(url, lambda coordinator: coordinator.job(job_id))
    text = _receipt_text(job, job_id)
    if as_json:
        say(text)
    else:
        say_facts(json.loads(text))


@receipt.command()
@click.argument("job_ids", metavar="[JOB_ID]...", nargs=-1)
@click.option("--all", "whole", is_flag=True, help="The whole chain of receipts.")
@with_coordinator
def export(job_ids: tuple[str, ...], url: str, *, whole: bool, as_json: bool) -> None:  # noqa: ARG001 - it is JSON in any case
    """Print what proves the results of jobs: a bundle a line, or the whole chain.

    `receipt verify` checks it offline. Of PRIVATE jobs the chain holds hashes alone.

    Example: dispatchd receipt export JOB_ID > receipt.jsonl
    """
    if whole == bool(job_ids):
        raise click.UsageError("Give either JOB_ID or --all.")
    ask(url, _print_chain if whole else lambda coordinator: _print_bundles(coordinator, job_ids))


async def _print_chain(coordinator: CoordinatorClient) -> None:
    async for line in exported_chain(coordinator):
        say_bytes(line)


async def _print_bundles(coordinator: CoordinatorClient, job_ids: tuple[str, ...]) -> None:
    for job_id in job_ids:
        say_bytes(msgspec.json.encode(await coordinator.bundle(job_id)))


def _checked_key(_: click.Context, __: click.Parameter, key: str | None) -> str | None:
    if key is not None and not re.fullmatch(_KEY, key):
        raise click.BadParameter("A key is 64 hex characters")
    return key


@receipt.command()
@click.argument("job", metavar="JOB_ID|FILE|-|@FILE")
@click.option("--key", metavar="HEX", help="The worker's public key that must have signed.")
@click.option(
    "--coordinator-key",
    metavar="HEX",
    callback=_checked_key,
    help="Check a FILE of `receipt export` offline, against this coordinator's key.",
)
@with_coordinator
def verify(
    job: str, key: str | None, coordinator_key: str | None, url: str, *, as_json: bool
) -> None:
    """Check a job's receipt: the hash over its result, its job id and its signature.

    `@FILE` or stdin holds a job as `job get --json` prints it, and no coordinator is asked. With
    --coordinator-key, FILE or stdin holds what `receipt export` has printed, and all of it is
    checked: receipts, outputs, entries of the chain, and the signed root over them.

    Example: dispatchd receipt verify receipt.jsonl --coordinator-key HEX
    """
    if coordinator_key is not None:
        auditor = Auditor(coordinator_key, key)
        shown = [{"verified": True} | facts for facts in _proven(auditor, job)]
    else:
        shown = [{"verified": True} | _receipt_facts(_verified(job, key, url))]
    for facts in shown:
        (say_json if as_json else say_facts)(facts)


def _proven(auditor: Auditor, file: str) -> Iterator[dict[str, Any]]:
    """What a file proves, once all of it has been checked."""
    try:
        if file == "-":
            found = auditor.file(iter(sys.stdin.buffer))
        else:
            with Path(file.removeprefix("@")).open("rb") as lines:
                found = auditor.file(lines)
    except OSError as error:
        raise click.BadParameter(f"Cannot read {file}: {error.strerror}") from None
    if isinstance(found, ProvenChain):
        yield msgspec.to_builtins(found.root) | {"receipts": found.receipts}
        return
    for each in found:
        yield _receipt_facts(each.receipt) | _place_facts(each)


def _place_facts(proven: ProvenResult) -> dict[str, Any]:
    return {
        "sequence": proven.entry.sequence,
        "chained_at": proven.entry.completed_at,
        "size": proven.root.size,
        "root": proven.root.root,
    }


def _verified(job: str, key: str | None, url: str) -> Receipt:
    if job.startswith(_FILE_MARKS):
        job_id, reply = _saved(read_text(job))
    else:
        job_id, reply = job, ask(url, lambda coordinator: coordinator.job(job))
    return verify_texts(job_id, reply.result_text, _receipt_text(reply, job_id), key)


def _receipt_facts(found: Receipt) -> dict[str, Any]:
    return {
        "job_id": found.job_id,
        "provider_pubkey": found.provider_pubkey,
        "output_hash": found.output_hash,
        "completed_at": found.completed_at,
    }


def _saved(text: str) -> tuple[str, JobReply]:
    try:
        return str(json.loads(text)["id"]), JobReply.parse(text)
    except (ValueError, KeyError, TypeError, BadReply):
        hint = (
            "Save one with: dispatchd job get JOB_ID --json > job.json"
            " (what `receipt export` printed needs --coordinator-key)"
        )
        raise InvalidRequest("That is no job", hint=hint) from None


def _receipt_text(job: JobReply, job_id: str) -> str:
    if job.receipt_text is None:
        sentence = f"Job {job_id} has no receipt; its status is {job.status}"
        raise VerificationFailed(sentence, job_id=job_id)
    return job.receipt_text
