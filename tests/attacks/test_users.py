"""Posing as another user, through real sockets: every route, every kind of wrong key."""

import asyncio
import base64
import json
import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from dispatchd.api.access import KeyRules
from dispatchd.core.apikey import operator_text
from dispatchd.core.job import JobType
from dispatchd.core.keys import KeyPair
from tests.selling.conftest import MONAD, shop_with
from tests.support.clock import FakeClock
from tests.support.executors import Instant
from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.node import Node, running_node
from tests.support.ours import our_worker

TASK = {"job_type": "TASK", "task_type": "summarize", "input": "Meet me at the old mill."}
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
ANSWER: dict[str, object] = {
    "text": "Hi.",
    "model": "m",
    "prompt_tokens": 1,
    "completion_tokens": 1,
}
OUTPUT = '{"summary":"the old mill","word_count":3}'
WRONG_KEYS = ("", "dispatchd_", "dispatchd_" + "A" * 43, "\udcff", "x" * 5000)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


class Client:
    """Whoever asks a node, with a key or without."""

    def __init__(self, node: Node, headers: dict[str, str] | None = None) -> None:
        self.node = node
        self.headers = headers or {}

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status, and the JSON or the text of the reply."""
        async with self.node.http.request(
            method, f"{self.node.url}{path}", json=body, headers=self.headers
        ) as reply:
            text = await reply.text()
            if reply.status == 401:
                assert reply.headers["WWW-Authenticate"] == "Bearer"
                assert json.loads(text)["error"]
            return reply.status, json.loads(text) if reply.content_type.endswith("json") else text

    async def status(self, method: str, path: str, body: Any = None) -> int:
        return (await self.ask(method, path, body))[0]

    async def commit(self, user_id: str, privacy: str = "PRIVATE") -> tuple[int, Any]:
        body = {"job_type": "TASK", "user_id": user_id, "payload": TASK, "privacy_class": privacy}
        return await self.ask("POST", "/v1/jobs/commit/cheap", body)


def stored(folder: Path) -> bytes:
    """All that a node has written."""
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def key_of(node: Node, user_id: str) -> str:
    status, made = await Client(node).ask("POST", "/v1/users", {"user_id": user_id})
    assert status == 201, made
    assert list(made) == ["user_id", "api_key"]
    return str(made["api_key"])


async def pair(client: Client, user_id: str, pubkey: str) -> None:
    status, made = await client.ask("POST", "/v1/trust/create", {"user_id": user_id})
    assert status == 201, made
    claim = {"pairing_code": made["pairing_code"], "provider_pubkey": pubkey}
    assert await Client(client.node).status("POST", "/v1/trust/claim", claim) == 200


@pytest.fixture
async def alice(node: Node) -> Client:
    return Client(node, bearer(await key_of(node, "alice")))


@pytest.fixture
async def others(node: Node, alice: Client) -> list[Client]:
    """Nobody, people with keys that nobody has, and another user."""
    assert alice.headers
    bob = bearer(await key_of(node, "bob"))
    mine = alice.headers["Authorization"]
    headers = [
        {},
        bob,
        *map(bearer, WRONG_KEYS),
        bearer(mine.removeprefix("Bearer ")[:-1]),
        {"Authorization": mine.replace("Bearer", "Basic")},
        {"X-Api-Key": mine.removeprefix("Bearer ")},
    ]
    return [Client(node, each) for each in headers]


@pytest.fixture
async def worker(node: Node, alice: Client) -> AsyncIterator[ForeignWorker]:
    """Alice's worker, on which one job runs at a time."""
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("TASK")
        await pair(alice, "alice", worker.pubkey)
        await worker.pass_canary()
        yield worker


