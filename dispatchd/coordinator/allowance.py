"""How often something may happen in a span of time, for each who does it."""

from collections import OrderedDict, deque

from dispatchd.core.job import Millis, millis

_NAMES_MAX = 10_000


class Allowance:
    """At most `count` events in any `seconds`, for each name; the oldest names are forgotten."""

    def __init__(self, count: int, seconds: float) -> None:
        self._count = count
        self._span = millis(seconds)
        self._events: OrderedDict[str, deque[Millis]] = OrderedDict()

    def seconds_until_free(self, name: str, now: Millis) -> float:
        """0 where another event is allowed now, else how long to wait."""
        if self._count == 0:
            return self._span / 1000
        events = self._events.get(name)
        if events is None:
            return 0
        while events and events[0] <= now - self._span:
            events.popleft()
        if len(events) < self._count:
            return 0
        return (events[0] + self._span - now) / 1000

    def note(self, name: str, now: Millis) -> None:
        """An event has happened."""
        events = self._events.setdefault(name, deque(maxlen=self._count))
        events.append(now)
        self._events.move_to_end(name)
        while len(self._events) > _NAMES_MAX:
            self._events.popitem(last=False)

    def take_back(self, name: str) -> None:
        """The last event does not count after all."""
        if events := self._events.get(name):
            events.pop()
