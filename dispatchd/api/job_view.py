"""Jobs as clients see them."""

import json

import msgspec
from aiohttp import web

from dispatchd.api.errors import raw_response
from dispatchd.api.gate import Gate
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.core.clock import iso
from dispatchd.core.job import Job, JobStatus


class JobView:
    """Shows jobs, each with what pays for it where jobs are sold."""

    def __init__(self, coordinator: Coordinator, gate: Gate) -> None:
        self._coordinator = coordinator
        self._gate = gate

    async def text(self, job: Job) -> str:
        """The body of the poll."""
        return (await self._text_and_headers(job))[0]

    async def reply(self, job: Job) -> web.Response:
        """The answer to the poll."""
        text, headers = await self._text_and_headers(job)
        return raw_response(text.encode(), headers=headers)

    async def payment(self, job_id: str) -> tuple[dict[str, object], dict[str, str]]:
        """What the reply to a commit says of the payment, if there is one."""
        payment = await self._coordinator.payment_for(job_id)
        if payment is None:
            return {}, {}
        return {"payment": self._gate.shown(payment)}, self._gate.settled(payment)

    async def _text_and_headers(self, job: Job) -> tuple[str, dict[str, str]]:
        paid = job.payment_ref is not None
        payment = await self._coordinator.payment_for(job.id) if paid else None
        if payment is None:
            return job_text(job), {}
        return job_text(job, self._gate.shown(payment)), self._gate.settled(payment)


def job_text(job: Job, payment: dict[str, object] | None = None) -> str:
    """A job as the poll shows it; output and receipt stand in it exactly as they arrived."""
    paid = "" if payment is None else f',"payment":{msgspec.json.encode(payment).decode()}'
    completed_at = "null" if job.completed_at is None else f'"{iso(job.completed_at)}"'
    return (
        f'{{"id":"{job.id}","status":"{job.status}","result":{_result(job)},'
        f'"receipt":{_receipt(job)},"created_at":"{iso(job.created_at)}",'
        f'"completed_at":{completed_at}{paid}}}'
    )


def listed_text(job: Job) -> str:
    """A job as lists show it: the poll's body, and what was committed besides the payload."""
    more = {"job_type": job.job_type, "tier": job.tier, "user_id": job.user_id}
    return f"{job_text(job)[:-1]},{msgspec.json.encode(more).decode()[1:]}"


def _result(job: Job) -> str:
    if job.status is JobStatus.FAILED:
        return json.dumps({"error": job.error}, ensure_ascii=False, separators=(",", ":"))
    return job.output or "null"


def _receipt(job: Job) -> str:
    """The signed text with the signature added; it was verified before the job completed."""
    if job.receipt is None:
        return "null"
    return f'{job.receipt[:-1]},"signature":"{job.signature}","verified":true}}'
