"""When a worker is suspended and for how long, and how good its record is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dispatchd.core.job import Fault, Job, JobType, Millis, Privacy, Refusal, Tier, millis
from dispatchd.core.limits import Limits
from dispatchd.core.record import Blame, WorkerRecord
from dispatchd.core.standing import Grade, Standing, Strikes
from dispatchd.scheduler import STRIKES, grade, strikes_after, strikes_of

LIMITS = Limits()
KEY, OTHER = "ab" * 32, "cd" * 32
NOW = 1_000_000_000
NEW = Standing()
RUN = millis(LIMITS.task_run_seconds)
LONGEST = millis(LIMITS.suspension_seconds_max)

FAULTS = st.builds(Fault, st.just("x"), st.sampled_from(Blame), st.booleans())
EVENTS = st.lists(st.tuples(st.just(None) | FAULTS, st.integers(0, 4_000_000)), max_size=40)


def attempt(began_at: Millis = NOW, **fields: object) -> Job:
    """A job that is leased to the worker since a moment."""
    job = Job(
        id="job",
        job_type=JobType.TASK,
        tier=Tier.CHEAP,
        privacy=Privacy.PUBLIC,
        user_id="user",
        payload="{}",
        created_at=0,
        rank=0,
        worker_key=KEY,
        run_until=began_at + RUN,
    )
    return replace(job, **fields)


def blamed(
    before: Standing, fault: Fault, now: Millis, job: Job | None = None, limits: Limits = LIMITS
) -> Standing:
    """How a worker stands after a fault; without a job, at one that began just before."""
    job = job or attempt(now)
    return before.with_blame(fault.blame, strikes_after(before, job, fault, now, limits))


def after(*events: Fault | None, limits: Limits = LIMITS) -> tuple[Standing, Millis]:
    """How a worker stands after faults and, for None, successes, one a second; and when."""
    standing, now = NEW, NOW
    for event in events:
        now += 1000
        standing = (
            standing.with_success()
            if event is None
            else blamed(standing, event, now, limits=limits)
        )
    return standing, now


def fault(blame: Blame) -> Fault:
    return Fault("x", blame)


FAILED, LOST, LATE, BAD, REJECTED = (
    fault(blame)
    for blame in (
        Blame.FAILED,
        Blame.LOST,
        Blame.TIMED_OUT,
        Blame.BAD_RECEIPTS,
        Blame.REJECTED,
    )
)


@pytest.mark.parametrize(
    ("one", "count"),
    [(FAILED, 5), (LATE, 5), (LOST, 10), (BAD, 2)],
    ids=["failed", "late", "lost", "lying"],
)
def test_so_many_faults_in_a_row_suspend_and_one_fewer_does_not(one: Fault, count: int) -> None:
    assert grade(*after(*[one] * (count - 1)), LIMITS) is not Grade.SUSPENDED
    standing, now = after(*[one] * count)
    assert grade(standing, now, LIMITS) is Grade.SUSPENDED
    assert standing.strikes.suspended_until == now + 60_000
    assert grade(standing, now + 59_999, LIMITS) is Grade.SUSPENDED
    assert grade(standing, now + 60_000, LIMITS) is Grade.POOR


def test_a_success_between_faults_keeps_a_worker_from_being_suspended() -> None:
    assert grade(*after(*[FAILED, None, None] * 50), LIMITS) is not Grade.SUSPENDED
    assert grade(*after(*[LOST, None] * 50), LIMITS) is not Grade.SUSPENDED
    assert grade(*after(*[FAILED, None] * 50), LIMITS) is Grade.SUSPENDED


def test_turning_jobs_down_is_no_fault() -> None:
    standing, _ = after(*[REJECTED] * 100)
    assert (standing.strikes, standing.record.rejected) == (Strikes(), 100)


@pytest.mark.parametrize("blame", Blame)
@pytest.mark.parametrize(
    "job",
    [attempt(faults=1), attempt(faults=1, avoid=(Refusal(OTHER, NOW),))],
    ids=["failed before", "failed elsewhere"],
)
def test_a_job_that_has_failed_before_speaks_against_nobody_but_liars(
    job: Job, blame: Blame
) -> None:
    count = blamed(NEW, fault(blame), NOW, job).strikes.strikes
    assert count == (STRIKES[blame] if blame is Blame.BAD_RECEIPTS else 0)


def test_one_job_speaks_against_a_worker_once() -> None:
    job = attempt(faults=1, avoid=(Refusal(OTHER, NOW), Refusal(KEY, NOW)))
    assert [blamed(NEW, each, NOW, job).strikes for each in (FAILED, BAD)] == [Strikes()] * 2


def test_what_no_worker_could_do_speaks_against_none() -> None:
    final = Fault("prompt_too_long", Blame.FAILED, final=True)
    assert blamed(NEW, final, NOW).strikes == Strikes()


@given(st.integers(1, 50), st.sampled_from(Blame), st.integers(1, 600_000))
def test_attempts_that_ran_side_by_side_count_once(count: int, blame: Blame, took: int) -> None:
    standing = NEW
    for number in range(count):
        job = attempt(NOW + number % took)
        standing = blamed(standing, fault(blame), NOW + took + number, job)
    assert standing.strikes.strikes == STRIKES[blame]
    assert getattr(standing.record, blame) == count


def test_a_run_that_is_cut_short_began_no_earlier_than_its_job() -> None:
    once = blamed(NEW, FAILED, NOW)
    paid = attempt(run_until=NOW + 1000, created_at=NOW + 500)
    assert blamed(once, FAILED, NOW + 600, paid).strikes.strikes == 4


@given(st.integers(1, 40))
def test_each_suspension_is_twice_as_long_up_to_the_longest(count: int) -> None:
    standing, now = after(BAD)
    for number in range(count):
        standing = blamed(standing, BAD, now)
        seconds = (standing.strikes.suspended_until - now) / 1000
        assert seconds == min(60 * 2**number, 900)
        now = standing.strikes.suspended_until


def test_success_after_a_suspension_makes_good_step_by_step() -> None:
    standing, now = after(BAD, BAD)
    now += 60_000
    for done, expected in ((4, Grade.POOR), (2, Grade.FAIR), (3, Grade.FAIR), (1, Grade.GOOD)):
        for _ in range(done):
            standing = standing.with_success()
        assert grade(standing, now, LIMITS) is expected
    again = blamed(standing, BAD, now)
    assert grade(again, now, LIMITS) is Grade.POOR
    worse = blamed(again, BAD, now + 1)
    assert worse.strikes.suspended_until == now + 1 + 120_000


def test_an_hour_without_a_fault_makes_good_everything() -> None:
    standing, _ = after(BAD, BAD)
    later = standing.strikes.suspended_until + 3_600_000
    assert grade(standing, later - 1, LIMITS) is Grade.POOR
    assert grade(standing, later, LIMITS) is Grade.GOOD
    again = blamed(blamed(standing, BAD, later), BAD, later)
    assert again.strikes.suspended_until == later + 60_000


def test_a_worker_is_good_until_something_stands_against_it() -> None:
    assert grade(*after(), LIMITS) is Grade.GOOD
    assert grade(*after(LOST), LIMITS) is Grade.FAIR
    assert grade(*after(*[None] * 10), LIMITS) is Grade.GOOD
    assert grade(*after(*[None] * 10, LOST), LIMITS) is Grade.FAIR
    assert grade(*after(*[None] * 10, LOST, None), LIMITS) is Grade.GOOD
    assert grade(*after(*[None] * 10, BAD), LIMITS) is Grade.POOR


def test_canaries_are_counted_and_held_against_nobody() -> None:
    standing = Standing(WorkerRecord(completed=10, canaries_failed=99))
    assert grade(standing, NOW, LIMITS) is Grade.GOOD


def test_nobody_is_suspended_where_suspensions_take_no_time() -> None:
    limits = Limits(suspension_seconds=0)
    assert grade(*after(*[BAD] * 20, limits=limits), limits) is Grade.POOR


def test_a_clock_that_is_set_back_suspends_nobody_for_longer() -> None:
    standing, now = after(BAD, BAD)
    assert grade(standing, now - LONGEST, LIMITS) is Grade.POOR


@given(EVENTS)
def test_whatever_happens_strikes_and_suspensions_keep_their_bounds(
    events: list[tuple[Fault | None, int]],
) -> None:
    standing, now, jobs = NEW, NOW, 0
    for event, waited in events:
        now += waited
        if event is None:
            before, standing = standing, standing.with_success()
            assert strikes_of(standing, now, LIMITS) <= strikes_of(before, now, LIMITS)
            continue
        before, standing, jobs = standing, blamed(standing, event, now), jobs + 1
        strikes = standing.strikes
        assert strikes_of(standing, now, LIMITS) >= strikes_of(before, now, LIMITS)
        assert 0 <= strikes.strikes <= LIMITS.strikes_max
        assert before.strikes.suspended_until <= strikes.suspended_until <= now + LONGEST
        assert strikes.suspensions <= jobs
    assert grade(standing, now + LONGEST, LIMITS) is not Grade.SUSPENDED
    assert strikes_of(standing, now + LONGEST + 3_600_000, LIMITS) == 0
