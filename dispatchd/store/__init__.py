"""What a coordinator asks of its store: jobs, what pays for them, receipts, who trusts whom.

A job moves only by guarded writes: a verb that is given a lease changes nothing and raises
`LeaseLost` when that lease is not the current one. A write that has returned is on disk. Every
verb raises `StoreUnavailable` when the store cannot do it at the moment.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from dispatchd.core.chain import Entry, Place, Root, Sealed, SignedRoot
from dispatchd.core.clock import Clock
from dispatchd.core.job import (
    Completion,
    Grant,
    IdempotencyKey,
    Job,
    JobFilter,
    JobType,
    Kind,
    Lane,
    Lease,
    Millis,
)
from dispatchd.core.neighbour import Bell, Changes, JobState, Neighbour
from dispatchd.core.payment import AuthorizationKey, Payment, PaymentState
from dispatchd.core.rate import Counted
from dispatchd.core.standing import Blamed, Standing
from dispatchd.core.trust import Pairing, PairingCode


class JobStore(Protocol):
    """The queue and the archive of jobs."""

    @property
    def problem(self) -> str | None:
        """Why the last write failed, in a sentence; None where it did not."""
        ...

    async def add(
        self,
        job: Job,
        key: IdempotencyKey | None = None,
        open_max: int = 0,
        grant: Grant | None = None,
        paid_with: AuthorizationKey | None = None,
        open_payments_max: int = 0,
    ) -> str:
        """Stores a new job as it is, or as assigned by a grant.

        The payment of a paid one is authorized with it, or begins to be captured where the job is
        `settling`.

        Returns its id, or that of the job its key stands for.

        Raises `Conflict` where the key stands for another body, `TooMany` where the user has
        `open_max` jobs under way (0: no limit), and `TooManyOpenPayments` as `reserve` does.
        """
        ...

    async def replay(self, key: IdempotencyKey) -> str | None:
        """The id of the job that a key stands for, if it does; raises `Conflict`.

        Comes after every write that was asked for before it.
        """
        ...

    async def forget_keys(self, before: Millis) -> None:
        """Drops the idempotency keys from before a moment."""
        ...

    async def check(self) -> None:
        """Raises `StoreUnavailable` where the store cannot be written to at the moment."""
        ...

    async def check_version(self) -> None:
        """Raises `StoreUnavailable` where the store is not of the version that is known here."""
        ...

    async def get(self, job_id: str) -> Job | None:
        """A job by its id."""
        ...

    async def list_jobs(self, wanted: JobFilter) -> list[Job]:
        """PUBLIC jobs and those of `private_of`, the newest first; none behind an unknown one."""
        ...

    async def count_waiting(self) -> int:
        """How many jobs are pending."""
        ...

    async def waiting_lanes(self) -> list[Lane]:
        """The lanes in which jobs are pending."""
        ...

    async def waiting(self, lanes: Mapping[Lane, int]) -> list[Job]:
        """The first pending jobs of each lane, so many of each at the most, in order of rank."""
        ...

    async def assign(self, grants: Sequence[Grant]) -> list[bool]:
        """Leases pending jobs; for each, whether it was still as the grant believed."""
        ...

    async def start(self, lease: Lease) -> None:
        """An assigned job is running now; a running one stays so."""
        ...

    async def renew(self, leases: Mapping[Lease, Millis]) -> None:
        """Extends leases until those moments; their workers live, so the jobs are running."""
        ...

    async def finish(self, job: Job, done: Completion, at: Millis) -> None:
        """Stores output and receipt of a job that is still in the attempt of `job`.

        Completes it and puts it into the chain of receipts, or begins to capture its payment.
        """
        ...

    async def put_back(
        self, lease: Lease, job: Job, blamed: Blamed | None = None
    ) -> Standing | None:
        """Makes a leased job pending again, with the faults and refusals that `job` now has.

        `blamed` goes into the record of the worker that held it, whose standing it then is comes
        back.
        """
        ...

    async def fail(self, job: Job, reason: str, blamed: Blamed | None = None) -> Standing | None:
        """Fails a job that is still in the attempt and state of `job`; else raises `LeaseLost`.

        `blamed` and what comes back are as for `put_back`.
        """
        ...

    async def held_by(self, worker_key: str) -> list[Job]:
        """The jobs leased to a worker."""
        ...

    async def take_over(
        self, worker_key: str, job_ids: Sequence[str], now: Millis, until: Millis
    ) -> list[Job]:
        """Extends a worker's leases for these jobs that still stand; the jobs, as they then are.

        Comes after every write that was asked for before it.
        """
        ...

    async def overdue(self, now: Millis, limit: int) -> list[Job]:
        """Leased jobs whose lease or run has ended."""
        ...

    async def expired(self, now: Millis, limit: int) -> list[Job]:
        """Pending jobs that must have ended by now."""
        ...

    async def fail_stranded(self, lane: Lane, before: Millis, reason: str) -> dict[str, Kind]:
        """Fails the pending jobs of a lane that were committed before a moment; what they were."""
        ...


class RecordStore(Protocol):
    """The workers' records. The verbs that end a job's attempt write them, by the same write."""

    async def standing(self, worker_key: str) -> Standing:
        """A worker's standing. Comes after every write that was asked for before it."""
        ...

    async def standings(self, worker_keys: Sequence[str]) -> dict[str, Standing]:
        """The standings of these workers, of whom some may be without a record."""
        ...

    async def known(self, after: str, limit: int) -> dict[str, Standing]:
        """The workers with a record whose keys come after that one, in their order."""
        ...

    async def struck_since(self, moment: Millis) -> dict[str, Standing]:
        """The standings of the workers that were blamed at that moment or later.

        Comes after every write that was asked for before it.
        """
        ...

    async def note_canary(self, worker_key: str, *, passed: bool) -> None:
        """A worker has answered a canary, which is counted and is no fault."""
        ...


