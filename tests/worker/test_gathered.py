"""Callers with one text each, whose calls are held back until a test lets them go."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from dispatchd.worker.gathered import Gathered

PATIENCE_SECONDS = 10


class Held:
    """Notes the texts of each call, and answers once it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.go = threading.Event()
        self.called = threading.Semaphore(0)

    def __call__(self, texts: Sequence[str]) -> list[dict[str, object]]:
        self.calls.append(list(texts))
        self.called.release()
        assert self.go.wait(PATIENCE_SECONDS)
        if "bad" in texts:
            raise ValueError("bad")
        return [{"text": text} for text in texts]

    async def begun(self) -> None:
        assert await asyncio.to_thread(self.called.acquire, timeout=PATIENCE_SECONDS)


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.go.set()


def asking(gathered: Gathered, *texts: str) -> list[asyncio.Task[dict[str, object]]]:
    return [asyncio.create_task(gathered.ask(text)) for text in texts]


async def passed_on() -> None:
    """Lets every task that was just created begin."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_comes_during_a_call_forms_the_next_one(held: Held) -> None:
    gathered = Gathered(held, "test")
    first = asking(gathered, "a")
    await held.begun()
    assert held.calls == [["a"]], "one text alone is not kept waiting"
    others = asking(gathered, "b", "c", "d")
    await passed_on()
    held.go.set()
    assert await asyncio.gather(*first, *others) == [{"text": text} for text in "abcd"]
    assert held.calls == [["a"], ["b", "c", "d"]]


async def test_who_has_gone_is_left_out(held: Held) -> None:
    gathered = Gathered(held, "test")
    first, *others = asking(gathered, "a")
    await held.begun()
    others = asking(gathered, "b", "c")
    await passed_on()
    others[0].cancel()
    first.cancel()
    await passed_on()
    held.go.set()
    assert await others[1] == {"text": "c"}
    assert held.calls == [["a"], ["c"]]
    assert first.cancelled()
    assert others[0].cancelled()
    assert await gathered.ask("d") == {"text": "d"}


async def test_a_text_that_breaks_leaves_the_others_alone(held: Held) -> None:
    held.go.set()
    gathered = Gathered(held, "test")
    good, bad, better = await asyncio.gather(
        *asking(gathered, "good", "bad", "better"), return_exceptions=True
    )
    assert (good, better) == ({"text": "good"}, {"text": "better"})
    assert isinstance(bad, ValueError)
    assert await gathered.ask("again") == {"text": "again"}


async def test_a_call_is_only_so_long(held: Held) -> None:
    held.go.set()
    gathered = Gathered(held, "test")
    long = "x" * 60_000
    await asyncio.gather(*asking(gathered, long, long, long, "short"))
    assert [len(call) for call in held.calls] == [2, 2]
    held.calls.clear()
    await asyncio.gather(*asking(gathered, *map(str, range(300))))
    assert [len(call) for call in held.calls] == [256, 44]
