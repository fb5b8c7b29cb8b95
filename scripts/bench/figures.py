"""From what was measured, several times over, to the figures of one row."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from scripts.bench.load import Measured, Percentiles
from scripts.bench.plan import Kept, Row


class Figures(Struct, frozen=True):
    """The medians of one row for one server; times are in milliseconds."""

    jobs_per_second: float
    cpu_per_job: float
    database_cpu_per_job: float
    load_cpu_per_job: float
    reads_per_job: float
    committed: Percentiles
    assigned: Percentiles
    ended: Percentiles
    completed: Percentiles


Results = Mapping[tuple[Row, Kept], Figures]


def figures(runs: Sequence[Measured]) -> Figures:
    """The medians over runs, each of a rate and not of its parts."""

    def middle(number: Callable[[Measured], float]) -> float:
        return statistics.median(number(run) for run in runs)

    def middles(percentiles: Callable[[Measured], Percentiles]) -> Percentiles:
        return Percentiles(
            middle(lambda run: percentiles(run).p50),
            middle(lambda run: percentiles(run).p95),
            middle(lambda run: percentiles(run).p99),
        )

    return Figures(
        jobs_per_second=middle(lambda run: run.jobs / run.seconds),
        cpu_per_job=middle(lambda run: run.server_cpu_seconds * 1000 / max(run.jobs, 1)),
        database_cpu_per_job=middle(lambda run: run.database_cpu_seconds * 1000 / max(run.jobs, 1)),
        load_cpu_per_job=middle(lambda run: run.load_cpu_seconds * 1000 / max(run.jobs, 1)),
        reads_per_job=middle(lambda run: run.reads / max(run.jobs, 1)),
        committed=middles(lambda run: run.committed),
        assigned=middles(lambda run: run.assigned),
        ended=middles(lambda run: run.ended),
        completed=middles(lambda run: run.completed),
    )
