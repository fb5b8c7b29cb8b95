"""Server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html: bytes in."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from msgspec import Struct

EVENT_BYTES_MAX = 32 * 1024 * 1024
_MARK = "\ufeff"  # which a body in UTF-8 may begin with


class EventTooLong(Exception):
    """An event that goes on and on."""


class Event(Struct, frozen=True):
    """One event; `data` has its lines joined."""

    kind: str
    data: str


class EventParser:
    """Collects bytes and gives out the events that are whole; lines end in LF, CR LF or CR."""

    def __init__(self, bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._rest = b""
        self._after_cr = False
        self._at_start = True
        self._kind = ""
        self._data: list[str] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that end in this chunk; raises `EventTooLong`."""
        if not chunk:
            return
        fresh = chunk.removeprefix(b"\n") if self._after_cr else chunk
        self._after_cr = chunk.endswith(b"\r")
        lines = (self._rest + fresh).splitlines(keepends=True)
        whole = not lines or lines[-1].endswith((b"\n", b"\r"))
        self._rest = b"" if whole else lines.pop()
        for line in lines:
            yield from self._line(line.rstrip(b"\r\n").decode("utf-8", "replace"), len(line))
        self._check(len(self._rest))

    def _line(self, line: str, size: int) -> Iterator[Event]:
        if self._at_start:
            self._at_start, line = False, line.removeprefix(_MARK)
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "data":
            self._check(size)
            self._data_bytes += size
            self._data.append(value)
        elif not line and self._data:
            yield Event(self._kind or "message", "\n".join(self._data))
        if not line:
            self._kind, self._data, self._data_bytes = "", [], 0

    def _check(self, more: int) -> None:
        if self._data_bytes + more > self._bytes_max:
            raise EventTooLong


async def events_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event]:
    """The events of a body."""
    parser = EventParser()
    async for chunk in chunks:
        for event in parser.feed(chunk):
            yield event
