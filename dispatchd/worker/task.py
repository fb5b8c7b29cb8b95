"""Runs TASK jobs: finds the executor of the task's type and keeps it off the event loop."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from msgspec import Struct

from dispatchd.core.errors import ExecutionFailed
from dispatchd.core.sentence import plain_sentence
from dispatchd.worker import Output

Task = Callable[[str], dict[str, Any]]


class _Payload(Struct, frozen=True):
    task_type: str
    input: str


class TaskExecutor:
    """`Executor` over plain functions, one for each task type, on one thread."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self._tasks = tasks
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tasks")

    async def run(self, payload: str) -> AsyncGenerator[str | Output]:
        """Yields the task's result."""
        request = _parse(payload)
        task = self._tasks.get(request.task_type)
        if task is None:
            raise ExecutionFailed("unsupported_task_type", final=True)
        loop = asyncio.get_running_loop()
        yield Output(await loop.run_in_executor(self._thread, task, request.input))


def _parse(payload: str) -> _Payload:
    try:
        return msgspec.json.decode(payload, type=_Payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ExecutionFailed(f"invalid_payload: {plain_sentence(error)}", final=True) from None
