"""Decisions, and nothing else: who gets what, when to try again, when to give up.

Plain functions of values: no clock, no store, no waiting. Whoever calls them acts on the answer.
"""

from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from dispatchd.core.card import ProviderType
from dispatchd.core.job import Fault, Grant, Job, JobType, Millis, Refusal, Tier, millis
from dispatchd.core.limits import Limits
from dispatchd.core.record import Blame
from dispatchd.core.standing import Grade, Standing, Strikes

TIMEOUT = "timeout"
WORKER_GONE = Fault("worker_disconnected", Blame.LOST)
STRIKES = MappingProxyType(
    {Blame.LOST: 1, Blame.FAILED: 2, Blame.TIMED_OUT: 2, Blame.BAD_RECEIPTS: 5, Blame.REJECTED: 0}
)
"""How much each kind of fault counts against a worker."""
_DOUBLINGS_MAX = 30


class Retry(Struct, frozen=True):
    """The job goes back to the queue, as it then is."""

    job: Job


class GiveUp(Struct, frozen=True):
    """The job has failed, as it then is."""

    job: Job
    reason: str


def rank(tier: Tier, created_at: Millis, limits: Limits) -> int:
    """Where a job stands in its queue; the lowest goes first.

    FAST has a head start, so it goes before CHEAP. Since waiting counts for every job alike, a
    CHEAP job that is older by more than that goes first, and nothing starves. The rank never
    changes, so the store can keep queues in order of it.
    """
    return created_at - (millis(limits.fast_head_start_seconds) if tier is Tier.FAST else 0)


def preference(job: Job, provider_type: ProviderType) -> int:
    """How well a kind of machine suits a job; lower is better."""
    if job.tier is Tier.FAST:
        return 0 if provider_type is ProviderType.DESKTOP else 1
    if job.job_type is JobType.TASK:
        return 0 if provider_type is ProviderType.SEEKER else 1
    return 0


def may_offer(
    job: Job, worker_key: str, now: Millis, limits: Limits, *, others_online: bool
) -> bool:
    """Whether a worker may have this job, which it perhaps turned down before."""
    refusals = [refusal.at for refusal in job.avoid if refusal.worker_key == worker_key]
    if not refusals:
        return True
    return not others_online and now - max(refusals) >= millis(limits.refusal_seconds)


def grant(job: Job, worker_key: str, now: Millis, limits: Limits) -> Grant:
    """The lease that a worker gets for a job."""
    run_until = now + millis(limits.run_seconds(job.job_type))
    if job.end_by is not None:
        run_until = min(run_until, job.end_by)
    return Grant(job, worker_key, now + millis(limits.lease_seconds), run_until)


def after_fault(
    job: Job, fault: Fault, now: Millis, limits: Limits, *, others_online: bool
) -> Retry | GiveUp:
    """What becomes of a job whose attempt failed.

    `others_online`: whether a capable worker that has not turned it down is online.
    """
    avoid = job.avoid
    if fault.refused and job.worker_key is not None:
        avoid = (*avoid, Refusal(job.worker_key, now))
    failed = replace(job, faults=job.faults + 1, avoid=avoid)
    if failed.faults >= limits.faults_max or (fault.final and not others_online):
        return GiveUp(failed, fault.reason)
    if job.end_by is not None and job.end_by <= now:
        return GiveUp(failed, TIMEOUT)
    return Retry(failed)


def overdue_fault(job: Job, now: Millis) -> Fault:
    """Why a leased job is overdue: its run was too long, or its worker has gone."""
    ran_too_long = job.run_until is not None and job.run_until <= now
    return Fault(TIMEOUT, Blame.TIMED_OUT) if ran_too_long else WORKER_GONE


def strikes_after(before: Standing, job: Job, fault: Fault, now: Millis, limits: Limits) -> Strikes:
    """What stands against a worker once an attempt has failed, and how long that suspends it.

    Attempts that ran side by side when one of them failed count once: they failed for one reason.
    """
    strikes = before.strikes
    count = _strikes_for(job, fault)
    if count == 0 or _began_at(job, limits) < strikes.struck_at:
        return strikes
    count = min(limits.strikes_max, strikes_of(before, now, limits) + count)
    suspensions = 0 if _forgotten(strikes, now, limits) else strikes.suspensions
    until = strikes.suspended_until
    if count >= limits.strikes_max:
        doubled = limits.suspension_seconds * 2 ** min(suspensions, _DOUBLINGS_MAX)
        until = now + millis(min(doubled, limits.suspension_seconds_max))
        suspensions += 1
    return Strikes(count, now, before.record.completed, suspensions, until)


def strikes_of(standing: Standing, now: Millis, limits: Limits) -> int:
    """What stands against a worker now: success takes it away one by one, time all at once."""
    strikes = standing.strikes
    if _forgotten(strikes, now, limits):
        return 0
    return max(0, strikes.strikes - (standing.record.completed - strikes.completed_then))


def grade(standing: Standing, now: Millis, limits: Limits) -> Grade:
    """How good a worker's record is; whoever is new is good until something stands against it.

    A suspension that would last for longer than any may is one from before the clock was set back.
    """
    left = standing.strikes.suspended_until - now
    if 0 < left <= millis(limits.suspension_seconds_max):
        return Grade.SUSPENDED
    against = strikes_of(standing, now, limits)
    if 2 * against >= limits.strikes_max:
        return Grade.POOR
    return Grade.FAIR if against else Grade.GOOD


def _strikes_for(job: Job, fault: Fault) -> int:
    """What a fault counts against its worker.

    A job that has failed before, or that its worker says can never be done, may itself be the
    reason. A bad receipt is the worker's own doing whatever the job, and counts once for each job.
    """
    if fault.blame is Blame.BAD_RECEIPTS:
        excused = any(refusal.worker_key == job.worker_key for refusal in job.avoid)
    else:
        excused = fault.final or job.faults > 0
    return 0 if excused else STRIKES[fault.blame]


def _began_at(job: Job, limits: Limits) -> Millis:
    """When the attempt began, or before that where the job's end cuts its run short."""
    if job.run_until is None:
        return job.created_at
    return max(job.created_at, job.run_until - millis(limits.run_seconds(job.job_type)))


def _forgotten(strikes: Strikes, now: Millis, limits: Limits) -> bool:
    last = max(strikes.struck_at, strikes.suspended_until)
    return now - last >= millis(limits.strike_memory_seconds)