class PaymentStore(Protocol):
    """What pays for the jobs.

    A payment whose job fails is released by the same write, and its signature destroyed. A payment
    is captured by the caller of `captured` or `refused`; both raise `LeaseLost` where it no longer
    waits for that, or has been tried again meanwhile.
    """

    async def find(self, key: AuthorizationKey) -> Payment | None:
        """The payment with that authorization."""
        ...

    async def of_job(self, job_id: str) -> Payment | None:
        """What pays for a job."""
        ...

    async def reserve(self, payment: Payment, open_max: int) -> bool:
        """Stores a payment that is to be verified, unless its authorization has been used.

        Raises `TooManyOpenPayments` where its payer has `open_max` verified ones open, and as many
        more as were ever captured.
        """
        ...

    async def drop(self, key: AuthorizationKey) -> None:
        """Forgets a payment that has come to nothing while it was verified."""
        ...

    async def recover(self, now: Millis) -> int:
        """Brings into order what a former process left; how many payments are open then.

        What was being verified is dropped, what was being captured is due now, and may have moved.
        """
        ...

    async def count(self) -> dict[PaymentState, int]:
        """How many payments there are in each state."""
        ...

    async def must_pay_first(self, payer: str) -> bool:
        """Whether a capture from this payer was ever refused."""
        ...

    async def due(self, now: Millis, limit: int) -> list[Payment]:
        """Payments that are to be captured now, the longest due first."""
        ...

    async def next_due(self) -> Millis | None:
        """When the next capture is due, if one is."""
        ...

    async def postpone(self, payment: Payment, until: Millis) -> None:
        """The outcome of a try is not known; another is due at a moment.

        Changes nothing where the payment has been tried again meanwhile.
        """
        ...

    async def captured(self, payment: Payment, transaction: str | None, at: Millis) -> None:
        """The money has moved: the job's result is released, or the job may start."""
        ...

    async def refused(self, payment: Payment, reason: str, error: str) -> None:
        """The money will not move: the job fails with an error."""
        ...


