"""The workers and their records, as everybody may see them."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from nacl.signing import SigningKey

from tests.api.conftest import TASK, Api
from tests.support.alive import beat, live
from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.node import Node

OTHER = "ab" * 32


async def assigned(node: Node, worker: ForeignWorker) -> str:
    job_id = await node.commit(TASK)
    assert (await worker.expect("job_assign"))["job_id"] == job_id
    return job_id


async def do(node: Node, worker: ForeignWorker) -> None:
    job_id = await assigned(node, worker)
    await worker.complete(job_id)
    await node.until(job_id, "completed")


async def lie(node: Node, worker: ForeignWorker) -> str:
    """Hands in a receipt that names another key; the job waits then."""
    job_id = await assigned(node, worker)
    await worker.socket.send_str(worker.completion(job_id, "{}", provider_pubkey=OTHER))
    assert (await worker.expect("error"))["code"] == "BAD_RECEIPT"
    await node.until(job_id, "pending")
    return job_id


async def shown(api: Api, worker: ForeignWorker, query: str = "") -> dict[str, Any]:
    found = (await api.get(f"/v1/workers{query}")).body["workers"]
    (mine,) = (each for each in found if each["provider_pubkey"] == worker.pubkey)
    return dict(mine)


async def test_a_worker_and_its_record(api: Api) -> None:
    async with foreign_worker(api.node.http, api.node.url) as worker:
        await worker.register("TASK", max_concurrent_jobs=3)
        await do(api.node, worker)
        assert await shown(api, worker) == {
            "provider_pubkey": worker.pubkey,
            "online": True,
            "provider_type": "DESKTOP",
            "capabilities": ["TASK"],
            "models": [],
            "device": None,
            "max_concurrent_jobs": 3,
            "active_jobs": 0,
            "proven": True,
            "standing": "good",
            "suspended_until": None,
            "record": {
                "completed": 1,
                "failed": 0,
                "rejected": 0,
                "bad_receipts": 0,
                "timed_out": 0,
                "lost": 0,
                "canaries_passed": 0,
                "canaries_failed": 0,
            },
        }


@pytest.mark.parametrize(
    ("said", "expected"),
    [("cuda", "cuda"), ("x" * 99, "x" * 64), ({"os": "x"}, None), (None, None)],
)
async def test_the_device_is_what_the_worker_says(
    api: Api, said: object, expected: str | None
) -> None:
    async with foreign_worker(api.node.http, api.node.url) as worker:
        await worker.register("TASK", device=said)
        assert (await shown(api, worker))["device"] == expected


async def test_a_worker_that_lies_twice_is_suspended_for_a_minute(api: Api) -> None:
    node = api.node
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register()
        await do(node, worker)  # so that its key is proven: nobody answers for another's
        for _ in range(2):
            job_id = await lie(node, worker)
        found = await shown(api, worker)
        assert (found["standing"], found["suspended_until"]) == (
            "suspended",
            "2026-02-09T12:01:00.000Z",
        )
        why = (await api.get(f"/v1/jobs/{job_id}/explain")).body
        assert (why["verdict"], why["workers"]) == (
            "cannot run now",
            [
                {
                    "provider_pubkey": worker.pubkey,
                    "excluded_by": "suspended",
                    "suspended_until": "2026-02-09T12:01:00.000Z",
                    "failures": 2,
                }
            ],
        )
        assert [frame["type"] for frame in await live(node, 59, worker, step=1)] == []
        assert (await node.job(job_id))["status"] == "pending"
        frames = await live(node, 1, worker, step=1)
        (frame,) = frames or [await worker.receive()]
        assert frame["type"] == "job_assign"
        assert (await shown(api, worker))["standing"] == "poor"


async def test_of_two_idle_workers_the_better_record_gets_the_job(api: Api) -> None:
    node = api.node
    async with AsyncExitStack() as connected:
        proven, fresh = [
            await connected.enter_async_context(foreign_worker(node.http, node.url))
            for _ in range(2)
        ]
        await proven.register()
        for _ in range(10):
            await do(node, proven)
        assert (await shown(api, proven))["standing"] == "good"
        await fresh.register()
        node.clock.advance(1)
        await beat(fresh)
        await do(node, proven)
        await do(node, fresh)  # equals take turns
        lied = await lie(node, proven)  # the other one has it now
        assert (await fresh.expect("job_assign"))["job_id"] == lied
        await fresh.complete(lied)
        await node.until(lied, "completed")
        node.clock.advance(1)
        await beat(proven)
        await do(node, fresh)


async def test_those_that_have_left_are_shown_on_request(api: Api) -> None:
    node = api.node
    keys = [SigningKey(bytes([number]) * 32) for number in range(1, 6)]
    for key in keys[:3]:
        async with foreign_worker(node.http, node.url, key) as worker:
            await worker.register()
            await do(node, worker)
    async with AsyncExitStack() as connected:
        for key in keys[2:]:
            worker = await connected.enter_async_context(foreign_worker(node.http, node.url, key))
            await worker.register()
        async with asyncio.timeout(10):  # until it is seen that the others have gone
            while len((await api.get("/v1/workers")).body["workers"]) > 3:
                await asyncio.sleep(0.005)
        assert "next" not in (await api.get("/v1/workers?limit=1")).body
        seen: list[dict[str, Any]] = []
        after = ""
        for size in (2, 2, 1):
            page = (await api.get(f"/v1/workers?all=true&limit=2&after={after}")).body
            assert len(page["workers"]) == size
            seen += page["workers"]
            after = page["next"]
        assert after is None
    everybody = sorted(bytes(key.verify_key).hex() for key in keys)
    assert [each["provider_pubkey"] for each in seen] == everybody
    gone = {bytes(key.verify_key).hex() for key in keys[:2]}
    assert {each["provider_pubkey"] for each in seen if not each["online"]} == gone
    assert [each["record"]["completed"] for each in seen if not each["online"]] == [1, 1]
    assert all(("models" in each) is each["online"] for each in seen)


@pytest.mark.parametrize(
    ("query", "name"),
    [("all=1", "all"), ("all=true&all=true", "all"), ("all=true&limit=0", "limit"),
     ("all=true&limit=501", "limit"), ("limit=x", "limit"), ("all=true&after=a&after=b", "after")],
)  # fmt: skip
async def test_a_list_of_workers_refuses_what_it_cannot_read(
    api: Api, query: str, name: str
) -> None:
    (await api.get(f"/v1/workers?{query}")).refuses(400, name)
