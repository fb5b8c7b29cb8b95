"""The node's own worker, while its store is away for a moment."""

import asyncio

import pytest

from dispatchd.coordinator.seated import SeatedWorker
from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.job import JobType, Lease
from dispatchd.core.keys import KeyPair
from dispatchd.core.limits import Limits
from dispatchd.worker.worker import Worker
from tests.support.executors import Gated
from tests.support.node import Node

SUMMARIZE = {"job_type": "TASK", "task_type": "summarize", "input": "A text."}


async def test_no_attempt_fails_because_its_progress_cannot_be_stored(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, task = KeyPair.generate(), Gated()
    slots = (Slots(frozenset({JobType.TASK}), 1),)
    card = WorkerCard(
        provider_pubkey=key.public_hex, provider_type=ProviderType.DESKTOP, slots=slots
    )
    source = SeatedWorker(node.parts.admission, node.parts.work, lambda: card, node.clock, Limits())
    start, tries = node.store.jobs.start, 0

    async def away_at_first(lease: Lease) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StoreUnavailable("disk full")
        await start(lease)

    monkeypatch.setattr(node.store.jobs, "start", away_at_first)
    worker = Worker(source, {JobType.TASK: task}, key, node.clock)
    parts = [asyncio.create_task(source.run()), asyncio.create_task(worker.run(slots))]
    try:
        job_id = await node.commit(SUMMARIZE)
        await node.until(job_id, "running")
        task.go.set()
        await node.until(job_id, "completed")
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
    assert (tries, len(task.payloads)) == (2, 1)
