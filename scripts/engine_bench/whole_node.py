"""The whole node as a contestant: jobs go in over HTTP, and end with their receipt."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from scripts.engine_bench.contest import Prompt

_ADDRESS = re.compile(r"address\s+(http://\S+)")
_WAIT_SECONDS = 30


class WholeNode:
    """`dispatchd run` in a process of its own; each prompt is a job."""

    name = "the whole node"

    def __init__(self, url: str) -> None:
        self._url = url

    def seconds(self, prompts: Sequence[Prompt], new_tokens: int) -> float:
        """See `Contestant`."""
        return asyncio.run(self._all(prompts, new_tokens))

    async def _all(self, prompts: Sequence[Prompt], new_tokens: int) -> float:
        async with aiohttp.ClientSession(self._url) as session:
            async with session.get("/v1/health"):
                started = time.perf_counter()
            await asyncio.gather(*(_job(session, prompt, new_tokens) for prompt in prompts))
            return time.perf_counter() - started


async def _job(session: aiohttp.ClientSession, prompt: Prompt, new_tokens: int) -> None:
    payload = {
        "job_type": "LLM_INFER",
        "prompt": prompt.text,
        "max_tokens": new_tokens,
        "ignore_eos": True,
    }
    body = {"job_type": "LLM_INFER", "user_id": "bench", "payload": payload}
    async with session.post("/v1/jobs/commit/fast", json=body) as answer:
        answer.raise_for_status()
        path = f"/v1/jobs/{(await answer.json())['job_id']}"
    while True:
        async with session.get(path, params={"wait": _WAIT_SECONDS}) as answer:
            job = await answer.json()
        if job["status"] == "completed":
            return
        if job["status"] == "failed":
            raise RuntimeError(f"a job failed: {job}")


@contextmanager
def whole_node(model: Path, data: Path, slots: int) -> Iterator[WholeNode]:
    """The node on a port of its own while the block lasts, with that prepared model."""
    options = ["--port", "0", "--data-dir", data, "--model", model, "--slots", slots]
    options += ["--log-level", "warning"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dispatchd", "run", "--testnet", *map(str, options)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield WholeNode(_address(process))
    finally:
        process.terminate()
        process.wait()


def _address(process: "subprocess.Popen[str]") -> str:
    for line in process.stdout or ():
        if found := _ADDRESS.search(line):
            return found[1]
    raise RuntimeError("the node did not start")
