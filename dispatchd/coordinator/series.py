"""The last minutes in numbers: how many jobs came and ended, and how long they took."""

import itertools
import math
from collections import Counter, deque

from msgspec import Struct

from dispatchd.core.job import JobType, Millis

_BUCKET_MILLIS = 5_000
_BUCKETS = 180
_BINS_PER_DOUBLING = 4
_MINUTE: Millis = 60_000
_HALF, _MOST = 0.5, 0.95


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


class _Count:
    """A bucket while it is counted."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.version = 0
        self.committed = 0
        self.failed = 0
        self.bins: dict[JobType, Counter[int]] = {}

    @property
    def completed(self) -> int:
        return sum(bins.total() for bins in self.bins.values())

    def shown(self) -> Bucket:
        shares = {kind: _share(bins) for kind, bins in self.bins.items()}
        return Bucket(self.number * _BUCKET_MILLIS // 1000, self.committed, self.failed, shares)


class Series:
    """Fifteen minutes of buckets, whatever happens in them. Empty ones are left out."""

    def __init__(self) -> None:
        self._counts: deque[_Count] = deque(maxlen=_BUCKETS)

    def committed(self, now: Millis, version: int) -> None:
        """A job has come."""
        self._bucket(now, version).committed += 1

    def failed(self, now: Millis, version: int, jobs: int = 1) -> None:
        """So many jobs have failed."""
        self._bucket(now, version).failed += jobs

    def completed(self, kind: JobType, took: Millis, now: Millis, version: int) -> None:
        """A job has completed, so long after its commit."""
        bins = self._bucket(now, version).bins.setdefault(kind, Counter())
        bins[round(math.log2(max(1, took)) * _BINS_PER_DOUBLING)] += 1

    def since(self, version: int, now: Millis) -> list[Bucket]:
        """The buckets of the last fifteen minutes that changed after a version."""
        first = now // _BUCKET_MILLIS - _BUCKETS
        return [
            count.shown()
            for count in self._counts
            if count.version > version and count.number > first
        ]

    def completed_in_last_minute(self, now: Millis) -> int:
        """How many jobs completed within the last minute, to the width of a bucket."""
        first = (now - _MINUTE) // _BUCKET_MILLIS
        return sum(count.completed for count in self._counts if count.number > first)

    def _bucket(self, now: Millis, version: int) -> _Count:
        number = now // _BUCKET_MILLIS
        if not self._counts or self._counts[-1].number < number:
            self._counts.append(_Count(number))
        self._counts[-1].version = version
        return self._counts[-1]


def _share(bins: Counter[int]) -> Share:
    return Share(bins.total(), _quantile(bins, _HALF), _quantile(bins, _MOST))


def _quantile(bins: Counter[int], share: float) -> float:
    """Seconds in the bin in which that share of the jobs is reached."""
    ordered = sorted(bins.items())
    counted = itertools.accumulate(jobs for _, jobs in ordered)
    wanted = share * bins.total()
    found = next(bin_ for (bin_, _), jobs in zip(ordered, counted, strict=True) if jobs >= wanted)
    return float(f"{2 ** (found / _BINS_PER_DOUBLING) / 1000:.3g}")
