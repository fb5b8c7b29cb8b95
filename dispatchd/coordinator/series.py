"""The last minutes in numbers: how many jobs came and ended, and how long they took."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct, field

from dispatchd.core.job import JobType, Millis

_BUCKET_MILLIS = 5_000
_BUCKETS = 180
_AHEAD = 2
"""So many buckets another coordinator's clock may be ahead."""
_BINS_PER_DOUBLING = 4
_LONGEST: Millis = 2**53
_MINUTE: Millis = 60_000
_HALF, _MOST = 0.5, 0.95

Number = Annotated[int, Meta(ge=0, le=_LONGEST)]
Bin = Annotated[int, Meta(ge=0, le=53 * _BINS_PER_DOUBLING)]


class Share(Struct, frozen=True):
    """The completed jobs of one type in a bucket.

    Seconds from commit to end: of half the jobs, and of 95 in 100, they are no longer than that;
    within a tenth, as they are counted in bins.
    """

    completed: int
    p50: float
    p95: float


class Bucket(Struct, frozen=True):
    """Five seconds that begin `at` a moment (seconds since 1970); types without jobs are absent."""

    at: int
    committed: int
    failed: int
    completed: dict[JobType, Share]


class Tally(Struct):
    """What was counted in the bucket of a number; completed jobs by type and bin of duration."""

    number: Number
    committed: Number = 0
    failed: Number = 0
    bins: dict[JobType, dict[Bin, Number]] = field(default_factory=dict)

    @property
    def completed(self) -> int:
        """How many jobs have completed."""
        return sum(sum(bins.values()) for bins in self.bins.values())


class Counts(Struct, frozen=True):
    """What one coordinator has counted since it began, and in some of its buckets."""

    completed: Number
    failed: Number
    tallies: tuple[Tally, ...]


class Series:
    """Fifteen minutes of one coordinator's buckets. Empty ones are left out."""

    def __init__(self) -> None:
        self._tallies: dict[int, Tally] = {}
        self._versions: dict[int, int] = {}

    def committed(self, now: Millis, version: int) -> None:
        """A job has come."""
        self._tally(now, version).committed += 1

    def failed(self, now: Millis, version: int, jobs: int = 1) -> None:
        """So many jobs have failed."""
        self._tally(now, version).failed += jobs

    def completed(self, kind: JobType, took: Millis, now: Millis, version: int) -> None:
        """A job has completed, so long after its commit."""
        bins = self._tally(now, version).bins.setdefault(kind, {})
        bin_ = round(math.log2(min(max(1, took), _LONGEST)) * _BINS_PER_DOUBLING)
        bins[bin_] = bins.get(bin_, 0) + 1

    def heard(self, tallies: Sequence[Tally], now: Millis, version: int) -> bool:
        """What its coordinator says that it has counted, in the place of what it said before.

        Whether anything is new; what is has that version then.
        """
        last, newest = _last_forgotten(now), now // _BUCKET_MILLIS + _AHEAD
        self._forget(last)
        new = [
            tally
            for tally in tallies
            if last < tally.number <= newest and self.get(tally.number) != tally
        ]
        for tally in new:
            self._put(tally, version)
        return bool(new)

    def since(self, number: int, now: Millis) -> tuple[Tally, ...]:
        """The buckets of the last fifteen minutes from a number on."""
        least = max(number, _last_forgotten(now) + 1)
        return tuple(tally for tally in self._tallies.values() if tally.number >= least)

    def changed(self, version: int) -> set[int]:
        """The numbers of the buckets that changed after a version."""
        return {number for number, changed in self._versions.items() if changed > version}

    def get(self, number: int) -> Tally | None:
        """What was counted in a bucket, if anything was."""
        return self._tallies.get(number)

    @property
    def newest(self) -> int:
        """The number of the last bucket; 0 where there is none."""
        return next(reversed(self._tallies), 0)

    def is_over(self, now: Millis) -> bool:
        """Whether all that is here was long ago."""
        return self.newest <= _last_forgotten(now)

    def completed_in_last_minute(self, now: Millis) -> int:
        """How many jobs completed within the last minute, to the width of a bucket."""
        first = (now - _MINUTE) // _BUCKET_MILLIS
        return sum(each.completed for each in self._tallies.values() if each.number > first)

    def _tally(self, now: Millis, version: int) -> Tally:
        """The bucket of this moment, or the last one where the clock has been set back."""
        number = max(now // _BUCKET_MILLIS, self.newest)
        tally = self._tallies.get(number)
        if tally is None:
            self._forget(number - _BUCKETS)
            tally = Tally(number)
        self._put(tally, version)
        return tally

    def _put(self, tally: Tally, version: int) -> None:
        self._tallies[tally.number] = tally
        self._versions[tally.number] = version

    def _forget(self, last: int) -> None:
        for number in [each for each in self._tallies if each <= last]:
            del self._tallies[number], self._versions[number]


def summed(all_series: Sequence[Series], version: int, now: Millis) -> list[Bucket]:
    """The buckets of the last fifteen minutes that changed after a version, of all together."""
    last = _last_forgotten(now)
    changed = {number for each in all_series for number in each.changed(version)}
    return [
        _sum([each.get(number) for each in all_series])
        for number in sorted(changed)
        if number > last
    ]


def _last_forgotten(now: Millis) -> int:
    return now // _BUCKET_MILLIS - _BUCKETS


def _sum(tallies: Sequence[Tally | None]) -> Bucket:
    """A bucket of which at least one has counted something."""
    counted = [tally for tally in tallies if tally is not None]
    bins: dict[JobType, Counter[int]] = {}
    for tally in counted:
        for kind, jobs in tally.bins.items():
            bins.setdefault(kind, Counter()).update(jobs)
    return Bucket(
        at=counted[0].number * _BUCKET_MILLIS // 1000,
        committed=sum(tally.committed for tally in counted),
        failed=sum(tally.failed for tally in counted),
        completed={kind: _share(jobs) for kind, jobs in bins.items()},
    )


def _share(bins: Counter[int]) -> Share:
    return Share(bins.total(), _quantile(bins, _HALF), _quantile(bins, _MOST))


def _quantile(bins: Counter[int], share: float) -> float:
    """Seconds in the bin in which that share of the jobs is reached."""
    ordered = sorted(bins.items())
    counted = itertools.accumulate(jobs for _, jobs in ordered)
    wanted = share * bins.total()
    found = next(bin_ for (bin_, _), jobs in zip(ordered, counted, strict=True) if jobs >= wanted)
    return float(f"{2 ** (found / _BINS_PER_DOUBLING) / 1000:.3g}")