def reading(job_id: str) -> list[tuple[str, str]]:
    """Every way to see or to end a job by its id."""
    ids = (job_id, job_id.upper())
    paths = ("", "?wait=0", "?wait=30", "/events", "/explain")
    jobs = [("GET", f"/v1/jobs/{each}{path}") for each in ids for path in paths]
    others = [("GET", f"/v1/receipts/{each}") for each in ids]
    return jobs + others + [("DELETE", f"/v1/jobs/{each}") for each in ids]


async def test_nobody_else_sees_or_ends_a_private_job(
    alice: Client, others: list[Client], worker: ForeignWorker
) -> None:
    _, made = await alice.commit("alice")
    await worker.expect("job_assign")
    for state in ("under way", "completed"):
        for other in others:
            seen = [await other.ask(*each) for each in reading(made["job_id"])]
            assert {status for status, _ in seen} == {401}, (state, other.headers)
            assert "mill" not in json.dumps(seen)
        if state == "under way":
            await worker.complete(made["job_id"], OUTPUT)
            _, job = await alice.ask("GET", f"/v1/jobs/{made['job_id']}?wait=30")
            assert job["result"]["summary"] == "the old mill"
    for method, path in reading(made["job_id"]):
        if method == "GET":
            assert await alice.status(method, path) == 200, path


async def test_its_user_cancels_a_private_job(alice: Client, worker: ForeignWorker) -> None:
    _, made = await alice.commit("alice")
    await worker.expect("job_assign")
    status, job = await alice.ask("DELETE", f"/v1/jobs/{made['job_id']}")
    assert (status, job["result"]) == (200, {"error": "cancelled"})


async def test_anybody_reads_a_public_job_but_only_its_user_cancels_it(
    alice: Client, others: list[Client]
) -> None:
    status, made = await alice.commit("alice", "PUBLIC")
    assert status == 201
    path = f"/v1/jobs/{made['job_id']}"
    for other in others:
        assert await other.status("GET", path) == 200
        assert await other.status("DELETE", path) == 401
    assert await alice.status("DELETE", path) == 200


async def test_lists_show_private_jobs_to_their_user_alone(
    alice: Client, others: list[Client], worker: ForeignWorker
) -> None:
    _, private = await alice.commit("alice")
    _, public = await alice.commit("alice", "PUBLIC")
    await worker.expect("job_assign")
    for query in ("", "?user_id=alice", "?user_id=alice&limit=500", "?user_id=bob"):
        for other in others:
            status, listed = await other.ask("GET", f"/v1/jobs{query}")
            assert status == 200
            assert private["job_id"] not in json.dumps(listed)
    _, listed = await alice.ask("GET", "/v1/jobs?user_id=alice")
    assert [job["id"] for job in listed["jobs"]] == [public["job_id"], private["job_id"]]
    await worker.complete(private["job_id"], OUTPUT)
    await alice.ask("GET", f"/v1/jobs/{private['job_id']}?wait=30")
    _, entries = await Client(alice.node).ask("GET", "/v1/receipts")
    assert private["job_id"] not in json.dumps(entries)


async def test_nobody_else_speaks_for_a_user(
    node: Node, alice: Client, others: list[Client], worker: ForeignWorker
) -> None:
    asked: list[tuple[str, str, Any]] = [
        ("POST", "/v1/trust/create", {"user_id": "alice"}),
        ("GET", "/v1/trust/list?user_id=alice", None),
        ("DELETE", f"/v1/trust?user_id=alice&provider_pubkey={worker.pubkey}", None),
    ]
    for other in others:
        for privacy in ("PUBLIC", "PRIVATE"):
            assert (await other.commit("alice", privacy))[0] == 401
        for each in asked:
            assert await other.status(*each) == 401, each
        assert await other.status("POST", "/v1/users", {"user_id": "alice"}) == 409
    _, listed = await alice.ask("GET", "/v1/jobs")
    assert listed["jobs"] == []
    _, listed = await alice.ask("GET", "/v1/trust/list?user_id=alice")
    assert [one["provider_pubkey"] for one in listed["providers"]] == [worker.pubkey]
    assert node.parts.coordinator.users.protected("alice")


