"""A node with the embedded model, and OpenAI's own clients for it."""

from collections.abc import AsyncIterator, Iterator

import openai
import pytest

from tests.support.process import dispatchd


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("node")
    with dispatchd("run", "--testnet", "--port", "0", home=home) as process:
        yield process.url()


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="anything", timeout=30) as client:
        yield client


@pytest.fixture
async def aclient(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="other", timeout=30) as client:
        yield client
