"""A job as a coordinator shows it, and what comes out of a run."""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self

import msgspec
from msgspec import Struct

from dispatchd.core.job import ENDED, JobStatus
from dispatchd.core.members import members
from dispatchd.sdk.errors import BadReply, JobFailed, NoTrustedWorker, PaymentFailed

_FAILURES: Mapping[str, Callable[[str | None], JobFailed]] = MappingProxyType(
    {"no_trusted_worker": NoTrustedWorker, "payment_failed": PaymentFailed}
)


class JobPayment(Struct, frozen=True):
    """A job's payment as its coordinator shows it; `amount` is in atomic units of `asset`.

    `transaction` is there once the money has moved; `simulated` money is worth nothing.
    """

    state: str
    amount: str | None = None
    asset: str | None = None
    network: str | None = None
    transaction: str | None = None
    simulated: bool = False


class JobReply(Struct, frozen=True):
    """The poll's body: `result_text` and `receipt_text` exactly as they stand in it."""

    text: str
    status: str
    result_text: str
    receipt_text: str | None
    payment: JobPayment | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a body; raises `BadReply`."""
        try:
            parts = members(text)
            status = json.loads(parts["status"])
            receipt = parts.get("receipt", "null")
            payment = _payment(json.loads(parts.get("payment", "null")))
        except (ValueError, KeyError, RecursionError):
            raise BadReply("The coordinator's reply is no job") from None
        result = parts.get("result", "null")
        return cls(text, str(status), result, None if receipt == "null" else receipt, payment)

    @property
    def line(self) -> str:
        """The body on one line: breaks between tokens mean nothing, and strings hold none."""
        return self.text.replace("\r", "").replace("\n", "")

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in ENDED

    @property
    def output(self) -> Any:
        """The parsed result."""
        return json.loads(self.result_text)

    @property
    def receipt(self) -> dict[str, Any] | None:
        """The parsed receipt."""
        return json.loads(self.receipt_text) if self.receipt_text else None

    def failure(self, job_id: str) -> JobFailed | None:
        """The error that a failed job is for its caller."""
        if self.status != JobStatus.FAILED:
            return None
        output = self.output
        reason = str(output.get("error", "failed")) if isinstance(output, dict) else "failed"
        kind = _FAILURES.get(reason)
        return kind(job_id) if kind else JobFailed(reason, job_id)


class ComputeResult(Struct, frozen=True, kw_only=True):
    """What came of a run.

    `route` says where the input went (`decentralized:monad`, `hosted:openai`); what only the
    network has, a price, a job, a payment and a receipt, is None for a hosted route. The `_text`
    fields are what `verify` needs: the JSON as the coordinator sent it.
    """

    output: Any
    route: str
    price: str | None
    latency_ms: int
    receipt: dict[str, Any] | None = None
    payment: JobPayment | None = None
    job_id: str | None = None
    result_text: str | None = None
    receipt_text: str | None = None


def _payment(value: Any) -> JobPayment | None:
    """What a coordinator says of a payment; what is no text in it is not there."""
    if not isinstance(value, dict) or not isinstance(value.get("state"), str):
        return None
    texts = {name: str(each) for name, each in value.items() if isinstance(each, str | int)}
    return msgspec.convert(texts | {"simulated": value.get("simulated") is True}, JobPayment)
