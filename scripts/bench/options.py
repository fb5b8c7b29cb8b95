"""The command line of the benchmark: what it offers, and the plan that it asks for."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from scripts.bench.load import LLM_INFER, TASK, Kind, Mode
from scripts.bench.plan import Kept, Plan, Sizes, chosen, full, shared

_T = TypeVar("_T")

_IDLE = {"llm": LLM_INFER, "task": TASK}
_ABOUT = """\
Drives a node with an empty store on disk, and the floor beside it, with synthetic workers and
clients, in turn, and prints medians. Without --workers, --clients, --burst, --latency or --profile
it runs everything that the targets need.
"""
_FLOOR_READS = "same: the floor gets as many reads per job as the node did; own: as it comes"

_STORE = "instead of the floor, one and three nodes over this database, in schemas that are dropped"


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="bench_coordinator.py", description=_ABOUT)
    add = parser.add_argument
    add("--workers", type=int, help="only the closed loop, with so many workers (else 64)")
    add("--clients", type=int, help="only the closed loop, with so many clients (else 64)")
    add("--burst", type=int, help="only a burst of so many jobs (else 10000)")
    add("--latency", action="store_true", help="only one worker, one client, one job at a time")
    add("--mode", choices=("poll", "wait", "both"), default="both", help="how clients follow jobs")
    add("--places", type=int, default=1, help="max_concurrent_jobs of each worker")
    add("--seconds", type=float, help="of each closed loop (8, or 1 with --quick)")
    add("--repeats", type=int, help="rounds, of which the medians are taken (3, or 1)")
    add("--idle-workers", type=int, help="idle workers beside the others (1000 for the full table)")
    add("--idle-kind", choices=_IDLE, default="llm", help="llm: never used; task: also get jobs")
    add("--history", type=int, help="finished jobs in the store (1000000 for the full table)")
    add("--node-only", action="store_true", help="leave the floor out")
    add("--floor-reads", choices=("same", "own"), default="same", help=_FLOOR_READS)
    add("--quick", action="store_true", help="a small pass over everything, under a minute")
    add("--profile", type=Path, metavar="FILE", help="profile the node (py-spy, else cProfile)")
    add("--store", metavar="postgresql://…", help=_STORE)
    add("--dir", type=Path, help="where stores are made (else the first temp folder on a disk)")
    return parser.parse_args(arguments)


def plan_of(given: argparse.Namespace) -> Plan:
    """The measurements that the options ask for."""
    looping = given.workers is not None or given.clients is not None
    kinds = [Kind.LOOP] if looping else []
    kinds += [Kind.BURST] if given.burst is not None else []
    kinds += [Kind.LATENCY] if given.latency else []
    if given.profile is not None and not kinds:
        kinds = [Kind.LOOP]
    all_of_it, quick = not kinds, given.quick
    sizes = Sizes(
        modes=tuple(Mode) if given.mode == "both" else (Mode(given.mode),),
        workers=either(given.workers, 64),
        clients=either(given.clients, 64),
        places=given.places,
        burst=either(given.burst, 1000 if quick else 10_000),
        idle_workers=either(given.idle_workers, (100 if quick else 1000) if all_of_it else 0),
        idle_capability=_IDLE[given.idle_kind],
        history=either(given.history, (20_000 if quick else 1_000_000) if all_of_it else 0),
    )
    if given.store is not None:
        few = (Kept.NODE, Kept.SHARED, Kept.THREE)
        return shared(sizes) if all_of_it else dict.fromkeys(chosen(sizes, kinds), few)
    plan = full(sizes, thorough=not quick) if all_of_it else chosen(sizes, kinds)
    if given.node_only or given.profile is not None:
        return dict.fromkeys(plan, (Kept.NODE,))
    return plan


def either(value: _T | None, default: _T) -> _T:
    """What was given, else the default."""
    return default if value is None else value
