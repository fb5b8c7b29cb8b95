"""The few errors that a caller can act on; each has a stable code."""

from collections.abc import Sequence
from typing import ClassVar

from dispatchd.core.payment import Offer

RETRY_SECONDS = 5.0
"""After how long to look again for what is away; nobody knows when it comes back."""


class DispatchError(Exception):
    """Something that the caller can act on; the message is one sentence for a person."""

    code: ClassVar[str]
    retry_seconds: float | None = None
    """After how long the same may be tried again; None where that would not help."""


class Invalid(DispatchError):
    """Input that does not say what it must; the sentence names the field."""

    code = "invalid"


class UnsupportedMediaType(DispatchError):
    """A body that is not JSON in UTF-8."""

    code = "unsupported_media_type"


class NotFound(DispatchError):
    """No such thing is known here."""

    code = "not_found"


class Unauthorized(DispatchError):
    """An API key is needed that did not come with the request."""

    code = "unauthorized"


class PairingRefused(DispatchError):
    """A pairing code that cannot be claimed; the message is the protocol's reason."""

    code = "pairing_refused"


class NoTrustedWorker(DispatchError):
    """A PRIVATE job was committed while no worker that its user trusts is online."""

    code = "no_trusted_worker"

    def __init__(self, job_id: str) -> None:
        super().__init__("no_trusted_worker")
        self.job_id = job_id


class BadReceipt(DispatchError):
    """A receipt that does not prove this output of this job by this worker."""

    code = "bad_receipt"


class LeaseLost(DispatchError):
    """The caller no longer holds the job it speaks of; nothing was changed."""

    code = "lease_lost"


class ExecutionFailed(DispatchError):
    """A worker could not do the job; `reason` is the code that the client reads.

    `final` says that the same worker would fail again, whatever the number of attempts.
    """

    code = "execution_failed"

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


class StoreUnavailable(DispatchError):
    """The job store cannot be written or read at the moment; nothing was changed."""

    code = "store_unavailable"
    retry_seconds = RETRY_SECONDS


class Conflict(DispatchError):
    """The job is not in a state for that, or an idempotency key stands for another body."""

    code = "conflict"


class TooMany(DispatchError):
    """A limit is reached; nothing was stored."""

    code = "too_many"

    def __init__(self, sentence: str, retry_seconds: float) -> None:
        super().__init__(sentence)
        self.retry_seconds = retry_seconds


class NoEligibleWorker(DispatchError):
    """Nobody online can do a job that would have to be paid for first; nothing was charged."""

    code = "no_eligible_worker"
    retry_seconds = RETRY_SECONDS

    def __init__(self) -> None:
        super().__init__(self.code)


class TooManyOpenPayments(DispatchError):
    """The payer has as many payments open as are trusted to it; paying for those raises it."""

    code = "too_many_open_payments"

    def __init__(self, retry_seconds: float) -> None:
        super().__init__(self.code)
        self.retry_seconds = retry_seconds


class Stopping(DispatchError):
    """The node is shutting down; it takes no more jobs and no more workers."""

    code = "stopping"
    retry_seconds = RETRY_SECONDS

    def __init__(self) -> None:
        super().__init__("The node is shutting down and takes no more jobs")


class TooSlow(DispatchError):
    """A request did not arrive in time."""

    code = "too_slow"


class Unusable(DispatchError):
    """The node cannot start as it was asked to; the sentence says what to do about it."""

    code = "unusable"


class PaymentRefused(DispatchError):
    """A payment that is not accepted; `reason` is x402's code, `detail` a sentence about it."""

    code = "payment_refused"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class FacilitatorAway(DispatchError):
    """The facilitator gave no answer: what became of the payment is unknown, not failed."""

    code = "facilitator_unavailable"
    retry_seconds = RETRY_SECONDS


class PaymentRequired(DispatchError):
    """The job is sold: what to pay, and where a payment came, why it was refused."""

    code = "payment_required"

    def __init__(self, offers: Sequence[Offer], refused: PaymentRefused | None = None) -> None:
        super().__init__("The job must be paid for" if refused is None else str(refused))
        self.offers = tuple(offers)
        self.refused = refused
