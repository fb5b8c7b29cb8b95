"""Measures the embedded classifier alone, in a running node, and through its HTTP side."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dispatchd import hiring, node
from dispatchd.cli.run import run
from dispatchd.config.parse import run_config
from dispatchd.core.job import JobType
from dispatchd.engine.catalog import DEFAULT_CLASSIFIER, find
from dispatchd.engine.classifier import Classifier, load_classifier
from dispatchd.worker import Executor
from scripts.classifier_bench.texts import texts

_TOGETHER = 64
_TICK_SECONDS = 0.002


def main() -> None:
    """Prints one JSON line for each figure."""
    options = _options()
    classifier = load_classifier(find(DEFAULT_CLASSIFIER).path)
    _say(_alone(classifier, options.rounds))
    _say(asyncio.run(_in_a_node(options.seconds)))
    for slots in options.slots:
        _say(asyncio.run(_through_http(options.seconds, options.customers, slots)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_classifier.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of 1,024 texts, by turns")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run in a node")
    parser.add_argument("--customers", type=int, default=128, help="at the HTTP side")
    parser.add_argument(
        "--slots", type=int, nargs="+", default=[4, hiring.TASK_SLOTS], help="TASK jobs at once"
    )
    return parser.parse_args()


def _alone(classifier: Classifier, rounds: int) -> dict[str, Any]:
    """Texts a second of one thread, one by one and together, and what that is worth."""
    given = texts(1024)
    cpu_seconds, single, together = 0.0, [], []
    for _ in range(rounds):
        started = time.perf_counter()
        one_by_one = [verdict for text in given for verdict in classifier.classify([text])]
        between, at_work = time.perf_counter(), time.thread_time()
        batched = [
            verdict
            for start in range(0, len(given), _TOGETHER)
            for verdict in classifier.classify(given[start : start + _TOGETHER])
        ]
        single.append(len(given) / (between - started))
        together.append(len(given) / (time.perf_counter() - between))
        cpu_seconds += time.thread_time() - at_work
        assert batched == one_by_one, "a text's answer depends on its company"
    ratios = np.array(together) / np.array(single)
    return {
        "where": f"one thread, {_TOGETHER} together",
        "one_by_one_per_second": np.median(single),
        "together_per_second": np.median(together),
        "together_per_cpu_second": rounds * len(given) / cpu_seconds,
        "together_over_one_by_one": np.median(ratios),
    }


async def _in_a_node(seconds: float) -> dict[str, Any]:
    """Classifications a second by the executor of a node that answers HTTP meanwhile."""
    async with _node(hiring.TASK_SLOTS) as (running, calls):
        assert running.crew is not None
        executor = running.crew.executors[JobType.TASK]
        url = f"http://127.0.0.1:{running.networks[0].port}"
        idle = await _customers(url, seconds / 2, 0)
        payloads = [_payloads(number) for number in range(_TOGETHER)]
        end = time.perf_counter() + seconds
        calls.clear()
        at_work = time.process_time()
        done, late, health = await asyncio.gather(
            asyncio.gather(*(_classify(executor, each, end) for each in payloads)),
            _lateness(end),
            _customers(url, seconds - 0.5, 0),
        )
        at_work = time.process_time() - at_work
    return {
        "where": f"in a node, {_TOGETHER} at once",
        "classifications_per_second": sum(done) / seconds,
        "classifications_per_cpu_second": sum(done) / at_work,
        "texts_per_call": np.mean(calls),
        "event_loop_lag_ms": late,
        "health_ms": {"idle": _times(idle), "meanwhile": _times(health)},
    }


async def _through_http(seconds: float, customers: int, slots: int) -> dict[str, Any]:
    """Jobs a second from commit to result, each with its receipt, on disk."""
    async with _node(slots) as (running, calls):
        url = f"http://127.0.0.1:{running.networks[0].port}"
        at_work = time.process_time()
        late, figures = await asyncio.gather(
            _lateness(time.perf_counter() + seconds), _customers(url, seconds, customers)
        )
        at_work = time.process_time() - at_work
    return {
        "where": f"through HTTP, {customers} customers, {slots} slots",
        "jobs_per_second": figures["replies"] / figures["seconds"],
        "jobs_per_cpu_second": figures["replies"] / at_work,
        "job_ms": _times(figures),
        "texts_per_call": np.mean(calls),
        "event_loop_lag_ms": late,
    }


@asynccontextmanager
async def _node(slots: int) -> AsyncIterator[tuple[node.Running, list[int]]]:
    """A whole node on this loop, and how many texts each call of its classifier had."""
    hiring.TASK_SLOTS = slots
    stop, ignored = asyncio.Event(), list[str]()
    started: asyncio.Future[node.Running] = asyncio.get_running_loop().create_future()
    with tempfile.TemporaryDirectory(prefix="bench-classifier-") as folder, _counted() as calls:
        given = ["--testnet", "--port", "0", "--data-dir", folder]
        values = run.make_context("run", given).params
        values.pop("log_level")
        serving = asyncio.create_task(
            node.run_node(run_config(values), started.set_result, ignored.append, stop)
        )
        serving.add_done_callback(lambda _: started.cancel())
        try:
            running = await started
            assert running.crew is not None
            await running.crew.opened()
            yield running, calls
        finally:
            stop.set()
            await serving


@contextmanager
def _counted() -> Iterator[list[int]]:
    """How many texts each call of any classifier has, while the block lasts."""
    calls: list[int] = []
    plain = Classifier.classify

    def counted(self: Classifier, texts: Sequence[str]) -> list[tuple[str, float]]:
        calls.append(len(texts))
        return plain(self, texts)

    Classifier.classify = counted  # type: ignore[method-assign] # measured from outside
    try:
        yield calls
    finally:
        Classifier.classify = plain  # type: ignore[method-assign] # as it was


def _payloads(seed: int) -> list[str]:
    return [
        json.dumps({"job_type": "TASK", "task_type": "classify", "input": text})
        for text in texts(64, seed)
    ]


async def _classify(executor: Executor, payloads: list[str], end: float) -> int:
    """One job after the other until the time is over; how many it were."""
    done = 0
    while time.perf_counter() < end:
        async for _ in executor.run(payloads[done % len(payloads)]):
            done += 1
    return done


async def _lateness(end: float) -> dict[str, float]:
    """How late the event loop wakes, in ms."""
    late: list[float] = []
    while (now := time.perf_counter()) < end:
        await asyncio.sleep(_TICK_SECONDS)
        late.append(1000 * (time.perf_counter() - now - _TICK_SECONDS))
    p50, p95, p99 = np.percentile(late, [50, 95, 99])
    return {"p50": p50, "p95": p95, "p99": p99, "max": max(late)}


async def _customers(url: str, seconds: float, customers: int) -> dict[str, float]:
    """What a process of customers says of its replies."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "scripts.classifier_bench.customers", url, str(seconds), str(customers)),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    figures: dict[str, float] = json.loads(out)
    return figures


def _times(figures: dict[str, float]) -> dict[str, float]:
    return {"p50": figures["p50_ms"], "p99": figures["p99_ms"]}


def _say(figure: dict[str, Any]) -> None:
    rounded = json.loads(
        json.dumps(figure, default=float), parse_float=lambda d: round(float(d), 2)
    )
    sys.stdout.write(json.dumps(rounded) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
