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
    """The answer to a commit was lost: the job may be under way, so it was not repeated.

    Where it had been paid for, it does not go elsewhere either.
    """

    def __init__(self, sentence: str, *, paid: bool) -> None:
        super().__init__(sentence)
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


class PaymentRequired(ComputeError):
    """The coordinator wants to be paid, and that was not possible; `offers` is what it takes."""

    def __init__(self, sentence: str, offers: list[dict[str, Any]]) -> None:
        super().__init__(sentence)
        self.offers = offers


class JobTimeout(ComputeError, TimeoutError):
    """Time ran out. A job that has a `job_id` goes on, and its result can be fetched later."""

    def __init__(self, seconds: float, job_id: str | None) -> None:
        hint = f"The job goes on: dispatchd job wait {job_id}" if job_id else ""
        super().__init__(f"No result within {seconds:g} s", job_id=job_id, hint=hint)


class HostedFailed(ComputeError):
    """The network failed (`__cause__`), and so did every hosted provider that has a key."""


class VerificationFailed(ComputeError):
    """A result without a receipt that proves it."""