async def test_a_user_without_a_key_needs_none(node: Node, others: list[Client]) -> None:
    for other in others:
        status, made = await other.commit("carol", "PUBLIC")
        assert status == 201
        assert await other.status("POST", "/v1/trust/create", {"user_id": "carol"}) == 201
        assert await Client(node).status("DELETE", f"/v1/jobs/{made['job_id']}") == 200


async def test_a_private_job_of_a_user_who_takes_a_key_later(node: Node) -> None:
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("TASK")
        await pair(Client(node), "carol", worker.pubkey)
        await worker.pass_canary()
        _, made = await Client(node).commit("carol")
        path = f"/v1/jobs/{made['job_id']}"
        assert await Client(node).status("GET", path) == 200
        carol = Client(node, bearer(await key_of(node, "carol")))
        assert await Client(node).status("GET", path) == 401
        assert await carol.status("GET", path) == 200


async def test_openais_routes_belong_to_the_keys_user(
    node: Node, alice: Client, others: list[Client]
) -> None:
    bob = others[1]
    async with our_worker(node.url, {JobType.LLM_INFER: Instant(ANSWER)}, models=("m",)):
        async with asyncio.timeout(10):
            while not len(node.parts.seats):
                await asyncio.sleep(0.002)
        for other in (each for each in others if each is not bob):
            for path, call in (("chat/completions", CHAT), ("completions", {"prompt": "Hi"})):
                posing = call | {"user": "alice"}
                status, reply = await other.ask("POST", f"/v1/{path}", posing)
                assert (status, reply["error"]["code"]) == (401, "unauthorized")
                assert reply["error"]["type"] == "authentication_error"
        for client, user in ((alice, "bob"), (bob, "alice"), (alice, None), (Client(node), None)):
            call = CHAT | ({"user": user} if user else {})
            assert await client.status("POST", "/v1/chat/completions", call) == 200
    _, listed = await Client(node).ask("GET", "/v1/jobs")
    assert [job["user_id"] for job in listed["jobs"]] == ["openai", "alice", "bob", "alice"]
    assert await Client(node).status("POST", "/v1/users", {"user_id": "openai"}) == 400


async def test_another_key_takes_the_place_of_the_present_one(node: Node, alice: Client) -> None:
    status, made = await alice.ask("POST", "/v1/users", {"user_id": "alice"})
    assert status == 201
    fresh = Client(node, bearer(made["api_key"]))
    assert (await alice.commit("alice", "PUBLIC"))[0] == 401
    assert (await fresh.commit("alice", "PUBLIC"))[0] == 201
    assert await alice.status("POST", "/v1/users", {"user_id": "alice"}) == 409


async def test_one_of_many_gets_a_users_first_key(node: Node) -> None:
    asked = [Client(node).status("POST", "/v1/users", {"user_id": "dave"}) for _ in range(10)]
    assert sorted(await asyncio.gather(*asked)) == [201] + [409] * 9


async def test_new_users_of_one_address_are_20_a_minute(node: Node) -> None:
    for number in range(20):
        await key_of(node, f"user-{number}")
    assert await Client(node).status("POST", "/v1/users", {"user_id": "late"}) == 429
    assert (await Client(node).commit("late", "PUBLIC"))[0] == 201
    node.clock.advance(61)
    await key_of(node, "late")


