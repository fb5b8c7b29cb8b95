"""The docs page: whole, offline, without a script."""

import base64
import hashlib
import re

from dispatchd.api.openapi import document, error_codes, openai_codes
from dispatchd.core.network import MONAD
from tests.support.node import Node


async def read(node: Node) -> tuple[str, str]:
    async with node.http.get(f"{node.url}/docs") as reply:
        assert (reply.status, reply.content_type) == (200, "text/html")
        return await reply.text(), reply.headers["Content-Security-Policy"]


async def test_the_page_lists_every_route_and_code(node: Node) -> None:
    page, _ = await read(node)
    for path, methods in document(MONAD)["paths"].items():
        for method in methods:
            assert f"<b>{method}</b> <code>{path}</code>" in page
    for code, *_ in error_codes() + openai_codes():
        assert f"<code>{code}</code>" in page


async def test_the_page_needs_nobody_else(node: Node) -> None:
    page, policy = await read(node)
    assert "<script" not in page
    assert re.findall(r'(?:src|href|action)="(?!#|/openapi\.json)', page) == []
    assert re.findall(r"url\(|@import|\sstyle=|\son[a-z]+=", page) == []
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


async def test_every_link_leads_somewhere(node: Node) -> None:
    page, _ = await read(node)
    targets = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= targets
