"""A process of customers: commits classify jobs and waits for them, or only asks for the health.

It prints one JSON object: how many replies, in how many seconds, and how long they took.
"""

import argparse
import asyncio
import json
import sys
import time

import aiohttp
import numpy as np

from scripts.classifier_bench.texts import texts

_HEALTH_PAUSE_SECONDS = 0.01


def main() -> None:
    """Runs until the time is over."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("seconds", type=float)
    parser.add_argument("customers", type=int, help="0 asks for the health, one at a time")
    options = parser.parse_args()
    started = time.perf_counter()
    took = asyncio.run(_all(options.url, options.seconds, options.customers))
    seconds = time.perf_counter() - started
    p50, p99 = np.percentile(took, [50, 99])
    figures = {"replies": len(took), "seconds": seconds, "p50_ms": 1e3 * p50, "p99_ms": 1e3 * p99}
    sys.stdout.write(json.dumps(figures))


async def _all(url: str, seconds: float, customers: int) -> list[float]:
    end = time.perf_counter() + seconds
    took: list[float] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector) as http:
        if not customers:
            await _ask_for_health(http, end, took)
        await asyncio.gather(*(_buy(http, number, end, took) for number in range(customers)))
    return took


async def _ask_for_health(http: aiohttp.ClientSession, end: float, took: list[float]) -> None:
    while (started := time.perf_counter()) < end:
        async with http.get("/v1/health") as reply:
            await reply.read()
        took.append(time.perf_counter() - started)
        await asyncio.sleep(_HEALTH_PAUSE_SECONDS)


async def _buy(http: aiohttp.ClientSession, number: int, end: float, took: list[float]) -> None:
    """One job after the other, each committed and waited for."""
    inputs = texts(64, seed=number)
    while (started := time.perf_counter()) < end:
        payload = {
            "job_type": "TASK",
            "task_type": "classify",
            "input": inputs[len(took) % len(inputs)],
        }
        job = {"job_type": "TASK", "user_id": f"customer {number}", "payload": payload}
        async with http.post("/v1/jobs/commit/cheap", json=job) as reply:
            job_id = (await reply.json())["job_id"]
        async with http.get(f"/v1/jobs/{job_id}", params={"wait": "10"}) as reply:
            assert (await reply.json())["status"] == "completed"
        took.append(time.perf_counter() - started)


if __name__ == "__main__":
    main()
