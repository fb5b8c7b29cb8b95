"""How long a command waits for a job, and what it says when it stops waiting."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dispatchd.cli.coordinator import DEFAULT_URL
from dispatchd.cli.terminal import tell
from dispatchd.sdk.errors import JobTimeout

_T = TypeVar("_T")


async def within(
    seconds: float | None,
    work: Awaitable[_T],
    job_id: str | Callable[[], str | None],
    url: str,
) -> _T:
    """What the work comes to; raises `JobTimeout`.

    Whoever stops waiting, by time or by Ctrl-C, is told how to get the result later.
    """
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        found = job_id if isinstance(job_id, str) else job_id()
        error = JobTimeout(seconds or 0, found)
        error.hint = _how_to_go_on(found, url)
        raise error from None
    except asyncio.CancelledError:
        tell(_how_to_go_on(job_id if isinstance(job_id, str) else job_id(), url))
        raise


def _how_to_go_on(job_id: str | None, url: str) -> str:
    if job_id is None:
        return "The coordinator had not answered yet."
    where = "" if url == DEFAULT_URL else f" --coordinator {url}"
    return f"The job goes on: dispatchd job wait {job_id}{where}"
