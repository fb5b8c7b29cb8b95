"""The SDK against coordinators that know part 1 of the protocol alone."""

import time

import pytest

from dispatchd import ComputeRouter
from dispatchd.sdk.errors import (
    BadReply,
    CommitLost,
    InvalidRequest,
    JobFailed,
    JobTimeout,
    Overloaded,
    Unreachable,
)
from tests.sdk.foreign_coordinator import ODD_OUTPUT, foreign_coordinator
from tests.sdk.pace import NOBODY, QUICK, router_to
from tests.support.process import free_port

USER = "user_abc123"


async def test_a_job_is_quoted_committed_polled_and_proved() -> None:
    async with foreign_coordinator(endpoint="/v1/jobs/commit/cheap", price="$0.005") as other:
        router = router_to(other.url)
        result = await router.run_llm("Hello", 16, USER, temperature=0.5)
        assert other.orders == [
            {
                "job_type": "LLM_INFER",
                "user_id": USER,
                "privacy_class": "PUBLIC",
                "payload": {
                    "job_type": "LLM_INFER",
                    "temperature": 0.5,
                    "prompt": "Hello",
                    "max_tokens": 16,
                },
            }
        ]
        assert "POST /v1/jobs/commit/cheap" in other.paths
    assert (result.route, result.price) == ("decentralized:monad", "$0.005")
    assert result.output == {"text": "café \ud83d", "confidence": 1.0, "n": 1000.0}
    assert result.result_text == ODD_OUTPUT
    assert result.latency_ms >= 0
    assert result.job_id
    assert router.verify(result).job_id == result.job_id


async def test_the_preferred_chain_is_the_one_that_is_asked() -> None:
    async with foreign_coordinator() as monad, foreign_coordinator() as solana:
        router = ComputeRouter(
            {"monad": monad.url, "solana": solana.url + "/"}, hosted=NOBODY, pace=QUICK
        )
        result = await router.run_task("classify", "x", USER, chain_preference="solana")
    assert result.route == "decentralized:solana"
    assert (len(monad.paths), len(solana.orders)) == (0, 1)


async def test_polls_keep_their_distance_where_wait_is_not_known() -> None:
    async with foreign_coordinator(polls_until_done=4) as other:
        begin = time.monotonic()
        await router_to(other.url).run_task("classify", "x", USER)
        assert time.monotonic() - begin >= 3 * 0.02
        assert other.polls == 4


async def test_a_coordinator_that_refuses_wait_is_asked_without() -> None:
    async with foreign_coordinator(strict_queries=True) as other:
        await router_to(other.url).run_task("classify", "x", USER)
        polls = [path for path in other.paths if path.startswith("GET /v1/jobs/")]
        assert sum("?" in path for path in polls) == 1


async def test_a_stream_without_events_is_one_piece() -> None:
    async with foreign_coordinator(output='{"text":"All at once"}') as other:
        stream = router_to(other.url).stream_llm("Hello", user_id=USER)
        assert [piece async for piece in stream] == ["All at once"]
        assert stream.result.output == {"text": "All at once"}
        assert stream.restarts == 0


async def test_a_job_that_failed_says_why() -> None:
    async with foreign_coordinator(error="no_eligible_worker") as other:
        with pytest.raises(JobFailed) as caught:
            await router_to(other.url).run_task("classify", "x", USER)
        assert caught.value.reason == "no_eligible_worker"
        assert caught.value.job_id in other.jobs.values()


async def test_time_runs_out() -> None:
    async with foreign_coordinator(polls_until_done=10**9) as other:
        router = router_to(other.url)
        with pytest.raises(JobTimeout) as caught:
            await router.run_task("classify", "x", USER, timeout=0.2)
        assert caught.value.job_id in other.jobs.values()
        assert isinstance(caught.value, TimeoutError)
        stream = router.stream_llm("x", user_id=USER, timeout=0.2)
        with pytest.raises(JobTimeout):
            await anext(stream)


async def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match="Connection refused") as caught:
        await router_to(f"http://127.0.0.1:{free_port()}").run_task("classify", "x", USER)
    assert not caught.value.uncertain
    assert "dispatchd run" in caught.value.hint


async def test_a_refused_commit_is_repeated() -> None:
    async with foreign_coordinator(refusals=[429, 429]) as other:
        await router_to(other.url).run_task("classify", "x", USER)
        assert len(other.orders) == 1


async def test_a_coordinator_that_stays_overloaded() -> None:
    async with foreign_coordinator(refusals=[429] * 9) as other:
        with pytest.raises(Overloaded):
            await router_to(other.url).run_task("classify", "x", USER)
        assert other.orders == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_commit_that_may_have_been_taken_is_not_repeated(status: int) -> None:
    async with foreign_coordinator(refusals=[status]) as other:
        with pytest.raises(CommitLost):
            await router_to(other.url).run_task("classify", "x", USER)
        assert sum(path.startswith("POST") for path in other.paths) == 1


async def test_a_lost_answer_is_not_asked_for_again() -> None:
    async with foreign_coordinator(lost_answers=1) as other:
        with pytest.raises(CommitLost):
            await router_to(other.url).run_task("classify", "x", USER)
        assert len(other.orders) == 1


async def test_a_lost_answer_of_one_of_ours_is_asked_for_again() -> None:
    intro = {"service": "dispatchd", "version": "0.1.0"}
    async with foreign_coordinator(lost_answers=2, intro=intro, keeps_keys=True) as other:
        result = await router_to(other.url).run_task("classify", "x", USER)
        assert len(other.orders) == 1
        assert [result.job_id] == list(other.jobs.values())
        assert len({headers["Idempotency-Key"] for headers in other.headers}) == 1


async def test_a_poll_that_fails_is_repeated() -> None:
    async with foreign_coordinator(poll_refusals=[503, 502]) as other:
        await router_to(other.url).run_task("classify", "x", USER)
        assert len(other.orders) == 1


@pytest.mark.parametrize(
    "endpoint", ["//elsewhere.example/commit", "http://elsewhere.example/commit"]
)
async def test_a_quote_that_leads_elsewhere_is_not_followed(endpoint: str) -> None:
    async with foreign_coordinator(endpoint=endpoint) as other:
        with pytest.raises(BadReply, match="elsewhere"):
            await router_to(other.url).run_task("classify", "x", USER)


async def test_what_is_no_coordinator_is_said_so() -> None:
    async with foreign_coordinator() as other:
        with pytest.raises(InvalidRequest, match="nothing here"):
            await router_to(f"{other.url}/docs").run_task("classify", "x", USER)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "a b", "http://x?y=1"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InvalidRequest):
        router_to(url)


async def test_requests_that_cannot_be_right() -> None:
    router = router_to("http://127.0.0.1:1")
    with pytest.raises(InvalidRequest, match="user_id"):
        await router.run_llm("Hello")
    with pytest.raises(InvalidRequest, match="prompt"):
        await router.run_llm(user_id=USER)
    with pytest.raises(InvalidRequest, match="privacy"):
        await router.run_llm("Hello", user_id=USER, privacy="private")
    with pytest.raises(InvalidRequest, match="moon"):
        await router.run_llm("Hello", user_id=USER, chain_preference="moon")
    with pytest.raises(InvalidRequest, match="moon"):
        router.stream_llm("Hello", user_id=USER, chain_preference="moon")