async def test_keys_outlive_the_process_and_stand_nowhere_in_clear(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    database = tmp_path / "jobs.sqlite3"
    async with running_node(database, clock) as node:
        key = await key_of(node, "alice")
        status, made = await Client(node, bearer(key)).ask(
            "POST", "/v1/trust/create", {"user_id": "alice"}
        )
        assert status == 201
        assert (await Client(node).commit("alice"))[0] == 401
    async with running_node(database, clock) as node:
        assert (await Client(node).commit("alice", "PUBLIC"))[0] == 401
        assert (await Client(node, bearer(key)).commit("alice", "PUBLIC"))[0] == 201
        claim = {"pairing_code": made["pairing_code"], "provider_pubkey": "a" * 64}
        assert await Client(node).status("POST", "/v1/trust/claim", claim) == 200
        written = stored(tmp_path)
    with sqlite3.connect(database) as db:
        assert db.execute("SELECT user_id FROM users").fetchall() == [("alice",)]
    assert key.encode() not in written
    assert made["pairing_code"].encode() not in written
    assert key not in caplog.text


async def test_401_comes_before_402(tmp_path: Path, clock: FakeClock) -> None:
    async with running_node(
        tmp_path / "jobs.sqlite3",
        clock,
        opening=lambda store, its, limits: shop_with(None, MONAD, store, its, limits),
    ) as node:
        alice = Client(node, bearer(await key_of(node, "alice")))
        status, refused = await Client(node).commit("alice", "PUBLIC")
        assert (status, refused["charged"]) == (401, False)
        assert (await alice.commit("alice", "PUBLIC"))[0] == 402
        assert (await Client(node).commit("carol", "PUBLIC"))[0] == 402
        assert (
            await Client(node).status("POST", "/v1/completions", {"prompt": "x", "user": "alice"})
            == 401
        )


async def test_where_keys_are_required_nothing_is_had_without_one(
    tmp_path: Path, clock: FakeClock
) -> None:
    rules = KeyRules(required=True, open=False)
    async with running_node(tmp_path / "jobs.sqlite3", clock, rules=rules) as node:
        operator, nobody = node.parts.chain, Client(node)
        users = node.parts.coordinator.users
        alice = Client(node, bearer(await users.make_key("alice", None, None)))
        bob = Client(node, bearer(await users.make_key("bob", None, None)))
        status, made = await alice.commit("alice", "PUBLIC")
        assert status == 201
        for method, path in [*reading(made["job_id"]), ("GET", "/v1/jobs")]:
            assert await nobody.status(method, path) == 401, path
        for asked in (
            ("POST", "/v1/trust/create", {"user_id": "carol"}),
            ("GET", "/v1/trust/list?user_id=carol", None),
            ("POST", "/v1/chat/completions", CHAT),
            ("POST", "/v1/users", {"user_id": "carol"}),
        ):
            assert await nobody.status(*asked) == 401, asked
        for client in (nobody, bob):
            assert (await client.commit("carol", "PUBLIC"))[0] == 401
            assert await client.status("DELETE", f"/v1/jobs/{made['job_id']}") == 401
        assert await bob.status("GET", f"/v1/jobs/{made['job_id']}") == 200
        for path in ("/v1/health", "/docs", "/v1/receipts", "/v1/receipts/root", "/v1/workers"):
            assert await nobody.status("GET", path) == 200, path
        assert operator.coordinator_key


async def test_only_the_operator_makes_keys_where_not_everybody_may(
    tmp_path: Path, clock: FakeClock
) -> None:
    database = tmp_path / "jobs.sqlite3"
    async with running_node(database, clock, rules=KeyRules(open=False)) as node:
        key = KeyPair.parse((tmp_path / "jobs-coordinator-key.json").read_bytes())
        good = key.sign(operator_text(key.public_hex, "alice"))
        stranger = KeyPair.generate()
        for user_id, signature in (
            ("bob", good),
            ("alice", stranger.sign(operator_text(key.public_hex, "alice"))),
            ("alice", stranger.sign(operator_text(stranger.public_hex, "alice"))),
            ("alice", ""),
        ):
            body = {"user_id": user_id, "operator_signature": signature}
            assert await Client(node).status("POST", "/v1/users", body) == 400
        assert await Client(node).status("POST", "/v1/users", {"user_id": "alice"}) == 401
        body = {"user_id": "alice", "operator_signature": good}
        status, made = await Client(node).ask("POST", "/v1/users", body)
        assert status == 201
        assert await Client(node).status("POST", "/v1/users", body) == 409
        alice = Client(node, bearer(made["api_key"]))
        assert await alice.status("POST", "/v1/users", {"user_id": "alice"}) == 201


async def test_unpairing_ends_what_pairing_began(
    node: Node, alice: Client, worker: ForeignWorker
) -> None:
    path = f"/v1/trust?user_id=alice&provider_pubkey={worker.pubkey.upper()}"
    status, removed = await alice.ask("DELETE", path)
    assert (status, removed) == (200, {"user_id": "alice", "provider_pubkey": worker.pubkey})
    assert (await alice.ask("GET", "/v1/trust/list?user_id=alice"))[1] == {"providers": []}
    assert (await alice.commit("alice"))[0] == 422
    assert await alice.status("DELETE", path) == 404
    await worker.register("TASK")
    assert (await alice.commit("alice"))[0] == 422
    await pair(alice, "alice", worker.pubkey)
    assert (await alice.commit("alice"))[0] == 201
    assert (await worker.expect("job_assign"))["privacy_class"] == "PRIVATE"
    assert len(node.parts.seats) == 1


async def test_a_job_that_waits_for_an_unpaired_worker_goes_to_nobody(
    node: Node, alice: Client, worker: ForeignWorker
) -> None:
    await alice.commit("alice", "PUBLIC")
    running = await worker.expect("job_assign")
    _, waiting = await alice.commit("alice")
    assert (
        await alice.status("DELETE", f"/v1/trust?user_id=alice&provider_pubkey={worker.pubkey}")
        == 200
    )
    await worker.complete(running["job_id"])
    await alice.ask("GET", f"/v1/jobs/{running['job_id']}?wait=30")
    await worker.send(type="heartbeat", provider_pubkey=worker.pubkey)
    await worker.expect("heartbeat_ack")
    for _ in range(31):
        await node.pass_time(1)
        await worker.send(type="heartbeat", provider_pubkey=worker.pubkey)
        await worker.expect("heartbeat_ack")
    _, job = await alice.ask("GET", f"/v1/jobs/{waiting['job_id']}")
    assert job["result"] == {"error": "no_trusted_worker"}


@pytest.mark.parametrize("query", ["", "?user_id=alice", f"?provider_pubkey={'a' * 64}"])
async def test_unpairing_names_what_is_missing(node: Node, query: str) -> None:
    status, refused = await Client(node).ask("DELETE", f"/v1/trust{query}")
    assert status == 400
    assert "is missing" in refused["error"]


def claim_signature(key: SigningKey, code: str, pubkey: str) -> str:
    """Written out here as another implementation would."""
    text = f"dispatchd pairing claim v1\n{code}\n{pubkey}"
    return base64.b64encode(key.sign(text.encode()).signature).decode()


async def test_a_signed_claim_is_the_workers_own(node: Node) -> None:
    key, other = SigningKey(b"k" * 32), SigningKey(b"o" * 32)
    pubkey = bytes(key.verify_key).hex()
    _, made = await Client(node).ask("POST", "/v1/trust/create", {"user_id": "carol"})
    code = made["pairing_code"]
    claim = {"pairing_code": code, "provider_pubkey": pubkey}
    for wrong in (
        claim_signature(other, code, pubkey),
        claim_signature(key, "A3F2B1" if code != "A3F2B1" else "A3F2B2", pubkey),
        claim_signature(key, code, bytes(other.verify_key).hex()),
        claim_signature(key, code, pubkey)[:-4],
        "",
        "x",
    ):
        status, refused = await Client(node).ask(
            "POST", "/v1/trust/claim", claim | {"signature": wrong}
        )
        assert (status, refused["code"]) == (400, "invalid"), wrong
    right = claim | {"signature": claim_signature(key, code, pubkey)}
    assert await Client(node).status("POST", "/v1/trust/claim", right) == 200
