"""Many orders at once, a line of JSON each; their results in the same order."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from dispatchd.core.job import JobType
from dispatchd.sdk.errors import InvalidRequest
from dispatchd.sdk.order import Order

_T = TypeVar("_T")


class Defaults(Struct, frozen=True):
    """What holds for a line that does not say it."""

    user_id: str
    policy: str = "AUTO"
    privacy: str = "PUBLIC"


def read_orders(text: str, defaults: Defaults) -> list[Order]:
    """The orders of a file; raises `InvalidRequest` that names the first bad line."""
    orders = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            orders.append(_order(json.loads(line), defaults))
        except (ValueError, RecursionError):
            raise InvalidRequest(f"Line {number} is not JSON") from None
        except InvalidRequest as error:
            raise InvalidRequest(f"Line {number}: {error}") from None
    return orders


async def in_order(
    orders: Sequence[Order], run: Callable[[Order], Awaitable[_T]], parallel: int
) -> AsyncGenerator[_T]:
    """What `run` makes of each order, so many at once; leaves nothing running behind."""
    gate = asyncio.Semaphore(parallel)

    async def admitted(order: Order) -> _T:
        async with gate:
            return await run(order)

    tasks = [asyncio.create_task(admitted(order)) for order in orders]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _order(line: Any, defaults: Defaults) -> Order:
    """A commit's body, or a payload alone."""
    if not isinstance(line, dict):
        raise InvalidRequest("expected an object")
    payload = line.get("payload", line)
    if not isinstance(payload, dict):
        raise InvalidRequest("payload must be an object")
    whole = line if "payload" in line else {}
    is_task = "task_type" in payload or "input" in payload
    job_type = line.get("job_type", JobType.TASK if is_task else JobType.LLM_INFER)
    if job_type not in set(JobType):
        raise InvalidRequest("Invalid job_type. Use LLM_INFER or TASK")
    make = Order.task if job_type == JobType.TASK else Order.llm
    fields = {name: value for name, value in payload.items() if name != "job_type"}
    return make(
        fields,
        str(whole.get("user_id") or defaults.user_id),
        str(whole.get("policy") or defaults.policy),
        str(whole.get("privacy_class") or defaults.privacy),
    )
