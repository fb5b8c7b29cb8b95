"""What can go wrong for a caller, by what the caller can do about it."""

from typing import Any


class ComputeError(Exception):
    """Anything the SDK raises; the message is one sentence, `hint` says what to do next."""

    def __init__(self, sentence: str, *, job_id: str | None = None, hint: str = "") -> None:
        super().__init__(sentence)
        self.job_id = job_id
        self.hint = hint


class InvalidRequest(ComputeError):
    """The request itself is wrong; the same request fails everywhere."""


class NotFound(InvalidRequest):
    """The coordinator knows no such job."""


class Unauthorized(InvalidRequest):
    """The coordinator wants an API key, of the user whom the request concerns."""


class Conflict(InvalidRequest):
    """The job has ended otherwise, or a key stands for another job already."""


class NetworkFailed(ComputeError):
    """The network did not do a job that is in order; a PUBLIC one may go elsewhere."""

    may_fall_back = True


class Unreachable(NetworkFailed):
    """No coordinator answers. `uncertain`: the request may have been acted upon all the same."""

    def __init__(
        self, sentence: str, *, uncertain: bool = False, retry_seconds: float = 0, hint: str = ""
    ) -> None:
        super().__init__(sentence, hint=hint)
        self.uncertain = uncertain
        self.retry_seconds = retry_seconds


class Overloaded(Unreachable):
    """The coordinator takes nothing more before `retry_seconds` have passed."""


class BadReply(NetworkFailed):
    """What answers does not speak the protocol."""


class CommitLost(NetworkFailed):
    """The answer to a commit was lost: the job may be under way, so no other one was made.

    Where a payment was sent, its fate is unknown, and the job does not go elsewhere either.
    """

    def __init__(self, sentence: str, *, paid: bool) -> None:
        hint = "The payment may be taken still; paying again may pay twice." if paid else ""
        super().__init__(sentence, hint=hint)
        self.paid = paid
        self.may_fall_back = not paid


class JobFailed(NetworkFailed):
    """The job ended as `failed`; `reason` is the network's code."""

    def __init__(self, reason: str, job_id: str | None) -> None:
        super().__init__(f"The job failed: {reason}", job_id=job_id)
        self.reason = reason
        self.may_fall_back = reason != "cancelled"


class NoTrustedWorker(JobFailed):
    """A PRIVATE job, and no worker that its user is paired with is online."""

    def __init__(self, job_id: str | None) -> None:
        super().__init__("no_trusted_worker", job_id)
        self.may_fall_back = False


class PaymentError(ComputeError):
    """Money is in the way: a matter for the caller, so the job goes nowhere else."""


class PaymentRequired(PaymentError):
    """The coordinator wants to be paid, and there is no payer; `offers` is what it takes."""

    def __init__(self, sentence: str, offers: list[dict[str, Any]], *, hint: str = "") -> None:
        super().__init__(sentence, hint=hint)
        self.offers = offers


class CannotPay(PaymentRequired):
    """None of the offers can be paid here; nothing was signed."""


class TooDear(PaymentRequired):
    """More is asked for than was quoted; nothing was signed."""


class SpendingCapReached(PaymentError):
    """More is asked for than may be spent; nothing was signed. `cap` is `job` or `session`."""

    def __init__(self, sentence: str, *, cap: str, hint: str = "") -> None:
        super().__init__(sentence, hint=hint)
        self.cap = cap


class PaymentRefused(PaymentError):
    """The payment was not accepted; `reason` is the coordinator's code, `detail` its sentence.

    `may_be_charged`: the money may have been taken all the same, so do not simply pay again.
    """

    def __init__(
        self, sentence: str, *, reason: str, detail: str, may_be_charged: bool, hint: str = ""
    ) -> None:
        super().__init__(sentence, hint=hint)
        self.reason = reason
        self.detail = detail
        self.may_be_charged = may_be_charged


class PaymentFailed(JobFailed, PaymentError):
    """The job ran, but its payment could not be captured, so that its result is withheld."""

    def __init__(self, job_id: str | None) -> None:
        super().__init__("payment_failed", job_id)
        self.hint = "Nothing was charged. Does the wallet hold enough?"
        self.may_fall_back = False


class JobTimeout(ComputeError, TimeoutError):
    """Time ran out. A job that has a `job_id` goes on, and its result can be fetched later.

    `paid`: a payment was sent for it.
    """

    def __init__(self, seconds: float, job_id: str | None, *, paid: bool = False) -> None:
        hint = f"The job goes on: dispatchd job wait {job_id}" if job_id else ""
        if paid and not job_id:
            hint = "A payment was sent, and may be taken still; paying again may pay twice."
        super().__init__(f"No result within {seconds:g} s", job_id=job_id, hint=hint)
        self.paid = paid


class HostedFailed(ComputeError):
    """The network failed (`__cause__`), and so did every hosted provider that has a key."""


class VerificationFailed(ComputeError):
    """A result without a receipt that proves it."""
