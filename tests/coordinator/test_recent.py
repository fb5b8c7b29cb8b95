"""What has happened lately, told by the parts here and read of a store that others write to."""

from collections.abc import Callable, Iterator
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dispatchd.coordinator.recent import Recent
from dispatchd.core.job import Job, JobStatus, JobType, Lease, Privacy, Tier
from tests.support.clock import FakeClock

KEY = "ab" * 32
Telling = tuple[Job, Callable[[Recent], None]]


def new_job(number: int = 1) -> Job:
    return Job(
        id=f"job-{number}",
        job_type=JobType.TASK,
        tier=Tier.CHEAP,
        privacy=Privacy.PUBLIC,
        user_id="ann",
        payload="",
        created_at=5,
        rank=5,
    )


def life(attempts: int, end: JobStatus) -> Iterator[Telling]:
    """What the store has of a job after each move, and how the journal is told of that move."""
    job = new_job()
    yield job, partial(Recent.committed, job=job)
    for attempt in range(1, attempts + 1):
        leased = replace(job, status=JobStatus.ASSIGNED, attempt=attempt, worker_key=KEY)
        yield leased, partial(Recent.assigned, job=leased)
        running = replace(leased, status=JobStatus.RUNNING)
        lease = Lease(job.id, attempt)
        yield running, partial(Recent.began, lease=lease)
        if attempt < attempts:
            job = replace(running, status=JobStatus.PENDING, worker_key=None)
            yield job, partial(Recent.returned, job=leased, reason="x")
    error = "boom" if end is JobStatus.FAILED else None
    ended = replace(running, status=end, error=error, completed_at=None if error else 9)
    yield ended, partial(Recent.ended, job=ended)


@given(st.integers(1, 4), st.sampled_from([JobStatus.COMPLETED, JobStatus.FAILED]), st.data())
def test_what_is_read_early_or_late_changes_nothing_of_a_life_that_is_seen(
    attempts: int, end: JobStatus, data: st.DataObject
) -> None:
    clock = FakeClock()
    alone, recent = Recent(clock), Recent(clock)
    tellings = list(life(attempts, end))
    stored = [state for state, _ in tellings]
    for _, tell in [*tellings, tellings[-1]]:  # of the end twice, as may be where jobs are sold
        for state in data.draw(st.lists(st.sampled_from(stored), max_size=3)):
            recent.found(state)
        tell(alone)
        tell(recent)
        for state in data.draw(st.lists(st.sampled_from(stored), max_size=1)):
            recent.found(state)
    for each in (alone, recent):
        (shown,) = each.lives(0, None, 9)
        assert (shown.status, shown.attempt, shown.worker_key) == (end, attempts, KEY)
        assert (each.completed, each.failed) == ((1, 0) if end is JobStatus.COMPLETED else (0, 1))
    assert recent.lives(0, None, 9)[0].told == alone.lives(0, None, 9)[0].told
    assert recent.open == []


def test_what_was_done_elsewhere_is_shown_and_not_counted() -> None:
    recent = Recent(FakeClock())
    recent.committed(new_job())
    *_, (ended, _) = life(2, JobStatus.COMPLETED)
    version = recent.version
    recent.found(ended)
    (shown,) = recent.lives(version, None, 9)
    assert (shown.status, shown.attempt, shown.worker_key) == (JobStatus.COMPLETED, 2, KEY)
    assert (recent.completed, recent.open) == (0, [])
    version = recent.version
    recent.found(ended)
    assert recent.lives(version, None, 9) == []
    assert not recent.listen(version).is_set()
