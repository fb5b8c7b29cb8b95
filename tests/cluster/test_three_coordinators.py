"""Three coordinators over one database: whatever is asked of one, another may do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dispatchd.api.relay import TICKET
from dispatchd.core.job import JobType
from dispatchd.core.keys import KeyPair
from dispatchd.core.neighbour import relay_text
from dispatchd.sdk.proofs import Auditor
from tests.support import auditor
from tests.support.cluster import PATIENCE_SECONDS, Member, member
from tests.support.events import events
from tests.support.executors import Instant, Scripted
from tests.support.ours import our_worker
from tests.support.postgres import Server

DONE: dict[str, object] = {"summary": "x", "word_count": 1}
Trio = tuple[Member, Member, Member]


@pytest.fixture
def store(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
async def trio(tmp_path: Path, store: str) -> AsyncIterator[Trio]:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    async with AsyncExitStack() as stack:
        first, second, third = [
            await stack.enter_async_context(member(folder, store)) for folder in folders
        ]
        yield first, second, third


async def test_what_one_takes_a_worker_of_another_does_and_all_tell_it(trio: Trio) -> None:
    first, second, third = trio
    async with our_worker(second.url, {JobType.TASK: Instant(DONE)}, places=2):
        ids = [await each.commit() for each in trio for _ in range(3)]
        for job_id in ids:
            for each in trio:
                job = await each.ended(job_id)
                assert (job["status"], job["result"]["summary"]) == ("completed", "x")
    assert len(set(ids)) == 9
    assert first.parts.seats.under_way == third.parts.seats.under_way == {}


async def test_live_text_of_a_worker_elsewhere(trio: Trio) -> None:
    first, second, third = trio
    script = Scripted()
    async with our_worker(second.url, {JobType.LLM_INFER: script}):
        await third.knows(workers=1)
        payload = {"job_type": "LLM_INFER", "prompt": "?"}
        body = {"job_type": "LLM_INFER", "user_id": "ann", "payload": payload}
        job_id = (await first.ask("POST", "/v1/jobs/commit/fast", body))["job_id"]
        async with third.http.get(f"{third.url}/v1/jobs/{job_id}/events") as reply:
            seen = events(reply)
            script.pieces.put_nowait("one ")
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (event := await anext(seen))[0] != "delta":
                    assert event[0] == "status"
            assert event[1]["delta"] == "one "
            script.pieces.put_nowait("two")
            assert (await anext(seen))[1]["delta"] == "two"
            script.pieces.put_nowait({"text": "one two", "tokens": 2})
            assert [event[0] async for event in seen][-1] == "done"


async def test_a_private_job_is_shown_to_a_neighbour_alone(trio: Trio) -> None:
    first, second, third = trio
    key = (await first.ask("POST", "/v1/users", {"user_id": "ann"}))["api_key"]
    mine = {"Authorization": f"Bearer {key}"}
    for each in trio:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not each.parts.coordinator.users.protected("ann"):
                await asyncio.sleep(0.01)
    async with our_worker(second.url, {JobType.TASK: Instant(DONE)}) as worker:
        await first.knows(workers=1)
        code = await first.ask("POST", "/v1/trust/create", {"user_id": "ann"}, **mine)
        claim = {"pairing_code": code["pairing_code"], "provider_pubkey": worker.public_hex}
        await second.ask("POST", "/v1/trust/claim", claim)
        body = {
            "job_type": "TASK",
            "user_id": "ann",
            "privacy_class": "PRIVATE",
            "payload": {"job_type": "TASK", "task_type": "summarize", "input": "a b c"},
        }
        job = await second.ask("POST", "/v1/jobs/commit/cheap", body, **mine)
        path = f"/v1/receipts/{job['job_id']}"
        await second.ask("GET", f"/v1/jobs/{job['job_id']}?wait=20", **mine)
        await third.ask("GET", path, **mine)
    good = third.parts.neighbours
    assert good is not None
    stranger = KeyPair.generate()
    at = good.ticket("x").split()[1]
    signature = stranger.sign(relay_text(stranger.public_hex, job["job_id"], int(at)))
    for ticket, status in (
        (good.ticket(job["job_id"]), 200),
        (good.ticket("another job"), 401),
        (f"{stranger.public_hex} {at} {signature}", 401),
        (f"{third.parts.chain.coordinator_key} {at} {signature}", 401),
        (f"{third.parts.chain.coordinator_key} 1 {signature}", 401),
        ("", 401),
        ("a b", 401),
    ):
        headers = {TICKET: ticket}
        async with second.http.get(f"{second.url}{path}", headers=headers) as reply:
            assert reply.status == status, ticket


async def test_cancelling_reaches_the_worker_wherever_it_sits(trio: Trio) -> None:
    first, second, _ = trio
    script = Scripted()
    async with our_worker(second.url, {JobType.TASK: script}):
        job_id = await first.commit()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await script.started.wait()
            assert (await first.ask("DELETE", f"/v1/jobs/{job_id}"))["status"] == "failed"
            await script.stopped.wait()
    assert second.parts.seats.under_way == {}


async def test_trust_and_private_jobs_know_no_borders(trio: Trio) -> None:
    first, second, third = trio
    async with our_worker(second.url, {JobType.TASK: Instant(DONE)}) as key:
        await first.knows(workers=1)
        code = (await first.ask("POST", "/v1/trust/create", {"user_id": "ann"}))["pairing_code"]
        claim = {"pairing_code": code, "provider_pubkey": key.public_hex}
        await third.ask("POST", "/v1/trust/claim", claim)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any("ann" in each.users for each in first.parts.seats.elsewhere):
                await asyncio.sleep(0.01)
        job = await first.ended(await first.commit(privacy_class="PRIVATE"))
        assert job["status"] == "completed"


async def test_a_key_made_at_one_is_asked_for_at_all(trio: Trio) -> None:
    first, second, _ = trio
    key = (await first.ask("POST", "/v1/users", {"user_id": "ann"}))["api_key"]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not second.parts.coordinator.users.protected("ann"):
            await asyncio.sleep(0.01)
    body = {"job_type": "TASK", "user_id": "ann", "payload": {}}
    async with second.http.post(f"{second.url}/v1/jobs/commit/cheap", json=body) as reply:
        assert reply.status in {400, 401}
    payload = {"job_type": "TASK", "task_type": "summarize", "input": "a b c"}
    headers = {"Authorization": f"Bearer {key}"}
    await second.ask("POST", "/v1/jobs/commit/cheap", body | {"payload": payload}, **headers)


async def test_tries_are_counted_together_wherever_they_are_made(trio: Trio) -> None:
    """Wrong pairing codes, and users of one address who get their first key."""

    async def answers(path: str, bodies: list[dict[str, str]]) -> list[int]:
        async def status(asked: Member, body: dict[str, str]) -> int:
            async with asked.http.post(f"{asked.url}{path}", json=body) as reply:
                assert ("Retry-After" in reply.headers) is (reply.status == 429)
                return reply.status

        tries = (status(trio[place % 3], body) for place, body in enumerate(bodies))
        return await asyncio.gather(*tries)

    guesses = [
        {"pairing_code": f"{number:06X}", "provider_pubkey": "ab" * 32} for number in range(30)
    ]
    assert sorted(await answers("/v1/trust/claim", guesses)) == [400] * 20 + [429] * 10
    users = [{"user_id": f"u{number}"} for number in range(30)]
    assert sorted(await answers("/v1/users", users)) == [201] * 20 + [429] * 10


async def test_one_idempotency_key_is_one_job_wherever_it_comes(trio: Trio) -> None:
    commits = [each.commit(key="same") for each in trio for _ in range(4)]
    ids = set(await asyncio.gather(*commits))
    assert len(ids) == 1


async def test_nobody_is_told_that_nobody_can_while_a_worker_sits_elsewhere(trio: Trio) -> None:
    first, second, _ = trio
    async with our_worker(second.url, {JobType.TASK: Instant(DONE)}):
        await first.knows(workers=1)
        lane = (await first.parts.coordinator.get(await first.commit())).lane
        assert first.parts.seats.anyone_for(lane)
    await first.knows(workers=0)
    assert not first.parts.seats.anyone_for(lane)


async def test_whoever_is_asked_has_the_proof_of_a_result(trio: Trio) -> None:
    first, second, _ = trio
    async with our_worker(second.url, {JobType.TASK: Instant(DONE)}):
        await first.knows(workers=1)
        job_id = await first.commit()
        await first.ended(job_id)
    for each in trio:
        async with each.http.get(f"{each.url}/v1/receipts/{job_id}") as reply:
            bundle = auditor.check_bundle(await reply.text())
        assert bundle["root"]["coordinator_key"] == second.parts.chain.coordinator_key


async def test_what_a_coordinator_has_signed_is_proved_while_it_is_away(
    tmp_path: Path, store: str
) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    async with member(folders[0], store) as lives:
        async with (
            member(folders[1], store) as goes,
            our_worker(goes.url, {JobType.TASK: Instant(DONE)}),
        ):
            signed = [await goes.commit() for _ in range(3)]
            for job_id in signed:
                await goes.ended(job_id)
            assert goes.parts.neighbours is not None
            await goes.parts.neighbours.sealing.catch_up()
            late = await goes.commit()
            await goes.ended(late)
        for job_id in signed:
            async with lives.http.get(f"{lives.url}/v1/receipts/{job_id}") as reply:
                text = await reply.text()
            root = auditor.check_bundle(text)["root"]
            key = goes.parts.chain.coordinator_key
            assert (root["coordinator_key"], root["size"]) == (key, 3)
            assert Auditor(key).bundle(text.encode()).receipt.job_id == job_id
        async with lives.http.get(f"{lives.url}/v1/receipts/{late}") as reply:
            assert (reply.status, "not signed" in (await reply.json())["error"]) == (404, True)


async def test_each_chain_is_of_one_coordinator_and_a_job_is_in_one(trio: Trio) -> None:
    async with our_worker(trio[1].url, {JobType.TASK: Instant(DONE)}):
        for each in trio:
            await each.ended(await each.commit())
    roots = [await each.ask("GET", "/v1/receipts/root") for each in trio]
    assert [root["size"] for root in roots] == [0, 3, 0]
    assert len({root["coordinator_key"] for root in roots}) == 3


async def test_a_worker_whose_coordinator_dies_goes_to_another_and_takes_its_job_along(
    tmp_path: Path, store: str
) -> None:
    script, stacks = Scripted(), {"a": AsyncExitStack(), "b": AsyncExitStack()}
    async with AsyncExitStack() as all_stacks:
        members = {}
        for name, stack in stacks.items():
            (tmp_path / name).mkdir()
            await all_stacks.enter_async_context(stack)
            members[name] = await stack.enter_async_context(member(tmp_path / name, store))
        urls = [each.url for each in members.values()]
        worker = our_worker(urls[0], {JobType.TASK: script}, others=urls[1:])
        key = (await all_stacks.enter_async_context(worker)).public_hex
        job_id = await members["a"].commit()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await script.started.wait()
        (dies,) = (name for name, each in members.items() if each.parts.seats.with_key(key))
        (lives,) = members.keys() - {dies}
        for seat in members[dies].parts.seats:
            seat.left.set()  # nobody is told, and nothing is put back
        await stacks[dies].aclose()
        script.pieces.put_nowait(DONE)
        assert (await members[lives].ended(job_id))["status"] == "completed"
        assert (await members[lives].parts.coordinator.get(job_id)).attempt == 1
