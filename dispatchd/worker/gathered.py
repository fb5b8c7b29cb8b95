"""Inputs that meet share one call: what comes while a call runs forms the next one."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

Result = dict[str, Any]
Together = Callable[[Sequence[str]], list[Result]]

_CALL_INPUTS_MAX = 256
# A call is as long as its texts are: so long a call at the most stands before a short text.
_CALL_CHARS_MAX = 100_000


class _Asked(NamedTuple):
    text: str
    answer: asyncio.Future[Result]


class Gathered:
    """A function of several texts, on a thread of its own, for callers who have one text each.

    Nobody waits for company: a call starts as soon as the thread is free, with all who wait.
    """

    def __init__(self, together: Together, name: str) -> None:
        self._together = together
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: list[_Asked] = []
        self._answering: asyncio.Task[None] | None = None

    async def ask(self, text: str) -> Result:
        """The function's result for this text, or what it raises for this text alone."""
        asked = _Asked(text, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer_all(), name="gathered")
        return await asked.answer

    async def _answer_all(self) -> None:
        try:
            while group := self._next_group():
                await self._answer(group)
        finally:
            self._answering = None

    def _next_group(self) -> list[_Asked]:
        """Who comes next, in the order of their coming, without those who have gone."""
        waiting = [asked for asked in self._waiting if not asked.answer.done()]
        count, chars = 0, 0
        while count < min(len(waiting), _CALL_INPUTS_MAX) and chars < _CALL_CHARS_MAX:
            chars += len(waiting[count].text)
            count += 1
        self._waiting = waiting[count:]
        return waiting[:count]

    async def _answer(self, group: list[_Asked]) -> None:
        loop = asyncio.get_running_loop()
        texts = [asked.text for asked in group]
        outcomes: Sequence[Result | Exception]
        try:
            outcomes = await loop.run_in_executor(self._thread, self._outcomes, texts)
        except Exception as error:  # noqa: BLE001 # whoever waits must hear of it
            outcomes = [error] * len(group)
        for asked, outcome in zip(group, outcomes, strict=True):
            if asked.answer.done():
                continue
            if isinstance(outcome, Exception):
                asked.answer.set_exception(outcome)
            else:
                asked.answer.set_result(outcome)

    def _outcomes(self, texts: list[str]) -> list[Result | Exception]:
        try:
            results = self._together(texts)
            return [result for _, result in zip(texts, results, strict=True)]
        except Exception as error:  # noqa: BLE001 # it is raised where its text is awaited
            if len(texts) == 1:
                return [error]
        # One text that breaks must not end those beside it.
        return [outcome for text in texts for outcome in self._outcomes([text])]
