"""Killed at any moment, a node's chain holds exactly what has completed, and goes on from there."""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import aiohttp

from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.export import exported_chain
from dispatchd.sdk.http import Http
from dispatchd.sdk.proofs import Auditor, ProvenChain
from tests.faults.test_kill import Burst, Machine, pilots, session
from tests.support import auditor
from tests.support.crowd import all_completed

ROUNDS = 3


async def value_of(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(url) as reply:
        assert reply.status == 200
        return json.loads(await reply.text())


async def chain_of(http: aiohttp.ClientSession, url: str) -> tuple[list[Any], Any]:
    """All entries and the root of a node that completes nothing at the moment."""
    found: list[Any] = []
    after = 0
    while after is not None:
        page = await value_of(http, f"{url}/v1/receipts?limit=500&after={after}")
        found += page["entries"]
        after = page["next"]
    return found, await value_of(http, f"{url}/v1/receipts/root")


async def test_a_chain_survives_whatever_happens_to_its_node(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    chance = random.Random(8)
    accepted: list[str] = []
    before: list[Any] = []
    for _ in range(ROUNDS):
        with machine.running("--no-worker") as process:
            await asyncio.to_thread(process.url)
            async with session() as http:
                entries, root = await chain_of(http, machine.url)
                assert entries[: len(before)] == before
                auditor.check_chain(entries, root)
                before = entries
                async with pilots(http, machine.url):
                    burst = Burst(http, machine.url, chance.randint(20, 120))
                    clients = asyncio.create_task(burst.run())
                    async with asyncio.timeout(30):
                        await burst.reached.wait()
                        process.popen.kill()
                        await clients
        accepted += burst.accepted
        completed = machine.rows("SELECT seq FROM jobs WHERE status = 'completed' ORDER BY seq")
        assert completed == machine.rows("SELECT job_seq FROM chain_entries ORDER BY job_seq")
        assert machine.rows("SELECT size FROM chain_head") == [(len(completed),)]
    with machine.running("--no-worker") as process:
        await asyncio.to_thread(process.url)
        async with session() as http:
            async with pilots(http, machine.url):
                await all_completed(http, machine.url, accepted, 40)
            entries, root = await chain_of(http, machine.url)
            kept = [
                line async for line in exported_chain(CoordinatorClient(Http(machine.url, http)))
            ]
        auditor.check_chain(entries, root)
        assert entries[: len(before)] == before
        assert {entry["job_id"] for entry in entries} >= set(accepted)
        proven = Auditor(root["coordinator_key"]).file(iter(kept))
        assert isinstance(proven, ProvenChain)
        assert proven.receipts == proven.root.size == len(entries)
        assert process.stop() == 0
