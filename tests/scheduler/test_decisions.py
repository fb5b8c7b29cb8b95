"""The scheduler's decisions, as plain values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dispatchd.core.card import ProviderType
from dispatchd.core.job import Fault, Job, JobType, Privacy, Refusal, Tier
from dispatchd.core.limits import Limits
from dispatchd.core.record import Blame
from dispatchd.scheduler import (
    WORKER_GONE,
    GiveUp,
    Retry,
    after_fault,
    grant,
    may_offer,
    overdue_fault,
    preference,
    rank,
)

LIMITS = Limits()
KEY, OTHER = "ab" * 32, "cd" * 32
NOW = 1_000_000
JOB = Job(
    id="job",
    job_type=JobType.TASK,
    tier=Tier.CHEAP,
    privacy=Privacy.PUBLIC,
    user_id="user",
    payload="{}",
    created_at=NOW,
    rank=0,
    worker_key=KEY,
    attempt=1,
)
MOMENTS = st.integers(0, 10**9)


@given(MOMENTS, st.integers(0, 59_999))
def test_fast_goes_before_cheap(now: int, later: int) -> None:
    assert rank(Tier.FAST, now + later, LIMITS) < rank(Tier.CHEAP, now, LIMITS)


@given(MOMENTS, st.integers(60_001, 10**9))
def test_a_cheap_job_that_has_waited_long_goes_before_fast(now: int, later: int) -> None:
    assert rank(Tier.CHEAP, now, LIMITS) < rank(Tier.FAST, now + later, LIMITS)


@given(st.sampled_from(Tier), MOMENTS, st.integers(1, 10**6))
def test_within_a_tier_the_older_goes_first(tier: Tier, now: int, later: int) -> None:
    assert rank(tier, now, LIMITS) < rank(tier, now + later, LIMITS)


@pytest.mark.parametrize(
    ("tier", "job_type", "preferred"),
    [
        (Tier.FAST, JobType.TASK, ProviderType.DESKTOP),
        (Tier.FAST, JobType.LLM_INFER, ProviderType.DESKTOP),
        (Tier.CHEAP, JobType.TASK, ProviderType.SEEKER),
        (Tier.CHEAP, JobType.LLM_INFER, None),
    ],
)
def test_who_suits_whom(tier: Tier, job_type: JobType, preferred: ProviderType | None) -> None:
    job = replace(JOB, tier=tier, job_type=job_type)
    order = {kind: preference(job, kind) for kind in ProviderType}
    best = [kind for kind in ProviderType if order[kind] == min(order.values())]
    assert best == ([preferred] if preferred else list(ProviderType))


def test_a_fault_is_followed_by_another_attempt_three_in_all() -> None:
    job = JOB
    for faults in (1, 2):
        decision = after_fault(job, WORKER_GONE, NOW, LIMITS, others_online=False)
        assert isinstance(decision, Retry)
        assert decision.job.faults == faults
        assert decision.job.avoid == ()
        job = decision.job
    last = after_fault(job, Fault("gone for good", Blame.LOST), NOW, LIMITS, others_online=True)
    assert last == GiveUp(replace(job, faults=3), "gone for good")


def test_a_refusal_is_remembered() -> None:
    decision = after_fault(JOB, Fault("no", Blame.REJECTED), NOW, LIMITS, others_online=False)
    assert isinstance(decision, Retry)
    assert decision.job.avoid == (Refusal(KEY, NOW),)
    assert decision.job.lane == replace(JOB.lane, retried=True)


@pytest.mark.parametrize("others", [True, False])
def test_what_a_worker_can_never_do_is_tried_only_elsewhere(others: bool) -> None:
    fault = Fault("prompt_too_long", final=True)
    decision = after_fault(JOB, fault, NOW, LIMITS, others_online=others)
    assert isinstance(decision, Retry if others else GiveUp)


@pytest.mark.parametrize(
    ("waited", "others", "offered"),
    [(4.999, False, False), (5, False, True), (5, True, False), (3600, True, False)],
)
def test_who_refused_a_job_gets_it_again_late_and_last(
    waited: float, others: bool, offered: bool
) -> None:
    job = replace(JOB, avoid=(Refusal(KEY, NOW),))
    now = NOW + round(waited * 1000)
    assert may_offer(job, KEY, now, LIMITS, others_online=others) is offered
    assert may_offer(job, OTHER, now, LIMITS, others_online=others)


def test_a_grant_ends_with_the_lease_and_with_the_run() -> None:
    granted = grant(JOB, OTHER, NOW, LIMITS)
    assert (granted.lease_until, granted.run_until) == (NOW + 30_000, NOW + 60_000)
    long = grant(replace(JOB, job_type=JobType.LLM_INFER), OTHER, NOW, LIMITS)
    assert long.run_until == NOW + 600_000
    assert (granted.leased.attempt, granted.leased.worker_key) == (2, OTHER)


def test_why_a_lease_is_overdue() -> None:
    assert overdue_fault(replace(JOB, run_until=NOW), NOW).reason == "timeout"
    assert overdue_fault(replace(JOB, run_until=NOW + 1), NOW).reason == "worker_disconnected"
