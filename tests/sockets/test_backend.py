"""A worker of ours whose language model is somebody else's server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dispatchd.core.job import JobType
from dispatchd.core.limits import Limits
from dispatchd.worker.backend.address import BackendAddress
from dispatchd.worker.backend.executor import open_backend
from tests.support.backend import MODEL, TEXT, TEXTS, Backend, chunk, vllm
from tests.support.node import Node
from tests.support.ours import our_worker

PROMPT = {"job_type": "LLM_INFER", "prompt": "Hello"}
SAID = [chunk({"content": text}) for text in TEXTS]


@asynccontextmanager
async def worker_over(backend: Backend, node: Node) -> AsyncIterator[None]:
    address = BackendAddress(backend.url)
    async with open_backend(address, None, node.clock, Limits()) as executor:
        models = (executor.model,)
        async with our_worker(node.url, {JobType.LLM_INFER: executor}, models=models):
            yield


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    here = Backend()
    async with here.there():
        yield here


async def test_a_job_goes_through_and_comes_back_with_a_receipt(
    node: Node, backend: Backend
) -> None:
    backend.streams(*vllm())
    async with worker_over(backend, node):
        done = await node.until(await node.commit(PROMPT | {"model": MODEL}), "completed")
        async with node.http.get(f"{node.url}/v1/models") as reply:
            assert [each["id"] for each in (await reply.json())["data"]] == [MODEL]
    assert done["result"]["text"] == TEXT
    assert done["receipt"]["verified"]


async def test_a_cancelled_job_ends_the_request_to_the_backend(
    node: Node, backend: Backend
) -> None:
    backend.streams(*SAID, then="hangs")
    async with worker_over(backend, node):
        job_id = await node.commit(PROMPT)
        await node.until(job_id, "running")
        async with node.http.delete(f"{node.url}/v1/jobs/{job_id}") as reply:
            assert reply.status == 200
        await backend.was_left()


async def test_an_attempt_that_breaks_is_made_again_elsewhere(node: Node, backend: Backend) -> None:
    backend.streams(*SAID, then="breaks")
    other = Backend()
    other.streams(*vllm())
    async with worker_over(backend, node):
        job_id = await node.commit(PROMPT)
        await backend.was_asked(1)
        async with other.there(), worker_over(other, node):
            done = await node.until(job_id, "completed")
    assert done["result"]["text"] == TEXT
    assert (len(backend.asked), len(other.asked)) == (1, 1)


async def test_a_prompt_that_is_too_long_is_not_tried_again(node: Node, backend: Backend) -> None:
    error = {"error": {"code": 400, "type": "exceed_context_size_error"}}
    for _ in range(2):
        backend.answers(400, error)
    async with worker_over(backend, node):
        failed = await node.until(await node.commit(PROMPT), "failed")
    assert failed["result"] == {"error": "prompt_too_long"}
    assert len(backend.asked) == 2  # the second without `max_tokens`
