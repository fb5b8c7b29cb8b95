"""Lives put together of what several coordinators have seen and what is stored."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dispatchd.coordinator.life import Event, Step, merged, progress, stored_steps, whole
from dispatchd.core.job import MOVES, Job, JobStatus, JobType, Privacy, Refusal, Tier

KEYS = ("aa", "bb")


def job(status: JobStatus, attempt: int, worker_key: str | None = None) -> Job:
    return Job(
        id="1",
        job_type=JobType.TASK,
        tier=Tier.CHEAP,
        privacy=Privacy.PUBLIC,
        user_id="ann",
        payload="",
        created_at=5,
        rank=0,
        status=status,
        attempt=attempt,
        worker_key=worker_key,
    )


@given(st.data())
def test_whatever_a_job_does_it_gets_further(data: st.DataObject) -> None:
    """So of two things that are told of a job, in any order, the later is known."""
    status, attempt, seen = JobStatus.PENDING, 0, []
    while moves := sorted(MOVES[status]):
        seen.append(progress(status, attempt))
        status = data.draw(st.sampled_from(moves))
        attempt += status is JobStatus.ASSIGNED
        if attempt > 4:
            break
    seen.append(progress(status, attempt))
    assert seen == sorted(set(seen))


def lives(attempts: int, end: Event | None) -> list[Step]:
    """All steps of a life in order, a moment apart."""
    steps = [Step(Event.COMMITTED, 5)]
    for attempt in range(1, attempts + 1):
        at, key = attempt * 10, KEYS[attempt % 2]
        steps.append(Step(Event.ASSIGNED, at, attempt, key))
        if attempt % 3:
            steps.append(Step(Event.FIRST_TEXT, at + 1, attempt, key))
        if attempt < attempts or end is None:
            steps.append(Step(Event.RETURNED, at + 2, attempt, key, "boom"))
    if end is not None:
        steps.append(Step(end, 99, attempts, KEYS[attempts % 2]))
    return steps


@given(
    st.integers(1, 5),
    st.sampled_from([None, Event.COMPLETED, Event.FAILED]),
    st.data(),
)
def test_what_several_have_seen_is_one_life(
    attempts: int, end: Event | None, data: st.DataObject
) -> None:
    steps = lives(attempts, end)
    status = JobStatus.PENDING if end is None else JobStatus(end)
    stands = job(status, attempts, None if end is None else KEYS[attempts % 2])
    told = data.draw(st.permutations([*steps, *data.draw(st.lists(st.sampled_from(steps)))]))
    assert merged(told, stored_steps(stands)) == steps
    assert whole(told, stands)
    kept = [each for each in steps if each.event in {Event.COMMITTED, Event.ASSIGNED, end}]
    missing = data.draw(st.sampled_from(kept))
    assert not whole([each for each in told if each != missing], stands)


def test_what_nobody_saw_is_put_where_it_belongs() -> None:
    stands = replace(job(JobStatus.COMPLETED, 2, "bb"), completed_at=40, avoid=(Refusal("aa", 20),))
    seen = [Step(Event.FIRST_TEXT, 30, 2, "bb"), Step(Event.COMMITTED, 5)]
    assert [(each.event, each.at) for each in merged(seen, stored_steps(stands))] == [
        (Event.COMMITTED, 5),
        (Event.RETURNED, 20),
        (Event.ASSIGNED, None),
        (Event.FIRST_TEXT, 30),
        (Event.COMPLETED, 40),
    ]


def test_an_end_of_unknown_time_comes_last_and_a_clock_that_is_behind_changes_nothing() -> None:
    stands = replace(job(JobStatus.FAILED, 1, "aa"), error="boom")
    seen = [Step(Event.ASSIGNED, 3, 1, "aa")]
    told = merged(seen, stored_steps(stands))
    assert [each.event for each in told] == [Event.COMMITTED, Event.ASSIGNED, Event.FAILED]
    assert told[1].at == 3
    assert not whole(seen, stands)
