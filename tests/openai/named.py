"""Our own worker, which lists a model, with an executor that a test scripts."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from yarl import URL

from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.clock import SystemClock
from dispatchd.core.job import JobType
from dispatchd.core.keys import WorkerKey
from dispatchd.worker import Executor, Output
from dispatchd.worker.dial import Dialler
from dispatchd.worker.remote import RemoteCoordinator
from dispatchd.worker.worker import Worker
from tests.support.node import Node

MODEL = "org/scripted"
PATIENCE_SECONDS = 10


class Script:
    """Says what the test lets it say: text, at last the output, or an error."""

    def __init__(self) -> None:
        self.payloads: list[str] = []
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()
        self.pieces: asyncio.Queue[str | dict[str, object] | Exception] = asyncio.Queue()

    async def run(self, payload: str) -> AsyncGenerator[str | Output]:
        self.payloads.append(payload)
        self.started.set()
        try:
            while isinstance(piece := await self.pieces.get(), str):
                yield piece
        except (GeneratorExit, asyncio.CancelledError):
            self.stopped.set()
            raise
        if isinstance(piece, Exception):
            raise piece
        yield Output(piece)


@asynccontextmanager
async def named_worker(node: Node, executor: Executor) -> AsyncIterator[None]:
    """A connected worker with the model `MODEL`, until the end of the block."""
    key, clock = WorkerKey.generate(), SystemClock()
    slots = (Slots(frozenset({JobType.LLM_INFER}), 1),)
    card = WorkerCard(
        provider_pubkey=key.public_hex,
        provider_type=ProviderType.DESKTOP,
        slots=slots,
        version="test",
        models=(MODEL,),
    )
    source = RemoteCoordinator(Dialler(URL(node.url), clock), card, key, clock)
    worker = Worker(source, {JobType.LLM_INFER: executor}, key, clock)
    parts = [asyncio.create_task(source.run()), asyncio.create_task(worker.run(slots))]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not len(node.parts.seats):
                await asyncio.sleep(0.002)
        yield
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
