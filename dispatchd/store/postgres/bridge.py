"""Lets operations, which are plain functions, wait for a database that only coroutines can ask.

An operation runs in a greenlet beside the task that wants it; each time it waits, the task does.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from greenlet import getcurrent, greenlet

_T = TypeVar("_T")


async def bridged(work: Callable[[], _T]) -> _T:
    """Runs a function that may use `wait_for`, and returns its result."""
    beside = greenlet(work)
    result = beside.switch()
    while not beside.dead:
        try:
            answer = await result
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the function
            result = beside.throw(error)
        else:
            result = beside.switch(answer)
    return cast("_T", result)


def wait_for(coming: Awaitable[_T]) -> _T:
    """What an awaitable brings; only within `bridged`."""
    task: Any = getcurrent().parent
    return cast("_T", task.switch(coming))
