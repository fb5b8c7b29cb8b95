"""`dispatchd receipt`: what proves a result."""

import json

import click

from dispatchd.cli.coordinator import ask, with_coordinator
from dispatchd.cli.given import read_text
from dispatchd.cli.terminal import say, say_facts, say_json
from dispatchd.sdk.errors import BadReply, InvalidRequest, VerificationFailed
from dispatchd.sdk.result import JobReply
from dispatchd.sdk.verify import verify_texts

_FILE_MARKS = ("-", "@")


@click.group()
def receipt() -> None:
    """Show and check the receipts of jobs.

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
@click.argument("job", metavar="JOB_ID|-|@FILE")
@click.option("--key", metavar="HEX", help="The worker's public key that must have signed.")
@with_coordinator
def verify(job: str, key: str | None, url: str, *, as_json: bool) -> None:
    """Check a job's receipt: the hash over its result, its job id and its signature.

    A file or stdin holds a job as `job get --json` prints it, and no coordinator is asked.

    Example: dispatchd receipt verify JOB_ID
    """
    if job.startswith(_FILE_MARKS):
        job_id, reply = _saved(read_text(job))
    else:
        job_id, reply = job, ask(url, lambda coordinator: coordinator.job(job))
    found = verify_texts(job_id, reply.result_text, _receipt_text(reply, job_id), key)
    facts = {
        "verified": True,
        "job_id": found.job_id,
        "provider_pubkey": found.provider_pubkey,
        "output_hash": found.output_hash,
        "completed_at": found.completed_at,
    }
    (say_json if as_json else say_facts)(facts)


def _saved(text: str) -> tuple[str, JobReply]:
    try:
        return str(json.loads(text)["id"]), JobReply.parse(text)
    except (ValueError, KeyError, TypeError, BadReply):
        hint = "Save one with: dispatchd job get JOB_ID --json > job.json"
        raise InvalidRequest("That is no job", hint=hint) from None


def _receipt_text(job: JobReply, job_id: str) -> str:
    if job.receipt_text is None:
        sentence = f"Job {job_id} has no receipt; its status is {job.status}"
        raise VerificationFailed(sentence, job_id=job_id)
    return job.receipt_text
