"""A job's life as it happens: its states, its text, and at the end the job itself."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import msgspec
from msgspec import Struct

from dispatchd.core.clock import Clock
from dispatchd.core.job import ENDED, Job, JobStatus, JobType
from dispatchd.feed import Feed, Live

_LOOK_AGAIN_SECONDS = 15.0


class Place(Struct, frozen=True):
    """How far a watcher has read: so many characters of the text of an attempt."""

    attempt: int = 0
    characters: int = 0


class StatusNews(Struct, frozen=True):
    """The job is in that state now. After `pending`, text that came before is void."""

    status: JobStatus
    place: Place


class TextNews(Struct, frozen=True):
    """More of the text; `place` is after it."""

    text: str
    place: Place


class EndNews(Struct, frozen=True):
    """The job has ended."""

    job: Job
    place: Place


class Quiet(Struct, frozen=True):
    """Nothing has happened for a while."""


News = StatusNews | TextNews | EndNews | Quiet


class _Output(Struct):
    text: str = ""


async def follow(
    get: Callable[[str], Awaitable[Job]], feed: Feed, clock: Clock, job_id: str, place: Place
) -> AsyncIterator[News]:
    """What happens to a job from now on, its text from `place` on, until its end.

    Whoever comes late gets the text so far first. Ends early only where the node stops. Raises
    what `get` raises for an unknown job, and `TooMany` where too many watch already.
    """
    with feed.watching(job_id) as (live, ring):
        job = await get(job_id)
        if live.status is None:
            live.begin(job.attempt, job.status)
        reader = _Reader(live, place)
        while not feed.closed:
            ring.clear()
            if live.ended is None and job.status not in ENDED:
                for news in reader.read():
                    yield news
            else:
                for news in reader.read_end(live.ended or job):
                    yield news
                return
            if not await clock.wait(ring, _LOOK_AGAIN_SECONDS):
                yield Quiet()
                job = await get(job_id)


class _Reader:
    """One watcher's place in a job's life."""

    def __init__(self, live: Live, place: Place) -> None:
        self._live = live
        self._place = place
        self._status: JobStatus | None = None

    def read(self) -> Iterator[News]:
        """What is new; the first time the text so far, then the state."""
        live, first = self._live, self._status is None
        changed = live.status is not self._status or live.attempt != self._place.attempt
        news = list(self._text(live.attempt, live.text))
        if changed and live.status is not None:
            self._status = live.status
            state = StatusNews(live.status, self._place)
            news.insert(len(news) if first else 0, state)
        yield from news

    def read_end(self, job: Job) -> Iterator[News]:
        """The rest of the text, and the end."""
        yield from self._text(job.attempt, final_text(job))
        yield EndNews(job, self._place)

    def _text(self, attempt: int, text: str) -> Iterator[News]:
        if attempt != self._place.attempt:
            self._place = Place(attempt, 0)
        rest = text[self._place.characters :]
        if rest:
            self._place = Place(attempt, len(text))
            yield TextNews(rest, self._place)


def final_text(job: Job) -> str:
    """The text that a completed LLM_INFER job has generated; other jobs have none."""
    if job.job_type is not JobType.LLM_INFER or job.output is None:
        return ""
    try:
        return msgspec.json.decode(job.output, type=_Output).text
    except (msgspec.DecodeError, RecursionError):
        return ""
