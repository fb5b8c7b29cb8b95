"""What a payer has spent, and what it may spend."""

import threading

from dispatchd.sdk.dollars import dollars
from dispatchd.sdk.errors import SpendingCapReached

MAX_PER_JOB = "$0.05"
MAX_PER_SESSION = "$1.00"


class Spending:
    """Counts a payment as spent from before it is signed; in atomic units, None being no cap.

    Any thread may call it.
    """

    def __init__(self, per_job: int | None, per_session: int | None) -> None:
        self._per_job = per_job
        self._per_session = per_session
        self._spent = 0
        self._lock = threading.Lock()

    @property
    def spent(self) -> int:
        """What has been spent and not been given back."""
        return self._spent

    def reserve(self, amount: int) -> None:
        """Counts an amount as spent; raises `SpendingCapReached`, and then it does not count."""
        if self._per_job is not None and amount > self._per_job:
            sentence = (
                f"This costs {dollars(amount)}, and one job may cost {dollars(self._per_job)}"
                " at the most; nothing was paid"
            )
            raise SpendingCapReached(
                sentence, cap="job", hint="Raise max_per_job (--max-price) to pay more."
            )
        with self._lock:
            if self._per_session is not None and self._spent + amount > self._per_session:
                sentence = (
                    f"{dollars(self._spent)} of {dollars(self._per_session)} are spent, so that"
                    f" {dollars(amount)} more cannot be; nothing was paid"
                )
                hint = "Raise max_per_session (--max-total) to pay more."
                raise SpendingCapReached(sentence, cap="session", hint=hint)
            self._spent += amount

    def give_back(self, amount: int) -> None:
        """An amount was not taken."""
        with self._lock:
            self._spent -= amount
