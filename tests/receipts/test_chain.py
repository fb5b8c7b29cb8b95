"""The chain of receipts over HTTP, checked by somebody who has read receipts.md."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.receipts.conftest import completed, pair, text_of, value_of
from tests.support import auditor
from tests.support.clock import FakeClock
from tests.support.crowd import SUMMARIZE, autopilot
from tests.support.foreign import ForeignWorker
from tests.support.node import USER, Node, running_node

NOBODY = "00000000-0000-4000-8000-000000000000"


async def entries(node: Node, limit: int = 500) -> list[dict[str, Any]]:
    """The whole chain, page by page."""
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = await value_of(node, f"/v1/receipts?after={after}&limit={limit}")
        assert set(page) == {"entries", "next"}
        found += page["entries"]
        after = page["next"]
    return found


async def test_a_node_that_has_completed_nothing_has_an_empty_chain(node: Node) -> None:
    root = await value_of(node, "/v1/receipts/root")
    assert list(root) == ["coordinator_key", "size", "root", "signature"]
    auditor.check_root(root)
    auditor.check_chain([], root)
    assert await value_of(node, "/v1/receipts") == {"entries": [], "next": None}


async def test_every_completed_job_is_chained_in_order(busy: Node) -> None:
    job_ids = await completed(busy, 7)
    found = await entries(busy, limit=3)
    assert [entry["job_id"] for entry in found] == job_ids
    auditor.check_chain(found, await value_of(busy, "/v1/receipts/root"))
    for entry, job_id in zip(found, job_ids, strict=True):
        bundle = auditor.check_bundle(await text_of(busy, f"/v1/receipts/{job_id}"))
        assert bundle["entry"] | {"job_id": job_id} == entry
        job = await busy.job(job_id)
        assert entry["completed_at"] == job["completed_at"]
        shown = job["receipt"] | json.loads(bundle["receipt"])
        assert shown == job["receipt"]
        assert json.loads(bundle["output"]) == job["result"]


async def test_many_at_once_are_one_chain(busy: Node) -> None:
    async with autopilot(busy.http, busy.url, max_concurrent_jobs=50):
        job_ids = await asyncio.gather(*(busy.commit(SUMMARIZE) for _ in range(150)))
        await asyncio.gather(*(busy.until(job_id, "completed") for job_id in job_ids))
    found = await entries(busy)
    assert {entry["job_id"] for entry in found} == set(job_ids)
    auditor.check_chain(found, await value_of(busy, "/v1/receipts/root"))
    for job_id in (job_ids[0], job_ids[77], job_ids[149]):
        auditor.check_bundle(await text_of(busy, f"/v1/receipts/{job_id.upper()}"))


async def test_whoever_kept_the_request_finds_its_hash(node: Node, worker: ForeignWorker) -> None:
    payload = '{ "job_type":"TASK","task_type" : "summarize","input":"\\u00e9 1.0", "n":1.0 }'
    order = {"job_type": "TASK", "user_id": "ü"}
    body = f'{json.dumps(order)[:-1]}, "payload": {payload}}}'
    headers = {"Content-Type": "application/json"}
    url = f"{node.url}/v1/jobs/commit/fast"
    async with node.http.post(url, data=body.encode(), headers=headers) as reply:
        job_id = (await reply.json())["job_id"]
    await worker.expect("job_assign")
    await worker.complete(job_id)
    await node.until(job_id, "completed")
    bundle = await value_of(node, f"/v1/receipts/{job_id}")
    expected = auditor.request_hash(job_id, order, "FAST", payload)
    assert bundle["entry"]["request_hash"] == expected


@pytest.mark.parametrize(
    "output", ['{ "b" : 1.0,\n\t"a":1e-7 }', '"\\ud800 \\u00e9 é"', "null", '{"x":"\x7f"}']
)
async def test_a_bundle_holds_texts_as_they_were_signed(
    node: Node, worker: ForeignWorker, output: str
) -> None:
    job_id = await node.commit(SUMMARIZE)
    await worker.expect("job_assign")
    await worker.complete(job_id, output)
    await node.until(job_id, "completed")
    text = await text_of(node, f"/v1/receipts/{job_id}")
    assert "\n" not in text
    bundle = auditor.check_bundle(text)
    assert bundle["output"] == output
    assert bundle["receipt"] == json.dumps(worker.receipt(job_id, output), separators=(",", ":"))


async def test_a_private_job_is_a_row_of_hashes(busy: Node) -> None:
    (worker,) = (await value_of(busy, "/v1/workers"))["workers"]
    await pair(busy, USER, worker["provider_pubkey"])
    (before,) = await completed(busy)
    (secret,) = await completed(busy, privacy_class="PRIVATE")
    (after,) = await completed(busy)
    found = await entries(busy)
    assert [entry["job_id"] for entry in found] == [before, None, after]
    page = await text_of(busy, "/v1/receipts")
    assert secret not in page
    assert secret not in await text_of(busy, "/v1/jobs")
    auditor.check_chain(found, await value_of(busy, "/v1/receipts/root"))
    bundle = auditor.check_bundle(await text_of(busy, f"/v1/receipts/{secret}"))
    assert bundle["entry"] | {"job_id": None} == found[1]


async def test_only_what_has_completed_has_a_bundle(node: Node, worker: ForeignWorker) -> None:
    unknown = await value_of(node, f"/v1/receipts/{NOBODY}", 404)
    assert (unknown["error"], unknown["code"]) == ("Job not found", "not_found")
    job_id = await node.commit(SUMMARIZE)
    early = await value_of(node, f"/v1/receipts/{job_id}", 409)
    assert early["code"] == "conflict"
    assert "completed" in early["error"]
    async with node.http.delete(f"{node.url}/v1/jobs/{job_id}") as reply:
        assert reply.status == 200
    assert "failed" in (await value_of(node, f"/v1/receipts/{job_id}", 409))["error"]
    assert (await value_of(node, "/v1/receipts/root"))["size"] == 0


async def test_a_job_from_before_the_chain_has_no_bundle(busy: Node, tmp_path: Path) -> None:
    """As a database of a version without a chain has them."""
    (job_id,) = await completed(busy)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)) as db:
        db.execute("DELETE FROM chain_entries")
    answer = await value_of(busy, f"/v1/receipts/{job_id}", 404)
    assert "before" in answer["error"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=-1", "after"),
        ("after=x", "after"),
        ("after=", "after"),
        ("after=1.0", "after"),
        (f"after={2**53}", "after"),
        ("after=" + "9" * 5000, "after"),
        ("after=1&after=2", "after"),
        ("after=٣", "after"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
    ],
)
async def test_a_bad_page_is_refused_by_name(node: Node, query: str, field: str) -> None:
    answer = await value_of(node, f"/v1/receipts?{query}", 400)
    assert field in answer["error"]


async def test_a_chain_outlives_its_process(tmp_path: Path, clock: FakeClock) -> None:
    database = tmp_path / "jobs.sqlite3"
    keys, job_ids = set(), []
    for _ in range(3):
        async with running_node(database, clock) as node, autopilot(node.http, node.url):
            job_ids += await completed(node, 3)
            root = await value_of(node, "/v1/receipts/root")
            keys.add(root["coordinator_key"])
            found = await entries(node)
    auditor.check_chain(found, root)
    assert [entry["job_id"] for entry in found] == job_ids
    assert len(keys) == 1


async def test_each_database_has_a_chain_and_a_key_of_its_own(
    tmp_path: Path, clock: FakeClock
) -> None:
    roots = []
    for name, count in (("monad", 1), ("solana", 2)):
        database = tmp_path / f"{name}.sqlite3"
        async with running_node(database, clock) as node, autopilot(node.http, node.url):
            await completed(node, count)
            roots.append(await value_of(node, "/v1/receipts/root"))
        key = tmp_path / f"{name}-coordinator-key.json"
        assert key.stat().st_mode & 0o777 == 0o600
    assert [root["size"] for root in roots] == [1, 2]
    assert roots[0]["coordinator_key"] != roots[1]["coordinator_key"]
