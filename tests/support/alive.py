"""Workers that stay alive while a test moves the clock."""

from typing import Any

from tests.support.foreign import ForeignWorker
from tests.support.node import Node

_BEAT_SECONDS = 10.0


async def beat(worker: ForeignWorker) -> list[dict[str, Any]]:
    """A heartbeat and its answer; what else has come until then."""
    await worker.send(type="heartbeat", provider_pubkey=worker.pubkey)
    frames: list[dict[str, Any]] = []
    while (frame := await worker.receive())["type"] != "heartbeat_ack":
        frames.append(frame)
    return frames


async def live(
    node: Node, seconds: float, *workers: ForeignWorker, step: float = _BEAT_SECONDS
) -> list[dict[str, Any]]:
    """Moves the clock while these workers beat, and sweeps now and then; what they were sent."""
    frames = []
    while seconds > 0:
        node.clock.advance(min(step, seconds))
        seconds -= step
        for worker in workers:
            frames += await beat(worker)
        await node.parts.sweep.once()
    for worker in workers:
        frames += await beat(worker)
    return frames
