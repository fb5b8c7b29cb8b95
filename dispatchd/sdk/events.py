"""Server-sent events: bytes as they arrive become events."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from msgspec import Struct

from dispatchd.sdk.errors import BadReply

EVENT_BYTES_MAX = 32 * 1024 * 1024


class Event(Struct, frozen=True):
    """One event; `data` has its lines joined."""

    kind: str
    data: str


class EventParser:
    """Collects bytes and gives out the events that are whole."""

    def __init__(self) -> None:
        self._rest = b""
        self._kind = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that end in this chunk; raises `BadReply` for one that never ends."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > EVENT_BYTES_MAX:
            raise BadReply("An event is too long")
        for line in lines:
            yield from self._line(line.removesuffix(b"\r").decode("utf-8", "replace"))

    def _line(self, line: str) -> Iterator[Event]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif not line and self._data:
            yield Event(self._kind or "message", "\n".join(self._data))
        if not line:
            self._kind, self._data = "", []


async def events_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event]:
    """The events of a body."""
    parser = EventParser()
    async for chunk in chunks:
        for event in parser.feed(chunk):
            yield event
