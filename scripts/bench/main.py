"""The benchmark: runs the plan in rounds and prints the tables."""

import os
import platform
import pstats
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct

from scripts.bench import disk, history, schemas, servers
from scripts.bench.figures import figures
from scripts.bench.load import Load, Measured
from scripts.bench.options import either, plan_of, read_options
from scripts.bench.plan import Kept, Plan, Row
from scripts.bench.tables import report
from scripts.bench.targets import judge

_PROFILE_LINES = 30
_NODES = {Kept.SHARED: 1, Kept.THREE: 3}
_OTHER_SHARE_MAX = 0.05


class Bench(Struct, frozen=True):
    """What every run needs to know."""

    folder: Path
    seconds: float
    repeats: int
    same_reads: bool
    profile: Path | None
    store: str | None
    stack: ExitStack
    filled: dict[int, str]

    def run(self, plan: Plan) -> dict[tuple[Row, Kept], list[Measured]]:
        """Measures every row for each of its servers, in rounds, so that drift meets all alike."""
        found: dict[tuple[Row, Kept], list[Measured]] = {}
        steps = [(row, server) for row, kept in plan.items() for server in kept] * self.repeats
        for number, (row, server) in enumerate(steps, 1):
            before = found.get((row, Kept.NODE)) if server is Kept.FLOOR else None
            measured = self._measure(row, server, before[-1] if before else None)
            found.setdefault((row, server), []).append(measured)
            _progress(f"[{number}/{len(steps)}] {row.name}: {server} {_short(measured)}")
        return found

    def _measure(self, row: Row, server: Kept, beside: Measured | None) -> Measured:
        reads = beside.reads / max(beside.jobs, 1) if beside and self.same_reads else 0
        load = row.load(self.seconds, reads)
        if server is Kept.FLOOR:
            with servers.floor(self.folder) as running:
                return servers.drive([running], load)
        if server in _NODES:
            return self._measure_shared(row, load, _NODES[server])
        if row.history:
            data_dir = self._with_history(row.history)
        else:
            data_dir = Path(tempfile.mkdtemp(prefix="store-", dir=self.folder))
        try:
            profile = self.profile and _profile_of(self.profile, row)
            with servers.node(data_dir, profile) as running:
                return servers.drive([running], load)
        finally:
            if not row.history:
                shutil.rmtree(data_dir, ignore_errors=True)

    def _measure_shared(self, row: Row, load: Load, count: int) -> Measured:
        assert self.store is not None
        with ExitStack() as stack:
            keys = stack.enter_context(tempfile.TemporaryDirectory(dir=self.folder))
            if row.history:
                store = self._shared_history(row.history)
            else:
                store = stack.enter_context(schemas.schema(self.store))
            running = stack.enter_context(servers.nodes(Path(keys), count, store))
            return servers.drive(running, load, schemas.postmaster(self.store))

    def _shared_history(self, jobs: int) -> str:
        """A part of the database like that; it is made once, and grows with every run."""
        assert self.store is not None
        if jobs not in self.filled:
            store = self.stack.enter_context(schemas.schema(self.store))
            with tempfile.TemporaryDirectory(dir=self.folder) as keys:
                schemas.fill(Path(keys), store, jobs)
            self.filled[jobs] = store
            _progress(f"made {jobs:,} finished jobs in the database")
        return self.filled[jobs]

    def _with_history(self, jobs: int) -> Path:
        """A folder whose store holds finished jobs; it is made once, and grows with every run."""
        data_dir = self.folder / f"history-{jobs}"
        if not data_dir.exists():
            data_dir.mkdir()
            path = history.fill(data_dir, jobs)
            _progress(f"made {jobs:,} finished jobs, {path.stat().st_size / 1e6:,.0f} MB")
        return data_dir


def main() -> None:
    """Runs what the options ask for."""
    given = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    _allow_open_files()
    place = disk.choose_folder(given.dir)
    print(f"{_machine()}; stores in {place}: {disk.describe(place)}\n", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="dispatchd-bench-", dir=place) as folder,
        ExitStack() as stack,
    ):
        bench = Bench(
            folder=Path(folder),
            seconds=either(given.seconds, 1.0 if given.quick else 8.0),
            repeats=1 if given.profile else either(given.repeats, 1 if given.quick else 3),
            same_reads=given.floor_reads == "same",
            profile=given.profile,
            store=given.store,
            stack=stack,
            filled={},
        )
        plan = plan_of(given)
        found = bench.run(plan)
    results = {key: figures(runs) for key, runs in found.items()}
    print(report(results, judge(results)))
    _warn_of_others([run.other_share for runs in found.values() for run in runs])
    if given.profile is not None:
        _show_profiles([_profile_of(given.profile, row) for row in plan])


def _warn_of_others(shares: Sequence[float]) -> None:
    disturbed = sum(share > _OTHER_SHARE_MAX for share in shares)
    if disturbed:
        _progress(
            f"{disturbed} of {len(shares)} runs were disturbed: other processes had more than"
            f" {_OTHER_SHARE_MAX:.0%} of the machine, {max(shares):.0%} at the most"
        )


def _profile_of(profile: Path, row: Row) -> Path:
    """Each row's file, named after the one that was asked for."""
    return profile.with_stem(f"{profile.stem}-{row.kind}-{row.mode}")


def _show_profiles(paths: Sequence[Path]) -> None:
    """What cProfile saw, the costliest first; py-spy's files are shown by other programs."""
    for path in paths:
        print(f"\n{path}")
        if shutil.which("py-spy") is None:
            pstats.Stats(str(path)).sort_stats("tottime").print_stats(_PROFILE_LINES)


def _allow_open_files() -> None:
    """Each worker is a socket here and one in the server, which inherits this."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _machine() -> str:
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"


def _short(run: Measured) -> str:
    jobs = max(run.jobs, 1)
    return (
        f"{run.jobs / run.seconds:,.0f} jobs/s, {run.server_cpu_seconds * 1000 / jobs:.3f} ms CPU"
        f" ({run.server_loop_seconds * 1000 / jobs:.3f} in the loop), {run.reads / jobs:.2f} reads;"
        f" others had {run.other_share:.0%} of the machine"
    )


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except servers.Failed as error:
        sys.exit(f"bench_coordinator: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
