"""What tests have a worker of the `World` do, one step at a time."""

from tests.coordinator.world import Peer, World


async def finish(world: World, peer: Peer, job_id: str) -> None:
    """The worker completes a job that it has, and offers the place again."""
    assert peer.seat is not None
    done = world.result(peer.key, job_id)
    world.spawn(world.finish(peer.seat, peer.running.pop(job_id), done, good=True))
    await world.rest()
    world.claim(peer)
    await world.rest()
