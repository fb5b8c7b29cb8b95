"""Whatever workers, users and impostors do: a PRIVATE job goes to who holds a trusted key."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from nacl.signing import SigningKey

from tests.support.clock import FakeClock
from tests.support.crowd import order
from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.keyholders import OURS, SECRET, pair, unpair
from tests.support.node import Node, running_node

KEYS = tuple(SigningKey(bytes([number]) * 32) for number in (1, 2))
NOBODYS = SigningKey(bytes([9]) * 32)
PUBKEYS = tuple(bytes(key.verify_key).hex() for key in KEYS)
PICKS = st.integers(0, 7)


class Connection:
    """A worker that may hold the key it names; all that it is sent is kept."""

    def __init__(self, worker: ForeignWorker, *, holds_key: bool, ours: bool) -> None:
        self.worker = worker
        self.holds_key = holds_key
        self.ours = ours
        self.frames: list[dict[str, Any]] = []
        self.open: list[str] = []
        """Jobs that it was given and has not answered."""
        self.reading = asyncio.create_task(self._read())

    @property
    def ack(self) -> dict[str, Any] | None:
        return next((f for f in self.frames if f.get("status") == "ok" and "worker_id" in f), None)

    async def _read(self) -> None:
        async for message in self.worker.socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            frame = json.loads(message.data)
            self.frames.append(frame)
            if frame["type"] == "job_assign":
                self.open.append(frame["job_id"])
                self._look_at(frame)

    def _look_at(self, frame: dict[str, Any]) -> None:
        secret = frame["privacy_class"] == "PRIVATE" or SECRET["input"] in json.dumps(frame)
        assert self.holds_key or not secret, "a secret has gone to an impostor"

    async def close(self) -> None:
        await self.worker.socket.close()
        await asyncio.gather(self.reading)


def somebody_is_connected(machine: "PrivateToWhom") -> bool:
    """Whether there is anybody to do something."""
    return bool(machine.connections)


class PrivateToWhom(RuleBasedStateMachine):
    """Connections that come, prove, answer and go, in the name of two keys.

    A PRIVATE job is committed after every step.
    """

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.connections: list[Connection] = []
        self.committing: list[asyncio.Task[int]] = []
        self.runner.run(self._start())

    async def _start(self) -> None:
        self.stack = AsyncExitStack()
        path = Path(self.folder.name) / "jobs.sqlite3"
        self.node: Node = await self.stack.enter_async_context(running_node(path, FakeClock()))
        for pubkey in PUBKEYS:
            await pair(self.node, "alice", pubkey)

    def act(self, step: Coroutine[Any, Any, Any]) -> None:
        async def step_and_settle() -> None:
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):  # it has been closed
                await step
            await self._settle()
            await self._commit(1, private=True)
            await self._settle()

        self.runner.run(step_and_settle())

    async def _settle(self) -> None:
        """A few exchanges, so that much of what was set off has happened."""
        for _ in range(3):
            async with self.node.http.get(f"{self.node.url}/v1/workers") as reply:
                assert reply.status == 200
        for connection in self.connections:
            if connection.reading.done():
                connection.reading.result()

    def pick(self, number: int) -> Connection:
        return self.connections[number % len(self.connections)]

    @rule(number=st.integers(0, 1), holds_key=st.sampled_from((False, True)), ours=st.booleans())
    def connect(self, number: int, holds_key: bool, ours: bool) -> None:
        self.act(self._connect(number, holds_key=holds_key, ours=ours))

    async def _connect(self, number: int, *, holds_key: bool, ours: bool) -> Connection:
        worker = await self.stack.enter_async_context(
            foreign_worker(self.node.http, self.node.url, KEYS[number] if holds_key else NOBODYS)
        )
        worker.pubkey = PUBKEYS[number]
        await worker.send(
            type="register",
            provider_pubkey=worker.pubkey,
            provider_type="DESKTOP",
            capabilities=["TASK"],
            **(OURS if ours else {}),
        )
        connection = Connection(worker, holds_key=holds_key, ours=ours)
        self.connections.append(connection)
        return connection

    @precondition(somebody_is_connected)
    @rule(number=PICKS)
    def prove(self, number: int) -> None:
        connection = self.pick(number)
        if (ack := connection.ack) is not None and "challenge" in ack:
            self.act(connection.worker.prove(ack))

    @precondition(somebody_is_connected)
    @rule(number=PICKS, other=PICKS)
    def replay(self, number: int, other: int) -> None:
        """What one connection would sign, sent by another."""
        here, there = self.pick(number), self.pick(other)
        if (ack := there.ack) is not None and "challenge" in ack:
            key, here.worker.key = here.worker.key, there.worker.key
            self.act(here.worker.prove(ack))
            here.worker.key = key

    @precondition(somebody_is_connected)
    @rule(number=PICKS)
    def answer(self, number: int) -> None:
        connection = self.pick(number)
        if connection.open:
            self.act(connection.worker.complete(connection.open.pop(0)))

    @precondition(somebody_is_connected)
    @rule(number=PICKS)
    def close(self, number: int) -> None:
        connection = self.pick(number)
        self.connections.remove(connection)
        self.act(connection.close())

    @rule(number=st.integers(0, 1))
    def claim(self, number: int) -> None:
        self.act(pair(self.node, "alice", PUBKEYS[number]))

    @rule(number=st.integers(0, 1))
    def unclaim(self, number: int) -> None:
        self.act(unpair(self.node, "alice", PUBKEYS[number]))

    @rule(count=st.integers(1, 3))
    def commit_publicly(self, count: int) -> None:
        self.act(self._commit(count, private=False))

    async def _commit(self, count: int, *, private: bool) -> None:
        self.committing += [
            asyncio.create_task(self._committed(private=private)) for _ in range(count)
        ]

    async def _committed(self, *, private: bool) -> int:
        body = order(SECRET, user_id="alice", privacy_class="PRIVATE") if private else order()
        url = f"{self.node.url}/v1/jobs/commit/cheap"
        async with self.node.http.post(url, json=body) as reply:
            return reply.status

    @rule(seconds=st.sampled_from((1, 2, 5, 31)))
    def time_passes(self, seconds: int) -> None:
        self.act(self.node.pass_time(seconds))

    def teardown(self) -> None:
        try:
            self.runner.run(self._its_holder_gets_it())
        finally:
            self.runner.run(self.stack.aclose())
            self.runner.close()
            self.folder.cleanup()

    async def _its_holder_gets_it(self) -> None:
        """Whatever has happened, a worker that proves its key has the user's jobs in the end."""
        for connection in self.connections:
            await connection.close()
        await self.node.pass_time(3)
        statuses = await asyncio.wait_for(asyncio.gather(*self.committing), 10)
        assert set(statuses) <= {201, 422}
        await pair(self.node, "alice", PUBKEYS[0])
        holder = await self._connect(0, holds_key=True, ours=True)
        async with asyncio.timeout(10):
            while holder.ack is None:
                await asyncio.sleep(0.002)
        await holder.worker.prove(holder.ack)
        assert await self._committed(private=True) == 201
        async with asyncio.timeout(10):
            while not any(frame.get("privacy_class") == "PRIVATE" for frame in holder.frames):
                while holder.open:
                    await holder.worker.complete(holder.open.pop(0))
                await asyncio.sleep(0.002)
        await holder.close()


PrivateToWhom.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    report_multiple_bugs=False,
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestPrivateToWhom = pytest.mark.timeout(600)(PrivateToWhom.TestCase)
