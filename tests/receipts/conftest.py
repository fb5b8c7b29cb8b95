"""Nodes with completed jobs, and the command line beside them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import click.testing
import pytest

from dispatchd.cli import main
from tests.support.crowd import SUMMARIZE, autopilot
from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.node import Node

Typed = Callable[..., Awaitable[click.testing.Result]]


@pytest.fixture
async def worker(node: Node) -> AsyncIterator[ForeignWorker]:
    """A worker of part 1 that completes nothing by itself."""
    async with foreign_worker(node.http, node.url) as connected:
        await connected.register()
        yield connected


@pytest.fixture
async def busy(node: Node) -> AsyncIterator[Node]:
    """A node whose worker completes whatever it is sent."""
    async with autopilot(node.http, node.url):
        yield node


@pytest.fixture
def typed() -> Typed:
    """Runs a command line in this process, on a thread of its own."""

    async def run(*arguments: str) -> click.testing.Result:
        def invoke() -> click.testing.Result:
            return click.testing.CliRunner().invoke(main, arguments, prog_name="dispatchd")

        return await asyncio.to_thread(invoke)

    return run


async def completed(node: Node, count: int = 1, **fields: Any) -> list[str]:
    """Commits jobs and waits until they have completed, one after the other."""
    job_ids = []
    for _ in range(count):
        job_ids.append(await node.commit(SUMMARIZE, **fields))
        await node.until(job_ids[-1], "completed")
    return job_ids


async def pair(node: Node, user_id: str, pubkey: str) -> None:
    """Makes a worker one that a user trusts."""
    async with node.http.post(f"{node.url}/v1/trust/create", json={"user_id": user_id}) as reply:
        code = (await reply.json())["pairing_code"]
    claim = {"pairing_code": code, "provider_pubkey": pubkey}
    async with node.http.post(f"{node.url}/v1/trust/claim", json=claim) as reply:
        assert reply.status == 200


async def text_of(node: Node, path: str, status: int = 200) -> str:
    async with node.http.get(node.url + path) as reply:
        text = await reply.text()
        assert reply.status == status, text
        return text


async def value_of(node: Node, path: str, status: int = 200) -> Any:
    return json.loads(await text_of(node, path, status))
