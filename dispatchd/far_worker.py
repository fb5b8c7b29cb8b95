"""A worker whose coordinator is on another machine."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from dispatchd.config import RemoteWorkerConfig
from dispatchd.core.clock import SystemClock
from dispatchd.crew import Crew
from dispatchd.hiring import hired, opening
from dispatchd.loop import Part, together, unless_stopped
from dispatchd.worker.dial import Dialler, coordinator_url
from dispatchd.worker.pairing import claim_code
from dispatchd.worker.remote import RemoteCoordinator


async def run_worker(
    config: RemoteWorkerConfig,
    announce: Callable[[Crew], None],
    announce_model: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    """Runs a worker for a far coordinator until `stop`; it connects once its model is there.

    A coordinator sends jobs to whoever has registered for them, so they would wait for the model
    here while others could do them. Raises as `run_node` does.
    """
    clock = SystemClock()
    urls = [coordinator_url(address) for address in config.coordinators]
    async with AsyncExitStack() as running:
        hiring = running.enter_async_context(hired(config.worker, clock, config.limits))
        if (crew := await unless_stopped(hiring, stop)) is None:
            return
        source = RemoteCoordinator(Dialler(urls, clock), lambda: crew.card, crew.key, clock)
        parts: list[Part] = [
            partial(_once_opened, crew, source.run),
            partial(crew.work, source, clock),
        ]
        if config.trust_code is not None:
            code = config.trust_code
            parts.append(partial(claim_code, urls, code, crew.key, clock))
        async with together(parts):
            announce(crew)
            async with opening(crew, announce_model, stop):
                await stop.wait()
                await source.drain(config.grace_seconds)


async def _once_opened(crew: Crew, part: Part) -> None:
    await crew.opened()
    await part()
