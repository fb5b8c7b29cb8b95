"""Classify jobs through a node's port: alone, many at once, and by the network's first rule."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.client import TASK, Client
from tests.support.process import dispatchd

LONG = "The train leaves from platform four. It has nine carriages. " * 9


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("node")
    with dispatchd("run", "--testnet", "--port", "0", home=home) as node:
        yield Client(node.url())


def output(client: Client, text: str) -> str:
    """The result as it was signed."""
    job = client.until(client.commit(TASK | {"input": text}), "completed")
    return json.dumps(job["result"])


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("This product is amazing and works perfectly.", "positive"),
        ("The food was not good.", "negative"),
        ("The room was not bad at all.", "positive"),
        ("I would not recommend this hotel to anyone.", "negative"),
        ("The meeting starts at nine o'clock.", "neutral"),
        (LONG, "neutral"),
        (LONG + "It was awful, the worst journey of my life. " * 60, "negative"),
    ],
)
def test_sentences_are_read_right(client: Client, text: str, sentiment: str) -> None:
    assert json.loads(output(client, text))["sentiment"] == sentiment


def test_answers_do_not_depend_on_company(client: Client) -> None:
    texts = [
        *("I love it", "not good", "The bus is late again.", "x", " ", "😀", LONG, "<pad>"),
        *(f"It broke after {days} days, which is {days} too few" for days in range(2, 20)),
    ]
    alone = [output(client, text) for text in texts]
    with ThreadPoolExecutor(len(texts)) as threads:
        together = list(threads.map(lambda text: output(client, text), texts))
    assert together == alone


def test_the_first_rule_is_kept_for_those_who_want_it(tmp_path: Path) -> None:
    arguments = ("run", "--testnet", "--port", "0", "--classifier", "keyword")
    with dispatchd(*arguments, home=tmp_path / "home") as node:
        client = Client(node.url())
        assert "the keyword rule" in node.out.text
        assert output(client, "The food was not good.") == (
            '{"sentiment": "positive", "confidence": 0.5}'
        )
        assert output(client, "terrible, awful, sad") == (
            '{"sentiment": "negative", "confidence": 0.9000000000000001}'
        )
