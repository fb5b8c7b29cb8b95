"""Runs TASK jobs: finds the executor of the task's type and keeps it off the event loop."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from dispatchd.core.errors import ExecutionFailed
from dispatchd.worker import Output
from dispatchd.worker.gathered import Gathered
from dispatchd.worker.payload import read_payload
from dispatchd.worker.task_payload import TaskRequest
from dispatchd.worker.written import Author, written

# Takes the text, and the options of the payload by name.
Task = Callable[..., dict[str, Any]]


class TaskExecutor:
    """`Executor` over one function for each task type.

    Plain ones share a thread, one job after the other; of a gathered one, jobs that meet share a
    call. What only a language model can do goes to the author, if there will be one.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task | Gathered],
        author: Callable[[], Awaitable[Author]] | None = None,
    ) -> None:
        self._tasks = tasks
        self._author = author
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tasks")

    async def run(self, payload: str) -> AsyncGenerator[str | Output]:
        """Yields the task's result."""
        request = read_payload(payload, TaskRequest)
        task = self._tasks.get(request.task_type)
        if task is None:
            raise ExecutionFailed("unsupported_task_type", final=True)
        if (field := request.for_a_model) is not None:
            yield Output(await self._written(request, field))
            return
        if isinstance(task, Gathered):
            yield Output(await task.ask(request.input))
            return
        loop = asyncio.get_running_loop()
        work = partial(task, request.input, **request.options)
        yield Output(await loop.run_in_executor(self._thread, work))

    async def _written(self, request: TaskRequest, field: str) -> dict[str, Any]:
        if self._author is None:
            raise ExecutionFailed(
                f"no_language_model: {field} needs a worker that runs a language model itself,"
                " and a larger one than the embedded",
                final=True,
            )
        return await written(request, await self._author())
