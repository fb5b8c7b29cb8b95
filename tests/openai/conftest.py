"""Nodes with the embedded model, worker near and far, and OpenAI's own clients for them."""

from collections.abc import AsyncIterator, Iterator

import openai
import pytest

from tests.support.machines import Place, network


@pytest.fixture(scope="module", params=Place)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with network(request.param, tmp_path_factory.mktemp("network")) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="anything", timeout=30) as client:
        yield client


@pytest.fixture
async def aclient(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="other", timeout=30) as client:
        yield client
