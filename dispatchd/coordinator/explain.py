"""Why a job waits: for each connected worker, the first rule that keeps it from the job."""

from enum import StrEnum

from msgspec import Struct

from dispatchd.coordinator.seats import Seat, Seats
from dispatchd.core.job import Job, Millis
from dispatchd.core.limits import Limits
from dispatchd.core.standing import Standing
from dispatchd.scheduler import may_offer


class Rule(StrEnum):
    """What can keep a worker from a job, in the order in which it is looked at."""

    NOT_CAPABLE = "not_capable"
    NOT_PAIRED = "not_paired"
    KEY_NOT_PROVEN = "key_not_proven"
    MODEL_NOT_THERE = "model_not_there"
    SUSPENDED = "suspended"
    REFUSED = "refused"
    PREPARING = "preparing"
    BUSY = "busy"


class Exclusion(Struct, frozen=True):
    """A worker, and what keeps it from the job; None where nothing does."""

    worker_key: str
    rule: Rule | None
    standing: Standing


def explain(job: Job, seats: Seats, now: Millis, limits: Limits) -> list[Exclusion]:
    """The verdict on every connected worker."""
    others = seats.others_for(job)
    return [
        Exclusion(seat.key, _rule(job, seat, now, limits, others_online=others), seat.standing)
        for seat in seats
    ]


def _rule(job: Job, seat: Seat, now: Millis, limits: Limits, *, others_online: bool) -> Rule | None:
    lane = job.lane
    if job.job_type not in seat.card.capabilities or (lane.extended and seat.card.version is None):
        return Rule.NOT_CAPABLE
    if lane.user_id is not None and lane.user_id not in seat.users:
        return Rule.NOT_PAIRED
    if lane.user_id is not None and not seat.proven:
        return Rule.KEY_NOT_PROVEN
    if lane.model is not None and lane.model not in seat.card.models:
        return Rule.MODEL_NOT_THERE
    if seat.suspended:
        return Rule.SUSPENDED
    if not may_offer(job, seat.key, now, limits, others_online=others_online):
        return Rule.REFUSED
    if job.job_type not in seat.offered:
        return Rule.PREPARING
    if not any(job.job_type in offer.job_types for offer in seat.offers):
        return Rule.BUSY
    return None
