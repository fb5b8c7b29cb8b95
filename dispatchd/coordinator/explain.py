"""Why a job waits: for each connected worker, the first rule that keeps it from the job."""

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from dispatchd.coordinator.known import KnownWorker
from dispatchd.coordinator.seats import Seat
from dispatchd.core.job import Job, Millis
from dispatchd.core.limits import Limits
from dispatchd.core.neighbour import Sitting
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


def explain(
    job: Job, workers: Iterable[KnownWorker], now: Millis, limits: Limits, *, others_online: bool
) -> list[Exclusion]:
    """The verdict on every connected worker.

    `others_online`: whether one is online that has not turned the job down. Whether a worker
    elsewhere is getting ready for its first job is not known here.
    """
    return [
        Exclusion(
            worker.key,
            _unfit(job, worker.place)
            or _kept_back(job, worker.place, now, limits, others_online=others_online)
            or _taken(job, worker),
            worker.standing,
        )
        for worker in workers
        if worker.place is not None
    ]


def _unfit(job: Job, place: Seat | Sitting) -> Rule | None:
    lane, card = job.lane, place.card
    if job.job_type not in card.capabilities or (lane.extended and card.version is None):
        return Rule.NOT_CAPABLE
    if lane.user_id is not None and lane.user_id not in place.users:
        return Rule.NOT_PAIRED
    if lane.user_id is not None and not place.proven:
        return Rule.KEY_NOT_PROVEN
    if lane.model is not None and lane.model not in card.models:
        return Rule.MODEL_NOT_THERE
    return None


def _kept_back(
    job: Job, place: Seat | Sitting, now: Millis, limits: Limits, *, others_online: bool
) -> Rule | None:
    if place.suspended:
        return Rule.SUSPENDED
    if not may_offer(job, place.key, now, limits, others_online=others_online):
        return Rule.REFUSED
    return None


def _taken(job: Job, worker: KnownWorker) -> Rule | None:
    place = worker.place
    if isinstance(place, Sitting):
        return None if place.card.has_place(job.job_type, worker.jobs) else Rule.BUSY
    if place is None or job.job_type not in place.offered:
        return Rule.PREPARING
    free = any(job.job_type in offer.job_types for offer in place.offers)
    return None if free else Rule.BUSY
