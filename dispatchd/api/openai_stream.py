"""Streams as OpenAI's clients read them: events with a chunk each, and `[DONE]`."""

from collections.abc import AsyncGenerator, AsyncIterator

from dispatchd.api.openai_errors import DIVERGED, Refused, problem_of
from dispatchd.api.openai_replies import Result, Writer, event
from dispatchd.api.sse import KEEP_ALIVE
from dispatchd.coordinator.follow import News, Quiet, TextNews
from dispatchd.core.errors import DispatchError


class Told:
    """The text that a client has read. Another attempt must begin with the same."""

    def __init__(self) -> None:
        self._sent = ""
        self._attempt = 0
        self._read = 0

    def more(self, news: TextNews) -> str:
        """What the client has not read yet; raises `Refused` where the text is another."""
        if news.place.attempt != self._attempt:
            self._attempt, self._read = news.place.attempt, 0
        known = self._sent[self._read : self._read + len(news.text)]
        if not news.text.startswith(known):
            raise Refused(DIVERGED)
        self._read += len(news.text)
        fresh = news.text[len(known) :]
        self._sent += fresh
        return fresh

    def check(self, whole: str) -> None:
        """Raises `Refused` where the job's text is not what the client has read.

        Workers may trim the white space around a text that they have streamed.
        """
        if whole.strip() != self._sent.strip():
            raise Refused(DIVERGED)


async def chunks(writer: Writer, news: AsyncIterator[News | Result]) -> AsyncGenerator[str]:
    """The events of a stream; nothing comes before the first text, the end, or a quiet while.

    What goes wrong before the first event is raised, so that it gets a status of its own.
    """
    begun = False
    try:
        async for text in _chunks(writer, news):
            begun = True
            yield text
    except (Refused, DispatchError) as error:
        if not begun:
            raise
        yield event(problem_of(error).body())


async def _chunks(writer: Writer, news: AsyncIterator[News | Result]) -> AsyncIterator[str]:
    told, opened = Told(), False
    async for each in news:
        text = told.more(each) if isinstance(each, TextNews) else ""
        if not opened and (text or isinstance(each, Result)):
            opened = True
            for opening in writer.opening():
                yield opening
        if text:
            yield writer.piece(text)
        elif isinstance(each, Quiet):
            yield KEEP_ALIVE
        elif isinstance(each, Result):
            told.check(each.text)
            for closing in writer.closing(each):
                yield closing
