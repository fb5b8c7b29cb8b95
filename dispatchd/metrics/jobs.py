"""What happens to jobs, counted. Labels are words of ours alone: nothing that people wrote."""

from collections import OrderedDict
from collections.abc import Mapping
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram

from dispatchd.coordinator.sweep import NO_ELIGIBLE_WORKER
from dispatchd.coordinator.work import CANCELLED, MISSING_RECEIPT
from dispatchd.core.clock import Clock
from dispatchd.core.errors import NoTrustedWorker
from dispatchd.core.job import Fault, Job, JobStatus, JobType, Kind, Lease, Millis, Tier
from dispatchd.core.payment import PAYMENT_FAILED
from dispatchd.core.record import Blame
from dispatchd.scheduler import TIMEOUT, WORKER_GONE

COMPLETED = "completed"
FAILED = "failed"
"""A job that failed for its workers' reasons, which are their own words."""
OUTCOMES = (
    *(COMPLETED, FAILED, CANCELLED, TIMEOUT, NO_ELIGIBLE_WORKER, NoTrustedWorker.code),
    *(PAYMENT_FAILED, WORKER_GONE.reason),
)
REASONS = (COMPLETED, CANCELLED, *Blame)
VERDICTS = ("valid", "invalid", "missing")
_WAIT_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
_RUN_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
_REMEMBERED_MAX = 4096


class JobFamilies:
    """The metrics of jobs, for all networks of a node."""

    def __init__(self, registry: CollectorRegistry) -> None:
        kind = ("network", "job_type", "tier")
        self.committed = Counter(
            "dispatchd_jobs_committed_total", "Jobs taken.", kind, registry=registry
        )
        self.ended = Counter(
            "dispatchd_jobs_ended_total",
            "Jobs that have ended, by outcome.",
            (*kind, "outcome"),
            registry=registry,
        )
        self.wait = Histogram(
            "dispatchd_job_wait_seconds",
            "From a job's commit to its first assignment.",
            kind,
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self.run = Histogram(
            "dispatchd_job_run_seconds",
            "From an assignment to its end, however it ended.",
            kind,
            buckets=_RUN_BUCKETS,
            registry=registry,
        )
        self.attempts = Counter(
            "dispatchd_attempts_total",
            "Attempts at jobs, by how they ended.",
            ("network", "job_type", "reason"),
            registry=registry,
        )
        self.receipts = Counter(
            "dispatchd_receipts_total",
            "Receipts that workers owed, by what they were worth.",
            ("network", "verdict"),
            registry=registry,
        )


class JobMetrics:
    """`Journal` of one network's jobs."""

    def __init__(self, families: JobFamilies, network: str, clock: Clock) -> None:
        self._clock = clock
        self._since: OrderedDict[str, Millis] = OrderedDict()
        self._told: OrderedDict[str, Millis] = OrderedDict()  # paid jobs that have ended
        kinds: list[Kind] = list(product(JobType, Tier))
        # All are there from the beginning: a rate over what is missing is no rate.
        self._committed = {kind: families.committed.labels(network, *kind) for kind in kinds}
        self._wait = {kind: families.wait.labels(network, *kind) for kind in kinds}
        self._run = {kind: families.run.labels(network, *kind) for kind in kinds}
        self._ended = {
            (kind, outcome): families.ended.labels(network, *kind, outcome)
            for kind, outcome in product(kinds, OUTCOMES)
        }
        self._attempts = {
            (job_type, reason): families.attempts.labels(network, job_type, reason)
            for job_type, reason in product(JobType, REASONS)
        }
        self._receipts = {
            verdict: families.receipts.labels(network, verdict) for verdict in VERDICTS
        }

    def committed(self, job: Job) -> None:
        """A job has been stored."""
        self._committed[job.kind].inc()

    def assigned(self, job: Job) -> None:
        """A job has been given to a worker."""
        now = self._clock.now()
        if job.attempt == 1:
            self._wait[job.kind].observe((now - job.created_at) / 1000)
        _remember(self._since, job.id, now)

    def attempt_ended(self, job: Job, fault: Fault | None) -> None:
        """An attempt has completed its job, or failed."""
        self._end_run(job)
        self._attempts[job.job_type, COMPLETED if fault is None else fault.blame].inc()
        if fault is None:
            self._receipts["valid"].inc()
        elif fault.blame is Blame.BAD_RECEIPTS:
            missing = fault.reason == MISSING_RECEIPT
            self._receipts["missing" if missing else "invalid"].inc()

    def ended(self, job: Job) -> None:
        """A job has ended; of a paid one this may be told twice."""
        if job.payment_ref is not None:
            if job.id in self._told:
                return
            _remember(self._told, job.id, self._clock.now())
        if self._end_run(job):  # it was taken from its worker
            self._attempts[job.job_type, CANCELLED].inc()
        self._ended[job.kind, _outcome(job)].inc()

    def stranded(self, jobs: Mapping[str, Kind], reason: str) -> None:
        """Jobs that waited have failed, as nobody was there to do them."""
        for kind in jobs.values():
            self._ended[kind, reason].inc()

    def _end_run(self, job: Job) -> bool:
        """Whether the job was known to run."""
        since = self._since.pop(job.id, None)
        if since is None:
            return False
        self._run[job.kind].observe((self._clock.now() - since) / 1000)
        return True

    def began(self, lease: Lease) -> None:
        """Says nothing that is counted."""

    def first_text(self, lease: Lease) -> None:
        """Says nothing that is counted: the engine tells when text came."""

    def returned(self, job: Job, reason: str) -> None:
        """Says nothing more than `attempt_ended`."""

    def crowd_changed(self) -> None:
        """Says nothing that is counted: who is there is read from the seats."""


def _outcome(job: Job) -> str:
    if job.status is JobStatus.COMPLETED:
        return COMPLETED
    return job.error if job.error in OUTCOMES and job.error != COMPLETED else FAILED


def _remember(kept: OrderedDict[str, Millis], job_id: str, at: Millis) -> None:
    """Keeps a moment for a job; of very many the oldest is forgotten."""
    kept[job_id] = at
    if len(kept) > _REMEMBERED_MAX:
        kept.popitem(last=False)
