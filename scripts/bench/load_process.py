"""The load process: workers and clients in one event loop, apart from the server they drive.

It takes a `Load` as JSON on its command line and prints a `Measured`.
"""

import asyncio
import gc
import itertools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvloop

from scripts.bench.customer import Customer
from scripts.bench.http_connection import HttpConnection
from scripts.bench.load import TASK, Kind, Load, Measured
from scripts.bench.meter import Meter
from scripts.bench.worker_socket import WorkerSocket

_JOINING_AT_ONCE = 32
_BETWEEN_JOBS_SECONDS = 0.003
_SETTLE_SECONDS = 0.2


async def measure(load: Load) -> Measured:
    """Connects everybody, warms up, measures, and leaves."""
    meter = Meter(load.server_pids, load.postmaster)
    async with _workers(load, meter) as workers, _customers(load, meter) as customers:
        await asyncio.sleep(_SETTLE_SECONDS)
        run = asyncio.ensure_future(_RUNS[load.kind](load, customers, meter))
        lost = asyncio.ensure_future(_first_lost(workers))
        await asyncio.wait({run, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not run.done():
            run.cancel()
            lost.result()
        lost.cancel()
        return await run


async def _loop(load: Load, customers: list[Customer], meter: Meter) -> Measured:
    pause = _BETWEEN_JOBS_SECONDS if load.kind is Kind.LATENCY else 0
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for customer in customers:
            group.create_task(customer.do_jobs(stop, pause))
        await asyncio.sleep(load.warm_seconds)
        meter.start()
        await asyncio.sleep(load.seconds)
        measured = meter.stop()
        stop.set()
    return measured


async def _burst(load: Load, customers: list[Customer], meter: Meter) -> Measured:
    """All commits at once, then each client follows what it has committed."""
    await _loop(msgspec.structs.replace(load, seconds=0), customers, meter)
    left = iter(range(load.burst))

    async def share(customer: Customer) -> None:
        committed = [await customer.commit() for _ in left]
        for job in committed:
            await customer.follow(*job)

    meter.start()
    await _together([share(customer) for customer in customers])
    return meter.stop()


_RUNS: dict[Kind, Callable[[Load, list[Customer], Meter], Coroutine[Any, Any, Measured]]] = {
    Kind.LOOP: _loop,
    Kind.LATENCY: _loop,
    Kind.BURST: _burst,
}


@asynccontextmanager
async def _workers(load: Load, meter: Meter) -> AsyncIterator[list[WorkerSocket]]:
    crew: list[WorkerSocket] = []
    arrivals = meter.arrivals if load.kind is Kind.LATENCY else None
    kinds = iter([load.idle_capability] * load.idle_workers + [TASK] * load.workers)
    ports = itertools.cycle(load.ports)

    async def join() -> None:
        for capability in kinds:
            worker = await WorkerSocket.open(next(ports), capability, load.places, arrivals)
            crew.append(worker)
            await worker.registered

    try:
        await _together([join() for _ in range(_JOINING_AT_ONCE)])
        yield crew
    finally:
        for worker in crew:
            worker.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def _customers(load: Load, meter: Meter) -> AsyncIterator[list[Customer]]:
    ports = itertools.islice(itertools.cycle(load.ports), load.clients)
    connections = [await HttpConnection.open(port) for port in ports]
    try:
        yield [
            Customer(connection, load.mode, meter, load.reads_per_job) for connection in connections
        ]
    finally:
        for connection in connections:
            connection.close()


async def _first_lost(workers: list[WorkerSocket]) -> None:
    """Raises once a worker's connection breaks."""
    await asyncio.gather(*(worker.lost for worker in workers))


async def _together(parts: list[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(part)


async def _within(limit_seconds: float, work: Awaitable[Measured]) -> Measured:
    async with asyncio.timeout(limit_seconds):
        return await work


def main() -> None:
    """Runs what the command line holds, for so long at the most."""
    load = msgspec.json.decode(sys.argv[1], type=Load)
    limit_seconds = float(sys.argv[2])
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measured = runner.run(_within(limit_seconds, measure(load)))
    sys.stdout.write(msgspec.json.encode(measured).decode())


if __name__ == "__main__":
    main()
