"""Debian's Chromium, driven by Playwright, and what a page does that it must not."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
NOT_LOCAL = "node.test"
"""A name that leads to this machine, from which a page has no WebCrypto, as from another one."""
_FLAGS = ("--no-sandbox", f"--host-resolver-rules=MAP {NOT_LOCAL} 127.0.0.1")
PATIENCE_MILLIS = 15_000
_WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(event.violatedDirective);
});
"""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs program: chromium")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser for as long as the block runs."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page at a node, the hosts that it asked, and what went wrong on it."""

    page: Any
    url: str
    problems: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def to(self, view: str) -> Any:
        """Goes to a view, once the page has heard from the node."""
        self.page.goto(f"{self.url}/#{view}")
        self.page.wait_for_selector("#link[data-state=live]")
        return self.page

    def check(self) -> None:
        """Nothing was asked of another host, nothing was against the policy, no script broke."""
        assert self.page.evaluate("window.violations") == []
        assert self.problems == []
        assert {one for one in self.asked if not one.startswith((self.url, "data:"))} == set()


@contextmanager
def visit(browser: Any, url: str, **settings: Any) -> Iterator[Visit]:
    """A visitor with a fresh browser profile; `settings` are Playwright's of a context."""
    context = browser.new_context(**settings)
    context.set_default_timeout(PATIENCE_MILLIS)
    context.add_init_script(_WATCH)
    page = context.new_page()
    found = Visit(page, url)
    page.on("pageerror", lambda error: found.problems.append(str(error)))
    page.on("request", lambda request: found.asked.add(request.url))
    try:
        yield found
    finally:
        context.close()
