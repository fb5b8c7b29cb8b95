"""Opens the live page at a node that gets 200 jobs a second for 20 s, and says how both bear it.

Needs Playwright and a Chromium (`chromium` in Debian):

    python scripts/check_page_load.py [--rate 200] [--seconds 20]
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import Page, async_playwright

from tests.support.process import Process, dispatchd

TEXT = "This product is amazing and works perfectly."
ORDER = {
    "job_type": "TASK",
    "user_id": "load",
    "payload": {"job_type": "TASK", "task_type": "classify", "input": TEXT},
}
COMMITS_AT_ONCE = 64
_FRAMES = """() => {
  window.gaps = [];
  let before = performance.now();
  const turn = (now) => {
    window.gaps.push(now - before);
    before = now;
    requestAnimationFrame(turn);
  };
  requestAnimationFrame(turn);
}"""
_STATE = """() => ({
  heap: performance.memory.usedJSHeapSize,
  elements: document.querySelectorAll("*").length,
  completed: Number(document.getElementById("figure-completed").textContent.replaceAll(",", "")),
  gaps: window.gaps.splice(0).sort((a, b) => a - b),
})"""


def main() -> int:
    """The exit code: 0 where the page kept up and stayed as small as it was."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=int, default=200, help="jobs a second")
    parser.add_argument("--seconds", type=int, default=20)
    given = parser.parse_args()
    arguments = ("run", "--testnet", "--port", "0", "--classifier", "keyword")
    with tempfile.TemporaryDirectory() as home, dispatchd(*arguments, home=Path(home)) as node:
        node.out.wait_for("is ready")
        return asyncio.run(_check(node, given.rate, given.seconds))


async def _check(node: Process, rate: int, seconds: int) -> int:
    async with async_playwright() as playwright, aiohttp.ClientSession() as http:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = await browser.new_page()
        await page.goto(f"{node.url()}/#now")
        await page.wait_for_selector("#link[data-state=live]")
        await _load(http, node.url(), rate, 2)
        await page.evaluate(_FRAMES)
        before = await _state(page)
        memory = _resident(node)
        began = time.monotonic()
        accepted = await _load(http, node.url(), rate, seconds)
        took = time.monotonic() - began
        after = await _state(page)
        ended = await _until_shown(page, before["completed"] + accepted)
        _say(before, after, accepted, took)
        print(f"node: resident {memory:.0f} -> {_resident(node):.0f} MiB")
        print(f"page: all {accepted:,} shown as completed: {'yes' if ended else 'NO'}")
        await browser.close()
    grown = after["elements"] - before["elements"]
    return 0 if ended and grown < 100 else 1


async def _load(http: aiohttp.ClientSession, url: str, rate: int, seconds: int) -> int:
    """Commits so many jobs a second; how many were accepted."""
    limit = asyncio.Semaphore(COMMITS_AT_ONCE)
    commits: list[asyncio.Task[bool]] = []

    async def commit() -> bool:
        async with limit, http.post(f"{url}/v1/jobs/commit/cheap", json=ORDER) as reply:
            return reply.status == 201

    began = time.monotonic()
    for number in range(rate * seconds):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        commits.append(asyncio.create_task(commit()))
    return sum(await asyncio.gather(*commits))


async def _state(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate(_STATE)
    return found


async def _until_shown(page: Page, completed: int) -> bool:
    for _ in range(100):
        if (await _state(page))["completed"] >= completed:
            return True
        await asyncio.sleep(0.1)
    return False


def _say(before: dict[str, Any], after: dict[str, Any], accepted: int, took: float) -> None:
    gaps = after["gaps"]
    print(f"jobs: {accepted:,} in {took:.1f} s, {accepted / took:.0f} a second")
    print(
        f"page: {len(gaps) / took:.0f} frames a second, gap between frames:"
        f" median {gaps[len(gaps) // 2]:.0f} ms, 99 % {gaps[len(gaps) * 99 // 100]:.0f} ms,"
        f" longest {gaps[-1]:.0f} ms"
    )
    heap = [state["heap"] / 2**20 for state in (before, after)]
    print(f"page: heap {heap[0]:.1f} -> {heap[1]:.1f} MiB")
    print(f"page: elements {before['elements']} -> {after['elements']}")


def _resident(node: Process) -> float:
    status = Path(f"/proc/{node.popen.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
