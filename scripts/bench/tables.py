"""The figures as Markdown."""

from collections.abc import Iterable, Sequence

from scripts.bench.figures import Figures, Results
from scripts.bench.load import Kind
from scripts.bench.plan import Kept, Row
from scripts.bench.targets import Verdict

_THROUGHPUT = (
    "measurement (workers x clients)",
    "server",
    "jobs/s",
    "server CPU ms/job",
    "database CPU ms/job",
    "CPU / floor",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "reads/job",
    "load CPU ms/job",
)
_LATENCY = (
    "measurement",
    "server",
    "commit to 201, p50 ms",
    "201 to `job_assign`, p50",
    "p95",
    "201 to completed, p50",
    "p95",
)


def report(results: Results, verdicts: Sequence[Verdict]) -> str:
    """Every table that has a row; latencies are from sending the commit unless they say else."""
    latency = [key for key in results if key[0].kind is Kind.LATENCY]
    throughput = [key for key in results if key not in latency]
    tables = [
        _table(_THROUGHPUT, [_throughput(results, *key) for key in throughput], numbers_from=2),
        _table(_LATENCY, [_latency(results, *key) for key in latency], numbers_from=2),
        _table(("target", "measured", "met"), [_verdict(one) for one in verdicts], numbers_from=9),
    ]
    return "\n\n".join(table for table in tables if table)


def _throughput(results: Results, row: Row, server: Kept) -> list[str]:
    found = results[row, server]
    return [
        row.name,
        server,
        f"{found.jobs_per_second:,.0f}",
        f"{found.cpu_per_job:.3f}",
        f"{found.database_cpu_per_job:.3f}" if found.database_cpu_per_job else "",
        _ratio(found, results.get((row, Kept.FLOOR)) if server is Kept.NODE else None),
        f"{found.completed.p50:.1f}",
        f"{found.completed.p95:.1f}",
        f"{found.completed.p99:.1f}",
        f"{found.reads_per_job:.2f}",
        f"{found.load_cpu_per_job:.3f}",
    ]


def _latency(results: Results, row: Row, server: Kept) -> list[str]:
    found = results[row, server]
    return [
        row.name,
        server,
        f"{found.committed.p50:.2f}",
        f"{found.assigned.p50:.2f}",
        f"{found.assigned.p95:.2f}",
        f"{found.ended.p50:.2f}",
        f"{found.ended.p95:.2f}",
    ]


def _ratio(found: Figures, floor: Figures | None) -> str:
    return f"{found.cpu_per_job / floor.cpu_per_job:.2f}" if floor and floor.cpu_per_job else ""


def _verdict(verdict: Verdict) -> list[str]:
    return [verdict.target, verdict.measured, "yes" if verdict.met else "**no**"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int) -> str:
    if not rows:
        return ""
    rules = ("---" if at < numbers_from else "---:" for at in range(len(head)))
    return "\n".join(_line(cells) for cells in (head, list(rules), *rows))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
