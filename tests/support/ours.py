"""Our own worker over a real socket, with executors that a test controls."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from yarl import URL

from dispatchd import __version__
from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.clock import Clock, SystemClock
from dispatchd.core.job import JobType
from dispatchd.core.keys import KeyPair
from dispatchd.worker import Executor
from dispatchd.worker.dial import Dialler
from dispatchd.worker.remote import RemoteCoordinator
from dispatchd.worker.worker import Worker


@asynccontextmanager
async def our_worker(
    url: str,
    executors: Mapping[JobType, Executor],
    *,
    places: int = 1,
    key: KeyPair | None = None,
    clock: Clock | None = None,
    models: tuple[str, ...] = (),
    others: Sequence[str] = (),
    device: str | None = None,
) -> AsyncIterator[KeyPair]:
    """A worker of ours, connected to a coordinator, or one of `others`, while the block runs."""
    key = key or KeyPair.generate()
    clock = clock or SystemClock()
    slots = tuple(Slots(frozenset({kind}), places) for kind in executors)
    card = WorkerCard(
        provider_pubkey=key.public_hex,
        provider_type=ProviderType.DESKTOP,
        slots=slots,
        version=__version__,
        models=models,
        device=device,
    )
    dialler = Dialler([URL(url), *map(URL, others)], clock)
    source = RemoteCoordinator(dialler, lambda: card, key, clock)
    parts = [
        asyncio.create_task(source.run()),
        asyncio.create_task(Worker(source, executors, key, clock).run(slots)),
    ]
    try:
        yield key
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
