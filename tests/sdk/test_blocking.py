"""The same methods for callers without an event loop."""

import gc
import threading
from collections.abc import Iterator

import pytest

from dispatchd import ComputeRouter
from dispatchd.sdk.errors import ComputeError, Unreachable
from dispatchd.sdk.hosted import HostedAccounts
from dispatchd.sdk.router import BlockingRouter
from tests.sdk.foreign_coordinator import served
from tests.sdk.pace import NOBODY, QUICK
from tests.support.process import free_port

USER = "user_abc123"


@pytest.fixture
def router() -> Iterator[BlockingRouter]:
    with (
        served(output='{"text":"Hello"}') as other,
        ComputeRouter.sync({"monad": other.url}, hosted=NOBODY, pace=QUICK) as made,
    ):
        yield made


def test_a_job(router: BlockingRouter) -> None:
    result = router.run_llm("Hi", 16, USER)
    assert result.output == {"text": "Hello"}
    assert router.verify(result).job_id == result.job_id
    assert router.run_task("classify", "x", user_id=USER).route == "decentralized:monad"


def test_a_stream(router: BlockingRouter) -> None:
    stream = router.stream_llm("Hi", user_id=USER)
    assert list(stream) == ["Hello"]
    assert stream.result.output == {"text": stream.text}
    stream.close()


def test_errors_are_the_same() -> None:
    nowhere = {"monad": f"http://127.0.0.1:{free_port()}"}
    with (
        ComputeRouter.sync(nowhere, hosted=HostedAccounts(), pace=QUICK) as router,
        pytest.raises(Unreachable),
    ):
        router.run_llm("Hi", user_id=USER)
    with pytest.raises(ComputeError, match="closed"):
        router.run_llm("Hi", user_id=USER)
    router.close()


def test_a_router_that_nobody_closes_leaves_no_thread() -> None:
    def threads() -> int:
        return sum(thread.name == "dispatchd-sdk" for thread in threading.enumerate())

    before = threads()
    router = ComputeRouter.sync({}, hosted=NOBODY)
    assert threads() == before + 1
    del router
    gc.collect()
    assert threads() == before
