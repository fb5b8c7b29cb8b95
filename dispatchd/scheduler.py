"""Decisions, and nothing else: who gets what, when to try again, when to give up.

Plain functions of values: no clock, no store, no waiting. Whoever calls them acts on the answer.
"""

from msgspec import Struct
from msgspec.structs import replace

from dispatchd.core.card import ProviderType
from dispatchd.core.job import Fault, Grant, Job, JobType, Millis, Refusal, Tier, millis
from dispatchd.core.limits import Limits
from dispatchd.core.record import Blame

TIMEOUT = "timeout"
WORKER_GONE = Fault("worker_disconnected", Blame.LOST)


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
