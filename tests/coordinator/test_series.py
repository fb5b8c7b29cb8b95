"""The last minutes in numbers: those of several coordinators are those of one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchd.coordinator.series import Counts, Series, Tally, summed
from dispatchd.core.job import JobType

NOW = 1_770_000_000_000
WINDOW = 900_000

things = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, WINDOW),
        st.sampled_from(["committed", "failed", *JobType]),
        st.integers(0, 10**7),
    ),
    max_size=40,
)


def count(series: Series, what: str, now: int, took: int) -> None:
    if what == "committed":
        series.committed(now, 1)
    elif what == "failed":
        series.failed(now, 1)
    else:
        series.completed(JobType(what), took, now, 1)


def told(series: Series, to: Series, version: int = 1) -> bool:
    """One coordinator asks another, over the wire."""
    text = msgspec.json.encode(Counts(0, 0, series.since(to.newest, NOW)))
    return to.heard(msgspec.json.decode(text, type=Counts).tallies, NOW, version)


@given(things)
def test_the_sum_over_coordinators_is_what_one_would_have_counted(
    happened: list[tuple[int, int, str, int]],
) -> None:
    alone, parts, copies = Series(), [Series() for _ in range(3)], [Series() for _ in range(3)]
    for place, (who, ago, what, took) in enumerate(sorted(happened, key=lambda each: -each[1])):
        count(alone, what, NOW - ago, took)
        count(parts[who], what, NOW - ago, took)
        if place % 3 == 0:
            told(parts[who], copies[who])
    for part, copy in zip(parts, copies, strict=True):
        told(part, copy)
        assert not told(part, copy, version=2), "what is known is no news"
    assert summed(copies, 0, NOW) == summed([alone], 0, NOW)
    assert summed(copies, 1, NOW) == []
    lately = sum(each.completed_in_last_minute(NOW) for each in copies)
    assert lately == alone.completed_in_last_minute(NOW)


def test_buckets_of_long_ago_and_of_the_future_are_not_taken_over() -> None:
    series, number = Series(), NOW // 5000
    tallies = [Tally(number + away, committed=1) for away in (-10_000, -180, -179, 0, 2, 3, 10_000)]
    assert series.heard(tallies, NOW, 1)
    assert [each.number - number for each in series.since(0, NOW)] == [-179, 0, 2]
    assert not series.heard([tallies[0], tallies[-1]], NOW, 2)
    assert series.heard([], NOW + 2 * WINDOW, 3) is False
    assert series.is_over(NOW + 2 * WINDOW)
    assert summed([series], 0, NOW + 2 * WINDOW) == []


@pytest.mark.parametrize(
    "tally",
    [
        '{"number":-1}',
        '{"number":1,"failed":-1}',
        '{"number":1,"bins":{"TASK":{"1":-1}}}',
        '{"number":1,"bins":{"TASK":{"-1":1}}}',
        '{"number":1,"bins":{"TASK":{"100000":1}}}',
        '{"number":1,"bins":{"OTHER":{}}}',
    ],
)
def test_what_nobody_can_have_counted_is_not_read(tally: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(tally, type=Tally)
