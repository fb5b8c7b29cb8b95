"""Measures what things cost here, checks the sum against whole nodes, and simulates large networks.

Without --costs it starts a PostgreSQL server of its own and measures for a minute.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from scripts.bench.servers import Failed
from scripts.cluster_model.costs import Cost, Costs
from scripts.cluster_model.measure import Whole, measure, whole
from scripts.cluster_model.model import Network, Outcome, Simulation
from tests.support.postgres import programs, running_server

_SIZES = ((1, 1_000), (3, 3_000), (10, 10_000), (30, 30_000), (100, 100_000), (10, 100_000))
_FULL = 0.9
_GROWTH = 1.25
_WHOLE_SECONDS = 8.0


class Measured(Struct, frozen=True):
    """The costs, and what whole nodes were seen to need."""

    costs: Costs
    nodes: tuple[Whole, ...]


def main() -> int:
    """Prints tables; 2 where nothing can be measured here."""
    asked = _options()
    try:
        measured = _measured(asked.costs, asked.save)
    except Failed as error:
        print(f"simulate_cluster: {error}", file=sys.stderr)
        return 2
    costs = _with_service(measured)
    _check(measured, costs)
    network = Network(
        coordinators=1,
        workers=1,
        jobs_per_second=1,
        job_seconds=asked.job_seconds,
        away=asked.away,
        stay_seconds=asked.stay_hours * 3600,
        cores=asked.cores,
    )
    sizes = [
        replace(
            network,
            coordinators=coordinators,
            workers=workers,
            jobs_per_second=workers * asked.busy / asked.job_seconds,
        )
        for coordinators, workers in _SIZES
    ]
    print(
        f"\nWorkers are busy {asked.busy:.0%} of the time with jobs of {asked.job_seconds:g} s and"
        f" stay {asked.stay_hours:g} h; the server has {asked.cores} cores.\n"
    )
    _table(sizes, lambda each: Simulation(each, costs, asked.seconds).run())
    for size in sizes[-2:]:
        _grow(size, costs, asked.seconds)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulate_cluster.py", description=__doc__)
    add = parser.add_argument
    add("--costs", type=Path, help="a file that --save wrote, instead of measuring")
    add("--save", type=Path, help="where to keep what was measured, as JSON")
    add("--cores", type=int, default=16, help="of the database server (16)")
    add("--job-seconds", type=float, default=20, help="how long a job takes at its worker (20)")
    add("--busy", type=float, default=0.5, help="the share of workers that have a job (0.5)")
    add("--stay-hours", type=float, default=1, help="how long a worker stays (1)")
    add("--away", type=float, default=0.01, help="jobs that find no place where they came (0.01)")
    add("--seconds", type=float, default=4, help="of each simulated network (4)")
    return parser.parse_args()


def _measured(given: Path | None, save: Path | None) -> Measured:
    if given is not None:
        return msgspec.json.decode(given.read_bytes(), type=Measured)
    if (folder := programs()) is None:
        raise Failed("no PostgreSQL server here: install Debian's package postgresql")
    with running_server(folder) as server, tempfile.TemporaryDirectory() as home:
        costs = asyncio.run(measure(server.database(), _say))
        nodes = []
        for count in (1, 3):
            _say(f"{count} whole node{'s' * (count > 1)}")
            keys = Path(home, str(count))
            keys.mkdir()
            nodes.append(asyncio.run(whole(keys, server.database(), count, _WHOLE_SECONDS)))
    measured = Measured(costs, tuple(nodes))
    if save is not None:
        save.write_bytes(msgspec.json.format(msgspec.json.encode(measured)))
    return measured


def _with_service(measured: Measured) -> Costs:
    """The costs with what one whole node needs for a job beyond its store."""
    one = measured.nodes[0]
    of_store = Simulation(_like(one), measured.costs, 4).run()
    per_job = of_store.coordinator / of_store.done_per_second
    return replace(measured.costs, serve=max(0.0, one.cost.coordinator - per_job))


def _like(seen: Whole) -> Network:
    """What the benchmark's loop was like: quick workers that stay."""
    return Network(
        coordinators=seen.coordinators,
        workers=32,
        jobs_per_second=seen.jobs_per_second,
        clients=32,
        job_seconds=0.001,
        away=0.0 if seen.coordinators == 1 else 0.1,
        stay_seconds=1e9,
        cores=2,
    )


def _check(measured: Measured, costs: Costs) -> None:
    """The sum of the parts beside what was seen of the whole."""
    print("| whole nodes, 32x32 | jobs/s | seen: coordinators, database | simulated |")
    print("| --- | ---: | ---: | ---: |")
    for seen in measured.nodes:
        found = Simulation(_like(seen), costs, 4).run()
        rate = found.done_per_second
        cost = Cost(found.coordinator * seen.coordinators / rate, found.database * 2 / rate)
        print(
            f"| {seen.coordinators} | {seen.jobs_per_second:,.0f} | {_per_job(seen.cost)}"
            f" | {_per_job(cost)} |"
        )


def _per_job(cost: Cost) -> str:
    return f"{cost.coordinator * 1000:.2f}, {cost.database * 1000:.2f} ms a job"


def _table(networks: list[Network], run: Callable[[Network], Outcome]) -> None:
    print(
        "| coordinators | workers | jobs/s asked | done | a coordinator's core | server's cores"
        " | ringing | commit p50 | p99 | told p99 | most goes to |"
    )
    print("|" + " ---: |" * 10 + " --- |")
    for network in networks:
        print(_row(network, run(network)), flush=True)


def _row(network: Network, found: Outcome) -> str:
    cells = (
        f"{network.coordinators}",
        f"{network.workers:,}",
        f"{network.jobs_per_second:,.0f}",
        f"{found.done_per_second:,.0f}",
        f"{found.coordinator:.0%}",
        f"{found.database:.0%}",
        f"{found.ringing:.0%}",
        f"{found.commit_p50 * 1000:,.0f} ms",
        f"{found.commit_p99 * 1000:,.0f} ms",
        f"{found.told_p99 * 1000:,.0f} ms",
        ", ".join(_most(found)),
    )
    return f"| {' | '.join(cells)} |"


def _most(found: Outcome) -> Iterator[str]:
    """What the coordinator and the server are busiest with."""
    uses = found.uses
    yield f"coordinator: {_largest({what: cost.coordinator for what, cost in uses.items()})}"
    yield f"server: {_largest({what: cost.database for what, cost in uses.items()})}"


def _largest(shares: dict[str, float]) -> str:
    what = max(shares, key=lambda each: shares[each])
    return f"{what} ({shares[what] / sum(shares.values()):.0%})"


def _grow(network: Network, costs: Costs, seconds: float) -> None:
    """Asks for more and more jobs until some part is full."""
    while True:
        found = Simulation(network, costs, seconds).run()
        parts = {
            "a coordinator's core": found.coordinator,
            "the server": found.database,
            "the ringing of bells": found.ringing,
        }
        full = [name for name, share in parts.items() if share >= _FULL]
        if full or found.done_per_second < network.jobs_per_second * _FULL:
            part = full[0] if full else "nothing that is looked at"
            break
        network = replace(network, jobs_per_second=network.jobs_per_second * _GROWTH)
    print(
        f"\nWith {network.coordinators} coordinators and {network.workers:,} workers, {part}"
        f" will be full first, at about {network.jobs_per_second:,.0f} jobs a second"
        f" ({', '.join(_most(found))})."
    )


def _say(line: str) -> None:
    print(f"measuring {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
