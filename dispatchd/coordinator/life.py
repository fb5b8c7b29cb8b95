"""A job's life in steps: those that were seen, those that are stored, and both put together."""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct

from dispatchd.core.job import ENDED, Job, JobStatus, JobType, Millis, Privacy, Tier

_STEPS_MAX = 32


class Event(StrEnum):
    """What can happen to a job."""

    COMMITTED = "committed"
    ASSIGNED = "assigned"
    FIRST_TEXT = "first_text"
    RETURNED = "returned"
    """Its attempt has come to nothing, and it waits again."""
    COMPLETED = "completed"
    FAILED = "failed"


_ONCE = frozenset({Event.COMMITTED, Event.COMPLETED, Event.FAILED})
_PLACES = MappingProxyType({event: place for place, event in enumerate(Event)})
"""Where each stands among the steps of an attempt."""
_STAGES = MappingProxyType(
    {
        JobStatus.ASSIGNED: 0,
        JobStatus.RUNNING: 1,
        JobStatus.PENDING: 2,  # an attempt has come to nothing, unless there was none
        JobStatus.COMPLETED: 3,
        JobStatus.FAILED: 3,
    }
)


class Step(Struct, frozen=True):
    """One thing that happened to a job; `at` is None where only the store knows of it."""

    event: Event
    at: Millis | None
    attempt: int | None = None
    worker_key: str | None = None
    reason: str | None = None


class Life:
    """A job's life: the `steps` that this process has seen, and what the store said besides."""

    def __init__(self, job: Job) -> None:
        self.id = job.id
        self.job_type: JobType = job.job_type
        self.tier: Tier = job.tier
        self.privacy = job.privacy
        self.user_id = job.user_id
        self.created_at = job.created_at
        self.paid = job.payment_ref is not None
        self.status = job.status
        self.attempt = job.attempt
        self.worker_key = job.worker_key
        self.steps: list[Step] = []
        self.stored: list[Step] = []
        self.counted = False
        """Whether its end is among what this process has counted."""
        self.version = 0

    @property
    def told(self) -> list[Step]:
        """All that is known of it here."""
        return merged(self.steps, self.stored)

    def seen_by(self, user_id: str | None) -> bool:
        """Whether whoever has shown the key of that user, or of nobody, may see it."""
        return self.privacy is Privacy.PUBLIC or self.user_id == user_id

    def add(self, step: Step) -> None:
        """One step more. Of too many, the first and the latest are kept."""
        if len(self.steps) >= _STEPS_MAX:
            del self.steps[1]
        self.steps.append(step)

    def advance(self, status: JobStatus, attempt: int, worker_key: str | None) -> bool:
        """The job is in that state now; false, and nothing is changed, where it is further already.

        What happens here and what is read of the store may be told in any order.
        """
        if progress(status, attempt) <= progress(self.status, self.attempt):
            return False
        self.status, self.attempt, self.worker_key = status, attempt, worker_key
        return True


def progress(status: JobStatus, attempt: int) -> tuple[int, int]:
    """How far a job is in its life: this grows with every move that it makes."""
    return attempt, _STAGES[status]


def stored_steps(job: Job) -> list[Step]:
    """What the store alone knows: of some steps that they happened, and not when."""
    steps = [Step(Event.COMMITTED, job.created_at)]
    steps += [
        Step(Event.RETURNED, each.at, None, each.worker_key, "refused or failed")
        for each in job.avoid
    ]
    if job.worker_key is not None:
        steps.append(Step(Event.ASSIGNED, None, job.attempt, job.worker_key))
    if job.status in ENDED:
        steps.append(
            Step(_end(job), job.completed_at, job.attempt, job.worker_key, job.error),
        )
    return steps


def merged(seen: Iterable[Step], stored: Iterable[Step]) -> list[Step]:
    """The steps that were seen, perhaps by several, and of the others what is stored, in order."""
    steps: dict[object, Step] = {}
    for step in seen:
        steps.setdefault(_which(step), step)
    returned_by = {step.worker_key for step in steps.values() if step.event is Event.RETURNED}
    for step in stored:
        if step.event is not Event.RETURNED or step.worker_key not in returned_by:
            steps.setdefault(_which(step), step)
    known = list(steps.values())
    return sorted(known, key=lambda step: (_moment(step, known), *_place(step)))


def whole(seen: Iterable[Step], job: Job) -> bool:
    """Whether these steps are all of a job's life so far, but perhaps for its first text."""
    needed = [Step(Event.COMMITTED, None)]
    needed += [Step(Event.ASSIGNED, None, attempt + 1) for attempt in range(job.attempt)]
    if job.status in ENDED:
        needed.append(Step(_end(job), None))
    return {_which(step) for step in needed} <= {_which(step) for step in seen}


def _end(job: Job) -> Event:
    return Event.COMPLETED if job.status is JobStatus.COMPLETED else Event.FAILED


def _which(step: Step) -> tuple[object, ...]:
    """Equal for what is the same step, whoever tells it."""
    if step.event in _ONCE:
        return (step.event,)
    if step.event is Event.RETURNED:
        return (step.event, step.attempt, step.worker_key, step.at)
    return (step.event, step.attempt)


def _place(step: Step) -> tuple[int, int]:
    return step.attempt or 0, _PLACES[step.event]


def _moment(step: Step, steps: Sequence[Step]) -> float:
    """When a step happened; one of unknown time stands before the first that must follow it."""
    if step.event is Event.COMMITTED:
        return -math.inf  # whatever the clock of the one that gave it out says
    if step.at is not None:
        return step.at
    later = [each.at for each in steps if each.at is not None and _place(each) > _place(step)]
    return min(later, default=math.inf)
