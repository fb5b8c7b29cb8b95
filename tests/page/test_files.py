"""The page's files: few, small, strict, and nothing in them that another host must give."""

import hashlib
import re

import pytest

from dispatchd.api.page import FOLDER, POLICY
from tests.support.node import Node

BYTES_MAX = 200 * 1024
TYPES = {".html", ".js", ".css", ".svg"}
FILES = {
    path.relative_to(FOLDER).as_posix(): path.read_bytes()
    for path in sorted(FOLDER.rglob("*"))
    if path.suffix in TYPES
}
OURS = {name: body.decode() for name, body in FILES.items() if not name.startswith("vendor/")}
INDEX = (FOLDER / "index.html").read_bytes()
LIST = (FOLDER / "vendor" / "README.md").read_text()
LICENCES = (FOLDER / "vendor" / "LICENSES.txt").read_text()
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
NAMESPACE = "http://www.w3.org/2000/svg"
LOADS = (
    r"""(?:src|href)=["'](?!/|#)""",
    r"""import\(?\s*["'](?!\.)""",
    r"""from\s*["'](?!\.)""",
    r"""@import|(?<![a-z])url\(""",
)
SINKS = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|Function\("
INLINE = r"\sstyle=|\son[a-z]+=\"|<style|<script>"


def test_all_files_together_are_small() -> None:
    assert sum(map(len, FILES.values())) < BYTES_MAX


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_loaded_from_elsewhere(name: str) -> None:
    text = FILES[name].decode().replace(NAMESPACE, "")
    assert [found for each in LOADS for found in re.findall(each, text)] == []
    if name in OURS:
        assert re.findall(r"[a-z]+://", text) == []


@pytest.mark.parametrize("name", OURS)
def test_no_text_can_become_markup_or_code(name: str) -> None:
    assert re.findall(SINKS, OURS[name]) == []
    assert re.findall(INLINE, OURS[name]) == []


def test_libraries_are_the_ones_that_the_list_names() -> None:
    listed = dict(re.findall(r"^\| (\S+) \| .+ \| ([0-9a-f]{64}) \|$", LIST, re.MULTILINE))
    assert {f"vendor/{name}": digest for name, digest in listed.items()} == {
        name: hashlib.sha256(body).hexdigest() for name, body in FILES.items() if name not in OURS
    }
    for package in ("uplot", "uqr", "@noble/ed25519", "@noble/hashes"):
        assert re.search(rf"^{package} \d", LICENCES, re.MULTILINE)


@pytest.mark.parametrize("path", ["/", "/dashboard"])
async def test_browsers_get_the_page(node: Node, path: str) -> None:
    async with node.http.get(node.url + path, headers=BROWSER) as reply:
        assert (reply.status, reply.content_type) == (200, "text/html")
        assert reply.headers["Content-Security-Policy"] == POLICY
        assert await reply.read() == INDEX
    for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"):
        assert part in POLICY
    assert "unsafe" not in POLICY


async def test_programs_get_what_they_always_did(node: Node) -> None:
    async with node.http.get(f"{node.url}/") as reply:
        assert (await reply.json())["service"] == "dispatchd"
        assert reply.headers["Vary"] == "Accept"


@pytest.mark.parametrize("name", FILES)
async def test_a_file_that_is_known_is_not_sent_again(node: Node, name: str) -> None:
    url = f"{node.url}/dashboard/{name}"
    async with node.http.get(url) as reply:
        assert reply.status == 200
        assert await reply.read() == FILES[name]
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        etag = reply.headers["ETag"]
    async with node.http.get(url, headers={"If-None-Match": etag}) as reply:
        assert (reply.status, await reply.read()) == (304, b"")


@pytest.mark.parametrize(
    "name",
    ["nothing.js", "../page.py", "..%2fpage.py", "%2e%2e/page.py", "vendor/README.md", "vendor/"],
)
async def test_nothing_else_is_served(node: Node, name: str) -> None:
    async with node.http.get(f"{node.url}/dashboard/{name}") as reply:
        assert reply.status == 404
        assert (await reply.json())["code"] == "not_found"