class ChainStore(Protocol):
    """The chain of receipts. The verbs that complete a job put it there, by the same write."""

    async def owner(self) -> str | None:
        """The coordinator key that the chain belongs to; None before `begin`."""
        ...

    async def begin(self, coordinator_key: str) -> None:
        """From now on the chain belongs to that key, unless it belongs to one already."""
        ...

    async def root(self) -> Root:
        """The root over all entries, which is there however long the chain is."""
        ...

    async def page(self, after: int, limit: int) -> list[tuple[Entry, str | None]]:
        """The entries behind a sequence number, each with its job's id unless that is PRIVATE."""
        ...

    async def place_of(self, job_id: str) -> Place | None:
        """Where the entry of a job stands under the root over all entries."""
        ...


class SealStore(Protocol):
    """What coordinators that share a store have signed of their chains."""

    async def unsealed(self, limit: int) -> tuple[list[Entry], Root]:
        """The first entries of this coordinator that are not signed, and the root with them."""
        ...

    async def seal(
        self, entries: Sequence[Entry], signatures: Sequence[str], root: SignedRoot
    ) -> None:
        """Stores the signatures of these entries, and of the root over all up to the last."""
        ...

    async def sealed(self, job_id: str) -> Sealed | None:
        """What a job's coordinator has signed of it, whichever that is; None where nothing yet."""
        ...


class UserStore(Protocol):
    """Users who have an API key."""

    async def all(self) -> dict[str, bytes]:
        """The digest of each user's key."""
        ...

    async def put_key(
        self,
        user_id: str,
        digest: bytes,
        former: bytes | None,
        at: Millis,
        counted: Counted | None = None,
    ) -> bool:
        """Stores a user's key by its digest, in the place of a `former` one if there is one.

        False, and nothing is changed, where the user's key is not `former`. A first key is
        `counted`; raises `TooMany` where no more are allowed.
        """
        ...


class ClusterStore(Protocol):
    """What the coordinators that share a store tell one another."""

    async def listen(self, heard: Callable[[Bell], None], clock: Clock) -> None:
        """Calls `heard` for each bell, and for all of them after a time without hearing."""
        ...

    async def announce(self, url: str, changes: Changes) -> None:
        """Says where this coordinator is and what is new in who sits there, and that it lives.

        The first time the changes must be whole: who sat there before was told by another process.
        """
        ...

    async def withdraw(self) -> None:
        """Says that it stops: others may take over what this coordinator was doing."""
        ...

    async def neighbours(self, known: Mapping[str, int], silent_seconds: float) -> list[Neighbour]:
        """The other coordinators that live, with what has changed since the known versions.

        One that has been silent for so long does not live.
        """
        ...

    async def latest(self, most: int, job_ids: Sequence[str]) -> list[Job]:
        """So many of the latest jobs, and those, without what people wrote, the latest last."""
        ...

    async def leases(self) -> dict[str, dict[JobType, int]]:
        """How many jobs of each type each worker has, by its key."""
        ...

    async def states(self, job_ids: Sequence[str]) -> list[JobState]:
        """Where these jobs are in their lives; those that are not known are left out."""
        ...

    async def chained_by(self, job_id: str) -> str | None:
        """The key of the coordinator in whose chain a job is, whether it lives or not."""
        ...

    async def users_of_all(self, worker_keys: Sequence[str]) -> dict[str, set[str]]:
        """The users that trust each of these workers."""
        ...


class TrustStore(Protocol):
    """Pairing codes and pairings."""

    async def add_code(self, code: PairingCode, now: Millis) -> bool:
        """Stores a code; false, and nothing is changed, if one of these letters is still open."""
        ...

    async def claim_code(
        self, code: str, provider_pubkey: str, now: Millis, counted: Counted | None = None
    ) -> Pairing:
        """Uses a code up; raises `PairingRefused` with `invalid_code` and the like.

        Such a refusal is `counted`; raises `TooMany` where no more are allowed, whatever the code.
        """
        ...

    async def remove(self, user_id: str, provider_pubkey: str) -> bool:
        """Ends a pairing; whether there was one."""
        ...

    async def pairings_of(self, user_id: str) -> list[Pairing]:
        """The workers that a user trusts, in the order of pairing."""
        ...

    async def users_of(self, provider_pubkey: str) -> list[str]:
        """The users that trust a worker. Comes after every write that was asked for before it."""
        ...
