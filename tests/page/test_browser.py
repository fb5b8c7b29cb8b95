"""The page in a real browser, against a real node."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import USER, Client
from tests.support.browser import NOT_LOCAL, Visit, chromium, needs_chromium, visit
from tests.support.machines import Machines
from tests.support.process import dispatchd, free_port

pytestmark = [needs_chromium, pytest.mark.xdist_group("chromium")]

MARKUP = "<img src=x onerror=window.hacked=1><b>bold</b>"
HOLDS = ".verdict[data-holds=true]"
BROKEN = ".verdict[data-holds=false]"
VIEWS = ("now", "jobs", "workers", "try", "verify", "join", "money")
CARDS = "(count) => document.querySelectorAll('.worker').length === count"
COMPLETED = """(count) => Number(
  document.getElementById("figure-completed").textContent.replaceAll(",", "")) >= count"""
LATELY = "(none) => (document.getElementById('figure-rate').textContent === '0') === none"
OTHER = "(text) => document.querySelector('li:has(button) .num').textContent !== text"
LENGTHS = """
window.lengths = new Set();
const output = document.getElementById("try-output");
new MutationObserver(() => window.lengths.add(output.textContent.length))
  .observe(output, { childList: true, characterData: true, subtree: true });
"""
WORKER = """([key, name]) => new Promise((done) => {
  const socket = new WebSocket(location.origin.replace("http", "ws"));
  socket.onopen = () => socket.send(JSON.stringify({
    type: "register", provider_pubkey: key, provider_type: "DESKTOP", capabilities: ["TASK"],
    models: [name], version: name,
  }));
  socket.onmessage = (event) => done(event.data);
  window.worker = socket;
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Machines:
    return Machines(tmp_path_factory.mktemp("machines"))


@pytest.fixture(scope="module")
def node(machines: Machines) -> Iterator[str]:
    with machines.run() as process:
        process.out.wait_for("is ready")
        yield process.url()


@pytest.fixture
def visitor(browser: Any, node: str) -> Iterator[Visit]:
    with visit(browser, node) as found:
        yield found
        found.check()


def task(text: str, kind: str = "classify") -> dict[str, Any]:
    return {"job_type": "TASK", "task_type": kind, "input": text}


def paid_job(url: str, home: Path) -> str:
    """The id of a job that one of the node's own wallets has paid for."""
    arguments = ("submit", "task", "classify", "Good.", "--pay", "1", "--no-wait")
    with dispatchd(*arguments, "--coordinator", url, home=home) as process:
        assert process.popen.wait(30) == 0
        return process.out.wait_for(r"\S+\n")[0].strip()


def done(node: str, payload: dict[str, Any], user_id: str = USER) -> dict[str, Any]:
    """A job that has completed."""
    client = Client(node)
    return client.until(client.commit(payload, user_id), "completed")


def test_text_streams_in_and_its_receipt_verifies_and_a_changed_one_does_not(
    visitor: Visit,
) -> None:
    page = visitor.to("try")
    page.fill("#try-text", "What is a blockchain?")
    page.fill("#try-tokens", "64")
    page.evaluate(LENGTHS)
    page.click("#try-submit")
    page.wait_for_selector(f"#try-receipt {HOLDS}")
    lengths = sorted(page.evaluate("[...window.lengths]"))
    assert len([length for length in lengths if length]) > 1, "the text came in pieces"
    assert page.inner_text("#try-output").startswith("A blockchain is")
    page.click("text=Open in Verify")
    page.wait_for_selector(f"#verify-result {HOLDS}")
    page.click("#verify-tamper")
    page.wait_for_selector(f"#verify-result {BROKEN}")
    assert "output_hash" in page.inner_text(f"#verify-result {BROKEN} p")


def test_receipts_are_checked_where_the_browser_has_no_webcrypto(browser: Any, node: str) -> None:
    job = done(node, task("It works well."))
    elsewhere = node.replace("127.0.0.1", NOT_LOCAL)
    with visit(browser, elsewhere) as visitor:
        page = visitor.to(f"job/{job['id']}")
        page.wait_for_selector(HOLDS)
        assert page.evaluate("window.isSecureContext") is False
        assert "noble-ed25519" in page.inner_text(HOLDS)
        visitor.check()


def test_a_job_shows_its_life(visitor: Visit, node: str) -> None:
    job = done(node, task("It works well."))
    page = visitor.to("jobs")
    page.click(f"[data-job='{job['id']}'] a")
    page.wait_for_selector(HOLDS)
    steps = page.eval_on_selector_all(".timeline li", "all => all.map((li) => li.dataset.event)")
    assert steps == ["committed", "assigned", "completed"]
    assert '"sentiment": "positive"' in page.inner_text(".output")


def test_a_waiting_job_says_why(visitor: Visit, browser: Any, machines: Machines) -> None:
    with (
        machines.run("--no-worker", data="lonely") as lonely,
        visit(browser, lonely.url()) as other,
    ):
        job_id = Client(lonely.url()).commit(task("It waits."))
        page = other.to(f"job/{job_id}")
        page.wait_for_selector("text=No worker is connected")
        page.click("text=Cancel the job")
        page.wait_for_selector(".timeline li[data-event=failed]")
        other.check()
    visitor.to("now")


def test_a_worker_that_is_killed_is_gone_from_the_page(
    browser: Any, node: str, machines: Machines
) -> None:
    with visit(browser, node) as visitor, machines.worker(node, data="killed") as worker:
        page = visitor.to("workers")
        page.wait_for_function(CARDS, arg=2)
        worker.stop(signal.SIGKILL)
        page.wait_for_function(CARDS, arg=1, timeout=30_000)
        assert "left" in page.inner_text("main [role=status]")
        visitor.check()


def test_the_same_job_by_the_commands_that_are_shown(visitor: Visit, node: str) -> None:
    page = visitor.to("try")
    page.select_option("#try-kind", "classify")
    page.fill("#try-text", 'It\'s "good", \u00fc\u2026')
    curl, python = page.eval_on_selector_all(
        ".copyable code", "all => all.map((each) => each.textContent)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", python], capture_output=True, text=True, timeout=60, check=False
    )
    assert "sentiment" in ran.stdout, ran.stderr
    sent = subprocess.run(
        ["sh", "-c", curl.partition("\n\n")[0]], capture_output=True, timeout=60, check=False
    )
    job = Client(node).until(json.loads(sent.stdout)["job_id"], "completed")
    assert job["result"]["sentiment"]
    page.click("#key summary")
    page.fill("#api-key", "some key")
    page.press("#api-key", "Enter")
    page.wait_for_selector(".copyable >> text=Bearer")
    assert "$DISPATCHD_API_KEY" in page.inner_text(".copyable >> nth=0")
    compile(page.inner_text(".copyable code >> nth=1"), "shown", "exec")


def test_what_was_done_in_the_last_minute_is_soon_over(browser: Any, node: str) -> None:
    with visit(browser, node) as visitor:
        visitor.page.clock.install()
        done(node, task("It works well."))
        page = visitor.to("now")
        page.wait_for_function(LATELY, arg=False)
        page.clock.fast_forward(70_000)
        page.wait_for_function(LATELY, arg=True)
        visitor.check()


def test_a_job_is_followed_across_a_restart_of_the_node(browser: Any, machines: Machines) -> None:
    port = ("--port", str(free_port()))
    with machines.run("--no-worker", *port, data="again") as first:
        url = first.url()
        job_id = Client(url).commit(task("It works well."))
        with visit(browser, url) as visitor:
            page = visitor.to(f"job/{job_id}")
            page.wait_for_selector("text=No worker is connected")
            first.stop(signal.SIGKILL)
            page.wait_for_selector("#link[data-state=lost]")
            with machines.run(*port, data="again") as second:
                second.url()
                page.wait_for_selector(HOLDS, timeout=60_000)
                assert page.inner_text(".row .pill") == "completed"
                visitor.check()


def test_a_waiting_job_says_who_has_come_since(browser: Any, machines: Machines) -> None:
    with (
        machines.run("--no-worker", data="waiting") as lonely,
        visit(browser, lonely.url()) as visitor,
    ):
        job_id = Client(lonely.url()).commit({"job_type": "LLM_INFER", "prompt": "It waits."})
        page = visitor.to(f"job/{job_id}")
        page.wait_for_selector("text=No worker is connected")
        page.evaluate(WORKER, ["ab" * 32, "other"])
        page.wait_for_selector("text=cannot do this kind of job")
        visitor.check()


def test_markup_of_jobs_and_workers_is_text(visitor: Visit, node: str) -> None:
    job = done(node, task(json.dumps({"a": MARKUP}), "extract_json"), MARKUP)
    page = visitor.to("jobs")
    page.evaluate(WORKER, ["ab" * 32, MARKUP])
    page.wait_for_selector(f"[data-job='{job['id']}']")
    assert MARKUP in page.inner_text("main")
    page.click(f"[data-job='{job['id']}'] a")
    page.wait_for_selector(HOLDS)
    assert MARKUP in page.inner_text(".output")
    visitor.page.evaluate("location.hash = 'workers'")
    page.wait_for_selector(f"[data-key='{'ab' * 32}']")
    assert MARKUP in page.inner_text(f"[data-key='{'ab' * 32}']")
    made = page.evaluate("[window.hacked, document.querySelector('main img, main b b')]")
    assert made == [None, None]


def test_private_jobs_are_seen_by_their_user_alone(visitor: Visit, node: str) -> None:
    client = Client(node)
    status, refused = client.offer(task("A secret."), "vera", privacy_class="PRIVATE")
    assert status == 422
    job_id = refused["job_id"]
    key = client.json("POST", "/v1/users", {"user_id": "vera"})[1]["api_key"]
    page = visitor.to("jobs")
    public = done(node, task("No secret."))
    page.wait_for_selector(f"[data-job='{public['id']}']")
    assert page.query_selector(f"[data-job='{job_id}']") is None
    page.fill("#job-id", job_id)
    page.press("#job-id", "Enter")
    page.wait_for_selector("text=That takes the API key")
    page.click("#key summary")
    page.fill("#api-key", key)
    page.press("#api-key", "Enter")
    page.wait_for_selector(".timeline li[data-event=failed]")
    page.evaluate("location.hash = 'jobs'")
    page.wait_for_selector(f"[data-job='{job_id}']")


def test_a_pairing_code_and_the_command_that_uses_it(visitor: Visit, node: str) -> None:
    page = visitor.to("join")
    page.click("text=Make a pairing code")
    code = page.inner_text("#join-code code")
    command = f"dispatchd worker --coordinator {node} --trust-code {code}"
    assert command in page.inner_text("main")
    assert page.get_attribute(".qr svg", "aria-label") == f"QR code: {command}"


def test_money_that_is_simulated(browser: Any, machines: Machines, tmp_path: Path) -> None:
    with (
        machines.run("--payments", "simulated", data="shop") as shop,
        visit(browser, shop.url()) as visitor,
    ):
        page = visitor.to("try")
        page.select_option("#try-kind", "classify")
        page.click("#try-submit")
        page.wait_for_selector("text=This node sells its jobs: $0.001")
        page.click("nav >> text=Money")
        page.click(".rows button >> nth=0")
        before = page.inner_text("li:has(button) .num >> nth=0")
        page.click("text=Give play money")
        page.wait_for_function(OTHER, arg=before)
        paid = [paid_job(shop.url(), tmp_path) for _ in range(3)]
        page.wait_for_function(
            "(ids) => [...document.querySelectorAll('a.line')].map((each) => each.hash).join()"
            " === ids.map((id) => `#job/${id}`).join()",
            arg=paid[::-1],
        )
        visitor.check()


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_fits_a_telephone_and_has_names_for_its_controls(
    browser: Any, node: str, view: str
) -> None:
    with visit(browser, node, viewport={"width": 390, "height": 844}) as visitor:
        page = visitor.to(view)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        nameless = "all => all.filter((each) => !each.labels?.length && !each.ariaLabel).length"
        assert page.eval_on_selector_all("main input, main select, main textarea", nameless) == 0
        visitor.check()


def test_the_page_can_be_used_by_keyboard(visitor: Visit) -> None:
    page = visitor.to("now")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    focused = "document.activeElement.getAttribute('href')"
    for _ in range(10):
        if page.evaluate(focused) == "#try":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#try-text")
    page.focus("#try-text")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "try-tokens"
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#try-receipt {HOLDS}")


def test_many_jobs_leave_the_page_small_and_quick(visitor: Visit, node: str) -> None:
    page = visitor.to("jobs")
    client = Client(node)
    began = int(client.json("GET", "/v1/network")[1]["now"]["completed"])
    with ThreadPoolExecutor(8) as crowd:
        list(crowd.map(client.commit, [task(f"Number {n}.") for n in range(400)]))
        turn = time.monotonic()
        page.evaluate("new Promise(requestAnimationFrame)")
        assert time.monotonic() - turn < 5
    page.evaluate("location.hash = 'now'")
    page.wait_for_function(COMPLETED, arg=began + 400, timeout=60_000)
    page.evaluate("location.hash = 'jobs'")
    page.wait_for_selector(".rows li")
    assert page.evaluate("document.querySelectorAll('main li').length") <= 50
