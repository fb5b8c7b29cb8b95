"""Loads an engine with generations, and what it says of them."""

import asyncio
import json
import statistics
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from dispatchd.engine.batch.batcher import Batcher
from dispatchd.engine.generate import Generation
from dispatchd.engine.request import Message, TextRequest
from dispatchd.engine.session import Binding
from dispatchd.worker.llm import LlmExecutor
from scripts.engine_bench.contest import Prompt

_TICK_SECONDS = 0.002
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass
class Timed:
    """A listener that notes when text came."""

    started: float
    times: list[float] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    outcome: Generation | Exception | None = None

    def give(self, _piece: str) -> None:
        """From the engine's thread."""
        self.times.append(time.perf_counter())

    def end(self, outcome: Generation | Exception) -> None:
        """From the engine's thread."""
        self.outcome = outcome
        self.times.append(time.perf_counter())
        self.ended.set()


class Prompts:
    """`Drawing` of prompts as a model's encoder reads them."""

    def __init__(self, batcher: Batcher, seed: int = 0) -> None:
        self._encode = batcher._encoder.encode  # noqa: SLF001 # what a prompt becomes is measured
        self._chance = np.random.default_rng(seed)
        self._frame = len(self._encode([Message("user", "")]))

    def draw(self, tokens: int) -> Prompt:
        """The longest text of invented words that is no longer than that, if it can be."""
        prompt = self._prompt(self._word())
        while True:
            longer = self._prompt(f"{prompt.text} {self._word()}")
            if len(longer.ids) > tokens:
                return prompt
            prompt = longer

    def _word(self) -> str:
        return "".join(self._chance.choice(list(_LETTERS), 4))

    def _prompt(self, text: str) -> Prompt:
        return Prompt(text, tuple(int(each) for each in self._encode([Message("user", text)])))


class RunClock:
    """How much time passes inside ONNX Runtime; on while the block lasts."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.runs = 0
        self._plain = Binding.run

    def __enter__(self) -> Self:
        plain = self._plain

        def timed(binding: Binding) -> None:
            started = time.perf_counter()
            plain(binding)
            self.seconds += time.perf_counter() - started
            self.runs += 1

        Binding.run = timed  # type: ignore[assignment,method-assign] # measured from outside
        return self

    def __exit__(self, *_: object) -> None:
        Binding.run = self._plain  # type: ignore[method-assign] # as it was


class Ours:
    """The engine alone, as a contestant: a batcher in this process."""

    name = "ours"

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self.waits: list[dict[str, float]] = []  # one for each call, in milliseconds and percent

    def seconds(self, prompts: Iterable[Prompt], new_tokens: int) -> float:
        """See `Contestant`."""
        requests = [
            TextRequest((Message("user", prompt.text),), new_tokens, ignore_eos=True)
            for prompt in prompts
        ]
        with RunClock() as clock:
            started = time.perf_counter()
            heard = [Timed(started) for _ in requests]
            for request, listener in zip(requests, heard, strict=True):
                self._batcher.submit(request, listener)
            for listener in heard:
                listener.ended.wait()
            seconds = time.perf_counter() - started
        made = {
            one.outcome.completion_tokens for one in heard if isinstance(one.outcome, Generation)
        }
        if made != {new_tokens} or any(isinstance(one.outcome, Exception) for one in heard):
            raise RuntimeError(f"ours made {made} tokens, not {new_tokens} each")
        self.waits.append(
            {
                "first_token_ms": 1000 * statistics.median(one.times[0] - started for one in heard),
                "longest_gap_ms": 1000 * max(max(np.diff(one.times), default=0.0) for one in heard),
                "outside_runtime_percent": 100 * (1 - clock.seconds / seconds),
                "outside_runtime_ms_per_step": 1000 * (seconds - clock.seconds) / clock.runs,
            }
        )
        return seconds


async def lag(batcher: Batcher | None, jobs: int, seconds: float) -> dict[str, float]:
    """How late an event loop wakes, in ms, while the executor on it runs so many jobs."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    running: list[asyncio.Task[int]] = []
    if batcher is not None:
        executor = LlmExecutor(batcher, jobs)
        running = [asyncio.create_task(_endless(executor, number)) for number in range(jobs)]
        await asyncio.sleep(1)
    end = loop.time() + seconds
    while (now := loop.time()) < end:
        await asyncio.sleep(_TICK_SECONDS)
        late.append(1000 * (loop.time() - now - _TICK_SECONDS))
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    p50, p95, p99 = np.percentile(late, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": max(late)}


async def _endless(executor: LlmExecutor, number: int) -> int:
    job: dict[str, Any] = {"prompt": f"{number} goes on", "max_tokens": 100_000, "ignore_eos": True}
    pieces = 0
    while True:
        async for _ in executor.run(json.dumps(job)):
            pieces += 1
