"""Runs TASK jobs: finds the executor of the task's type and keeps it off the event loop."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec import Struct

from dispatchd.core.errors import ExecutionFailed
from dispatchd.worker import Output
from dispatchd.worker.gathered import Gathered
from dispatchd.worker.payload import read_payload

Task = Callable[[str], dict[str, Any]]


class _Payload(Struct, frozen=True):
    task_type: str
    input: str


class TaskExecutor:
    """`Executor` over one function for each task type.

    Plain ones share a thread, one job after the other; of a gathered one, jobs that meet share a
    call.
    """

    def __init__(self, tasks: Mapping[str, Task | Gathered]) -> None:
        self._tasks = tasks
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tasks")

    async def run(self, payload: str) -> AsyncGenerator[str | Output]:
        """Yields the task's result."""
        request = read_payload(payload, _Payload)
        task = self._tasks.get(request.task_type)
        if task is None:
            raise ExecutionFailed("unsupported_task_type", final=True)
        if isinstance(task, Gathered):
            yield Output(await task.ask(request.input))
            return
        loop = asyncio.get_running_loop()
        yield Output(await loop.run_in_executor(self._thread, task, request.input))
