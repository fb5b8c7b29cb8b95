"""The targets, each judged from the figures; one whose rows were not run is left out."""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from scripts.bench.figures import Figures, Results
from scripts.bench.load import Kind, Mode
from scripts.bench.plan import SMALL, Kept, Row

_CPU_RATIO_MAX = {Mode.POLL: 2.5, Mode.WAIT: 1.8}
_BURST_SHARE_MIN = 0.8
_ASSIGNED_MILLISECONDS_MAX = 5.0
_CHANGE_MAX = 0.2


class Verdict(Struct, frozen=True):
    """A target, what was measured, and whether that is enough."""

    target: str
    measured: str
    met: bool


def judge(results: Results) -> list[Verdict]:
    """Every target that these results can tell of."""
    plain = [row for row, server in results if server is Kept.NODE and not row.condition]
    verdicts = [verdict for row in plain for verdict in _of_row(results, row)]
    conditions = dict.fromkeys((row.condition, server) for row, server in results if row.condition)
    verdicts += [verdict for each in conditions for verdict in _of_condition(results, *each)]
    return verdicts


def _of_row(results: Results, row: Row) -> Iterator[Verdict]:
    found = results[row, Kept.NODE]
    if row.kind is Kind.LATENCY:
        yield _is_quick(found)
    elif row.kind is Kind.BURST:
        loop = results.get((replace(row, kind=Kind.LOOP, burst=0), Kept.NODE))
        if loop is not None:
            yield _drains(found, loop)
    else:
        floor = results.get((row, Kept.FLOOR))
        if floor is not None and floor.cpu_per_job and row.clients > SMALL:
            yield _is_near_floor(row, found, floor)
        small = results.get((replace(row, workers=SMALL, clients=SMALL), Kept.NODE))
        if small is not None and row.clients > SMALL:
            yield _scales(row, found, small)


def _is_near_floor(row: Row, found: Figures, floor: Figures) -> Verdict:
    most = _CPU_RATIO_MAX[row.mode]
    ratio = found.cpu_per_job / floor.cpu_per_job
    name = f"{row.work}: CPU per job at most {most} times the floor's"
    return Verdict(name, f"{ratio:.2f}", ratio <= most)


def _scales(row: Row, found: Figures, small: Figures) -> Verdict:
    ratio = found.jobs_per_second / small.jobs_per_second
    name = f"{row.work}: no slower a job than {SMALL}x{SMALL}"
    measured = f"{found.jobs_per_second:,.0f} and {small.jobs_per_second:,.0f} jobs/s"
    return Verdict(name, f"{measured}, {ratio:.2f} times", ratio >= 1)


def _drains(found: Figures, loop: Figures) -> Verdict:
    share = found.jobs_per_second / loop.jobs_per_second
    name = f"burst drains at {_BURST_SHARE_MIN:.0%} of the closed loop's rate or more"
    return Verdict(name, f"{share:.0%}", share >= _BURST_SHARE_MIN)


def _is_quick(found: Figures) -> Verdict:
    name = f"an idle worker gets a job under {_ASSIGNED_MILLISECONDS_MAX:.0f} ms after its 201"
    median = found.assigned.p50
    return Verdict(name, f"{median:.2f} ms at the median", median < _ASSIGNED_MILLISECONDS_MAX)


def _of_condition(results: Results, condition: str, server: Kept) -> Iterator[Verdict]:
    changes = [
        change
        for row, of in results
        if of is server and row.condition == condition
        for change in _changes(results, row, server)
    ]
    if changes:
        where = "" if server is Kept.NODE else f" of {server}"
        name = f"{condition} worsen nothing{where} by more than {_CHANGE_MAX:.0%}"
        measured = ", ".join(f"{what} {change:+.0%}" for what, change in changes)
        yield Verdict(name, measured, max(change for _, change in changes) <= _CHANGE_MAX)


def _changes(results: Results, row: Row, server: Kept) -> Iterator[tuple[str, float]]:
    """By how much each figure of a row is worse than with nothing else there."""
    base, found = results.get((row.plain, server)), results[row, server]
    if base is None:
        return
    if row.kind is Kind.LATENCY:
        yield "time to `job_assign`", found.assigned.p50 / max(base.assigned.p50, 0.01) - 1
        return
    work = "burst" if row.kind is Kind.BURST else row.mode
    yield f"{work} time per job", base.jobs_per_second / found.jobs_per_second - 1
    yield f"{work} CPU per job", found.cpu_per_job / base.cpu_per_job - 1
