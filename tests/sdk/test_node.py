"""The SDK against a coordinator of ours: in this process, and started as users start it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from dispatchd import ComputeResult, ComputeRouter
from dispatchd.core.job import JobType
from dispatchd.sdk.errors import InvalidRequest, JobFailed, NoTrustedWorker, VerificationFailed
from dispatchd.sdk.hosted import HostedAccounts
from tests.sdk.pace import NOBODY, QUICK, router_to
from tests.support.executors import Gated
from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.node import USER, Node
from tests.support.ours import our_worker
from tests.support.process import Process, clean_environment, dispatchd

KEPT = ("Content-Type", "Idempotency-Key")
OUTPUT = '{"sentiment":"positive",  "confidence":1.0}'


@asynccontextmanager
async def losing_proxy(node: Node) -> AsyncIterator[str]:
    """Passes requests on to a node, and loses the answer to the first commit."""
    lost = 0

    async def passed_on(request: web.Request) -> web.Response:
        nonlocal lost
        headers = {name: request.headers[name] for name in KEPT if name in request.headers}
        url, body = node.url + request.path_qs, await request.read()
        async with node.http.request(request.method, url, data=body, headers=headers) as reply:
            text = await reply.text()
        if request.method == "POST" and not lost:
            lost += 1
            assert request.transport
            request.transport.abort()
        return web.Response(text=text, status=reply.status, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", passed_on)
    server = TestServer(app)
    await server.start_server()
    yield str(server.make_url("")).rstrip("/")
    await server.close()


async def work(worker: ForeignWorker, output: str) -> None:
    job = await worker.expect("job_assign")
    await worker.complete(job["job_id"], output)


async def test_a_long_poll_answers_as_soon_as_the_job_ends(node: Node) -> None:
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("TASK")
        slow = replace(QUICK, poll=60)
        router = ComputeRouter({"monad": node.url}, hosted=NOBODY, pace=slow)
        result, _ = await asyncio.gather(
            router.run_task("classify", "fine", USER), work(worker, OUTPUT)
        )
    assert result.output == {"sentiment": "positive", "confidence": 1.0}
    assert result.result_text == OUTPUT
    assert result.price == "$0.001"
    assert router.verify(result, provider_pubkey=worker.pubkey.upper()).job_id == result.job_id


async def test_what_was_changed_does_not_verify(node: Node) -> None:
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("TASK")
        router = router_to(node.url)
        result, _ = await asyncio.gather(
            router.run_task("classify", "fine", USER), work(worker, OUTPUT)
        )
    receipt = result.receipt_text or ""
    for wrong in (
        replace(result, result_text=OUTPUT.replace("  ", "")),
        replace(result, job_id="00000000-0000-0000-0000-000000000000"),
        replace(result, receipt_text=receipt.replace('"payment_ref":null', '"payment_ref":"x"')),
        replace(result, receipt_text=receipt.replace('"signature":"', '"signature":"A')),
        replace(result, receipt_text="{}"),
        replace(result, receipt_text=None),
    ):
        with pytest.raises(VerificationFailed):
            router.verify(wrong)
    with pytest.raises(VerificationFailed):
        router.verify(result, provider_pubkey="0" * 64)


async def test_a_private_job_without_a_friend(node: Node) -> None:
    with pytest.raises(NoTrustedWorker) as caught:
        await router_to(node.url).run_task("classify", "x", USER, privacy="PRIVATE")
    assert caught.value.job_id


async def test_a_job_that_nobody_takes(node: Node) -> None:
    run = asyncio.create_task(router_to(node.url).run_task("classify", "x", USER))
    async with asyncio.timeout(10):
        while not run.done():
            await node.pass_time(31)
            await asyncio.sleep(0.05)
    with pytest.raises(JobFailed, match="no_eligible_worker"):
        await run


async def test_what_the_coordinator_refuses_is_the_callers_to_mend(node: Node) -> None:
    with pytest.raises(InvalidRequest, match="task_type"):
        await router_to(node.url).run_task("dance", "x", USER)
    with pytest.raises(InvalidRequest, match="policy"):
        await router_to(node.url).run_task("classify", "x", USER, policy="SLOW")


async def test_runs_share_connections_inside_of_async_with(node: Node) -> None:
    async with foreign_worker(node.http, node.url) as worker, router_to(node.url) as router:
        await worker.register("TASK")
        for _ in range(3):
            await asyncio.gather(router.run_task("classify", "x", USER), work(worker, OUTPUT))
        await router.close()
        await asyncio.gather(router.run_task("classify", "x", USER), work(worker, OUTPUT))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Process]:
    arguments = ("run", "--testnet", "--port", "0", "--data-dir", str(tmp_path / "data"))
    with dispatchd(*arguments, home=tmp_path / "home") as node:
        yield node


def test_the_real_node_blocking(running: Process) -> None:
    urls = {"monad": running.url()}
    with ComputeRouter.sync(urls, hosted=HostedAccounts()) as router:
        task = router.run_task("classify", "This product is amazing.", user_id=USER)
        assert task.output["sentiment"] == "positive"
        llm = router.run_llm("What is a blockchain?", 24, USER)
        stream = router.stream_llm("What is a blockchain?", 24, USER)
        assert "".join(stream) == llm.output["text"] == stream.result.output["text"]
        results: list[ComputeResult] = [task, llm, stream.result]
        assert len({router.verify(result).provider_pubkey for result in results}) == 1


async def test_a_streams_pieces_come_before_its_end(node: Node) -> None:
    executor = Gated({"text": "the whole"})
    router = router_to(node.url)
    async with (
        our_worker(node.url, {JobType.LLM_INFER: executor}),
        router.stream_llm("Hi", user_id=USER) as stream,
    ):
        assert (await anext(stream)).startswith("text ")
        executor.go.set()
        pieces = [piece async for piece in stream]
        assert pieces[-1] == stream.result.output["text"] == "the whole"
        assert stream.restarts == 1
    assert router.verify(stream.result).job_id == stream.job_id


async def test_a_commit_whose_answer_is_lost_is_never_doubled(node: Node) -> None:
    async with foreign_worker(node.http, node.url) as worker, losing_proxy(node) as url:
        await worker.register("TASK")
        result, _ = await asyncio.gather(
            router_to(url).run_task("classify", "x", USER), work(worker, OUTPUT)
        )
        async with node.http.get(f"{node.url}/v1/workers") as reply:
            (shown,) = (await reply.json())["workers"]
    assert shown["active_jobs"] == 0
    assert shown["record"]["completed"] == 1
    assert result.output["sentiment"] == "positive"


def test_the_sdk_is_loaded_only_when_it_is_used(tmp_path: Path) -> None:
    code = (
        "import sys, dispatchd\n"
        "assert not {'aiohttp', 'onnxruntime', 'dispatchd.sdk'} & set(sys.modules)\n"
        "from dispatchd import ComputeRouter, ComputeResult\n"
        "assert not {'onnxruntime', 'numpy'} & set(sys.modules)\n"
        "assert not hasattr(dispatchd, 'nothing')\n"
    )
    environment = clean_environment(tmp_path)
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True)
