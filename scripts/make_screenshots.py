"""Takes a picture of each view of the live page, at two widths, in light and dark.

Two nodes are started, one with simulated payments, and given some jobs. Needs Playwright and a
Chromium (`chromium` in Debian). The README's picture, `scripts/screenshots/page.png`, is
`now-1280-light.png` of

    python scripts/make_screenshots.py --seconds 90 FOLDER
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from tests.support.process import dispatchd, ended

VIEWS = ("now", "jobs", "workers", "try", "verify", "join", "money", "job")
WIDTHS = {1280: 900, 390: 844}
SCHEMES = ("light", "dark")
LINES = (
    "This product is amazing and works perfectly.",
    "It broke after two days.",
    "Not bad at all, and quick.",
)
QUESTIONS = ("What is a blockchain?", "What is a public key?", "What is a hash function?")


def main() -> None:
    """Takes them all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--view", choices=VIEWS, action="append", help="only this one; repeatable")
    parser.add_argument("--seconds", type=int, default=12, help="how long jobs come")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    arguments = ("run", "--testnet", "--port", "0")
    selling = (*arguments, "--payments", "simulated")
    with (
        tempfile.TemporaryDirectory() as place,
        dispatchd(*arguments, home=Path(place, "free")) as node,
        dispatchd(*selling, home=Path(place, "shop")) as shop,
    ):
        for each in (node, shop):
            each.out.wait_for("is ready")
        for number, line in enumerate(LINES, 1):
            pay = ("--pay", str(number), "--coordinator", shop.url())
            ended("submit", "task", "classify", line, *pay, home=Path(place, "payer"))
        joining = ("worker", "--coordinator", node.url(), "--slots", "4")
        with dispatchd(*joining, home=Path(place, "worker")):
            views = given.view or VIEWS
            asyncio.run(_shoot(node.url(), shop.url(), given.folder, views, given.seconds))


async def _shoot(url: str, shop: str, folder: Path, views: tuple[str, ...], seconds: int) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        job_id = await _work(browser, url, seconds)
        for scheme in SCHEMES:
            for width, height in WIDTHS.items():
                context = await browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=scheme
                )
                page = await context.new_page()
                page.on("console", lambda message: print(message.text, file=sys.stderr))
                page.on("pageerror", lambda error: print(error, file=sys.stderr))
                for view in views:
                    await _one(page, shop if view == "money" else url, view, job_id)
                    path = folder / f"{view}-{width}-{scheme}.png"
                    await page.screenshot(path=path, full_page=view != "jobs")
                await context.close()
        await browser.close()


async def _work(browser: Browser, url: str, seconds: int) -> str:
    """Gives the node some jobs for so long; the id of one that has generated text."""
    page = await browser.new_page()
    await page.goto(f"{url}/dashboard#join")
    ask = "([path, body]) => fetch(path, {method: 'POST', headers: {'Content-Type':"
    ask += " 'application/json'}, body}).then(reply => reply.json())"

    async def commit(tier: str, payload: dict[str, object]) -> str:
        body = {"job_type": payload["job_type"], "user_id": "ann", "payload": payload}
        answer = await page.evaluate(ask, [f"/v1/jobs/commit/{tier}", json.dumps(body)])
        return str(answer["job_id"])

    job_id = ""
    for number in range(seconds):
        for line in LINES[: 1 + number % 3]:
            await commit("cheap", {"job_type": "TASK", "task_type": "classify", "input": line})
        prompt = QUESTIONS[number % len(QUESTIONS)]
        payload = {"job_type": "LLM_INFER", "prompt": prompt, "max_tokens": 48}
        job_id = await commit("fast", payload)
        await asyncio.sleep(1)
    await page.close()
    return job_id


async def _one(page: Page, url: str, view: str, job_id: str) -> None:
    """Opens a view and waits until it shows what it should."""
    parameter = f"/{job_id}" if view in {"job", "verify"} else ""
    await page.goto(f"{url}/dashboard#{view}{parameter}")
    await page.reload()
    await page.wait_for_selector("#link[data-state=live]")
    if parameter:
        await page.wait_for_selector(".verdict[data-holds=true]")
    if view == "try":
        await page.click("#try-submit")
        await page.wait_for_selector(".verdict[data-holds=true]")
    if view == "money":
        await page.wait_for_selector(".pill[data-status=captured]")
    if view == "join":
        await page.click("text=Make a pairing code")
        await page.wait_for_selector("#join-code code")
    await page.wait_for_timeout(600)


if __name__ == "__main__":
    main()
