"""Receipts that are kept and checked offline, and what becomes of them when they are changed."""

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from dispatchd.core.chain import Bundle, Root, sign_entry, sign_root
from dispatchd.core.keys import KeyPair
from tests.receipts.conftest import Typed, completed, pair, text_of, value_of
from tests.support import auditor
from tests.support.crowd import SUMMARIZE
from tests.support.node import USER, Node

Json = dict[str, Any]
NOBODY = "00000000-0000-4000-8000-000000000000"


class Kept:
    """A file of receipts, and the key against which it is checked."""

    def __init__(self, file: Path, key: str, typed: Typed) -> None:
        self.file = file
        self.key = key
        self._typed = typed

    async def verified(self, *more: str, key: str | None = None) -> list[Json]:
        """What is printed once everything holds."""
        given = ("--coordinator-key", key or self.key, "--json", *more)
        done = await self._typed("receipt", "verify", str(self.file), *given)
        assert (done.exit_code, done.stderr) == (0, ""), done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    async def refused(self, text: str | bytes | None = None, *more: str) -> str:
        """Why it, or that text, does not hold."""
        if text is not None:
            self.file.write_bytes(text.encode() if isinstance(text, str) else text)
        given = ("--coordinator-key", self.key, *more)
        done = await self._typed("receipt", "verify", str(self.file), *given)
        assert (done.exit_code, done.stdout) == (5, ""), (done.exit_code, done.stdout)
        assert done.stderr.startswith("dispatchd: ")
        assert done.stderr.count("\n") == 1
        return done.stderr


Export = Callable[..., Awaitable[Kept]]


@pytest.fixture
def export(busy: Node, typed: Typed, tmp_path: Path) -> Export:
    """Exports receipts from the busy node."""

    async def exported(*what: str) -> Kept:
        done = await typed("receipt", "export", *what, "--coordinator", busy.url)
        assert (done.exit_code, done.stderr) == (0, ""), done.stderr
        file = tmp_path / "receipts.jsonl"
        file.write_bytes(done.stdout_bytes)
        key = (await value_of(busy, "/v1/receipts/root"))["coordinator_key"]
        return Kept(file, key, typed)

    return exported


async def test_a_bundle_is_kept_and_checked_offline(busy: Node, export: Export) -> None:
    job_ids = await completed(busy, 5)
    kept = await export(job_ids[3], job_ids[1].upper())
    found = await kept.verified(key=kept.key.upper())
    assert [(each["verified"], each["job_id"], each["sequence"]) for each in found] == [
        (True, job_ids[3], 4),
        (True, job_ids[1], 2),
    ]
    assert {each["size"] for each in found} == {5}
    for line in kept.file.read_text().splitlines():
        auditor.check_bundle(line)
    pubkey = found[0]["provider_pubkey"]
    assert await kept.verified("--key", pubkey) == found
    assert "provider_pubkey" in await kept.refused(None, "--key", "0" * 64)


async def test_what_curl_saves_is_a_bundle_too(busy: Node, export: Export) -> None:
    (job_id,) = await completed(busy)
    kept = await export(job_id)
    kept.file.write_text(await text_of(busy, f"/v1/receipts/{job_id}"))
    assert [each["job_id"] for each in await kept.verified()] == [job_id]


@pytest.mark.parametrize("print_again", [json.dumps, lambda v: json.dumps(v, sort_keys=True)])
async def test_the_same_json_printed_otherwise_is_the_same_bundle(
    busy: Node, export: Export, print_again: Callable[[Json], str]
) -> None:
    kept = await export(*await completed(busy, 2))
    lines = kept.file.read_text().splitlines()
    kept.file.write_text("\r\n".join(print_again(json.loads(line)) for line in lines))
    assert len(await kept.verified()) == 2


async def test_the_whole_chain_is_kept_and_checked_offline(busy: Node, export: Export) -> None:
    (worker,) = (await value_of(busy, "/v1/workers"))["workers"]
    await pair(busy, USER, worker["provider_pubkey"])
    public = await completed(busy, 20)
    (secret,) = await completed(busy, privacy_class="PRIVATE")
    public += await completed(busy, 14)
    kept = await export("--all")
    (found,) = await kept.verified()
    assert (found["size"], found["receipts"]) == (35, 34)
    root, *lines = map(json.loads, kept.file.read_text().splitlines())
    auditor.check_chain([line["entry"] for line in lines], root)
    assert secret not in kept.file.read_text()
    assert list(lines[20]) == ["entry"]
    shown = [json.loads(line["receipt"])["job_id"] for line in lines if "receipt" in line]
    assert shown == public


async def test_an_empty_chain_is_one(export: Export) -> None:
    kept = await export("--all")
    assert [(each["size"], each["receipts"]) for each in await kept.verified()] == [(0, 0)]


async def test_an_export_that_cannot_be(busy: Node, typed: Typed) -> None:
    here = ("--coordinator", busy.url)
    for arguments in ((), ("--all", NOBODY)):
        assert (await typed("receipt", "export", *arguments, *here)).exit_code == 2
    unknown = await typed("receipt", "export", NOBODY, *here)
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert "not found" in unknown.stderr
    away = await typed("receipt", "export", NOBODY, "--coordinator", "http://127.0.0.1:1")
    assert away.exit_code == 3


async def test_a_job_that_has_not_completed_cannot_be_exported(node: Node, typed: Typed) -> None:
    job_id = await node.commit(SUMMARIZE)
    early = await typed("receipt", "export", job_id, "--coordinator", node.url)
    assert (early.exit_code, early.stdout) == (1, "")
    assert "pending" in early.stderr


async def test_a_file_that_cannot_be_checked(typed: Typed, tmp_path: Path) -> None:
    key = ("--coordinator-key", "0" * 64)
    missing = await typed("receipt", "verify", str(tmp_path / "none"), *key)
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert "none" in missing.stderr
    file = tmp_path / "file"
    file.touch()
    for bad in ("0" * 63, "x" * 64, "0" * 64 + "\n"):
        done = await typed("receipt", "verify", str(file), "--coordinator-key", bad)
        assert done.exit_code == 2
        assert "64 hex" in done.stderr


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"null", b"[]", b"{}", b"{", b"\xff", b"{}\x00", b"x" * 100, b"[" * 100_000,
     b'{"coordinator_key":' + b"[" * 100_000 + b"}"],
)  # fmt: skip
async def test_what_is_no_export_does_not_hold(
    typed: Typed, tmp_path: Path, content: bytes
) -> None:
    kept = Kept(tmp_path / "file", "0" * 64, typed)
    assert "line 1" in await kept.refused(content)


async def test_a_bundle_without_the_key_says_that_it_needs_one(
    busy: Node, export: Export, typed: Typed
) -> None:
    kept = await export(*await completed(busy))
    done = await typed("receipt", "verify", f"@{kept.file}")
    assert done.exit_code == 2
    assert "--coordinator-key" in done.stderr


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a document stand that are neither objects nor arrays."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, each in items:
            yield from leaves(each, (*path, name))
    else:
        yield path


def changed(document: Json, path: tuple[Any, ...]) -> str:
    """The document with another value at one place, of the same form."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    value = inner[path[-1]]
    inner[path[-1]] = value + 1 if isinstance(value, int) else other_text(value)
    return json.dumps(copy, separators=(",", ":"))


def other_text(text: str) -> str:
    digit = next(i for i, letter in enumerate(text) if letter.isdigit())
    return f"{text[:digit]}{(int(text[digit]) + 1) % 10}{text[digit + 1 :]}"


NAMED = {
    ("receipt",): "receipt",
    ("receipt_signature",): "receipt",
    ("output",): "output_hash",
    ("entry", "sequence"): "entry: its signature",
    ("entry", "previous"): "entry: its signature",
    ("entry", "receipt_hash"): "receipt_hash",
    ("entry", "request_hash"): "entry: its signature",
    ("entry", "completed_at"): "entry: its signature",
    ("entry", "signature"): "entry: its signature",
    ("path", 0): "path",
    ("path", 1): "path",
    ("path", 2): "path",
    ("root", "coordinator_key"): "coordinator_key",
    ("root", "size"): "root: its signature",
    ("root", "root"): "root: its signature",
    ("root", "signature"): "root: its signature",
}


async def test_any_field_of_a_bundle_that_is_another_is_named(busy: Node, export: Export) -> None:
    job_ids = await completed(busy, 5)
    kept = await export(job_ids[1])
    bundle = json.loads(kept.file.read_text())
    assert set(leaves(bundle)) == NAMED.keys()
    for path, name in NAMED.items():
        assert name in await kept.refused(changed(bundle, path)), path
    for name in bundle:
        without = {each: value for each, value in bundle.items() if each != name}
        assert name in await kept.refused(json.dumps(without))
    assert "path" in await kept.refused(json.dumps(bundle | {"path": bundle["path"][:-1]}))
    assert "more" in await kept.refused(json.dumps(bundle | {"more": 1}))


async def test_parts_of_two_good_bundles_make_no_third(busy: Node, export: Export) -> None:
    kept = await export(*await completed(busy, 4))
    first, *others = map(json.loads, kept.file.read_text().splitlines())
    for other in others:
        for name in ("receipt", "receipt_signature", "entry", "path"):
            assert await kept.refused(json.dumps(first | {name: other[name]}))
    older = json.loads(await text_of(busy, "/v1/receipts/root"))
    await completed(busy)
    newer = json.loads(await text_of(busy, "/v1/receipts/root"))
    assert first["root"] == older
    assert "path" in await kept.refused(json.dumps(first | {"root": newer}))


async def test_a_bundle_of_another_coordinator_is_refused(busy: Node, export: Export) -> None:
    """Even where everything in it holds: it was signed by somebody else."""
    kept = await export(*await completed(busy))
    await kept.verified()
    kept.key = "ab" * 32
    assert "another coordinator's" in await kept.refused()


async def chain_lines(busy: Node, export: Export, count: int = 9) -> tuple[Kept, list[str]]:
    await completed(busy, count)
    kept = await export("--all")
    return kept, kept.file.read_text().splitlines()


def joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


async def test_a_chain_without_one_of_its_entries_is_refused(busy: Node, export: Export) -> None:
    kept, lines = await chain_lines(busy, export)
    for number in range(1, 9):
        said = await kept.refused(joined(lines[:number] + lines[number + 1 :]))
        assert f"entry {number} is missing" in said
    for number in range(1, 10):
        assert f"cut off: it ends with entry {number - 1}" in await kept.refused(
            joined(lines[:number])
        )
    assert "line 1" in await kept.refused(joined(lines[1:]))


async def test_a_chain_in_another_order_is_refused(busy: Node, export: Export) -> None:
    kept, lines = await chain_lines(busy, export)
    for number in range(1, 9):
        swapped = [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]]
        assert f"entry {number} is missing" in await kept.refused(joined(swapped))
    assert "entry 5 is missing" in await kept.refused(joined([*lines[:5], lines[4], *lines[5:]]))
    assert "entry 10 is missing" in await kept.refused(joined([*lines, lines[-1]]))


async def test_an_entry_of_a_chain_that_is_another_is_named(busy: Node, export: Export) -> None:
    kept, lines = await chain_lines(busy, export)
    line = json.loads(lines[4])
    names = {
        ("entry", "sequence"): "entry 4 is missing",
        ("entry", "previous"): "entry 4: previous",
        ("entry", "receipt_hash"): "entry 4: entry: its signature",
        ("entry", "request_hash"): "entry 4: entry: its signature",
        ("entry", "completed_at"): "entry 4: entry: its signature",
        ("entry", "signature"): "entry 4: entry: its signature",
        ("receipt",): "entry 4: receipt",
        ("receipt_signature",): "entry 4: receipt",
        ("output",): "entry 4: receipt: output_hash",
    }
    assert set(leaves(line)) == names.keys()
    for path, name in names.items():
        tampered = [*lines[:4], changed(line, path), *lines[5:]]
        assert name in await kept.refused(joined(tampered)), path
    halved = json.dumps({name: line[name] for name in ("entry", "output")})
    assert "is missing" in await kept.refused(joined([*lines[:4], halved, *lines[5:]]))
    swapped = json.dumps(json.loads(lines[5]) | {"entry": line["entry"]})
    assert "entry 4: receipt_hash" in await kept.refused(joined([*lines[:4], swapped, *lines[5:]]))


async def test_the_root_of_a_chain_that_is_another_is_named(busy: Node, export: Export) -> None:
    kept, lines = await chain_lines(busy, export)
    root = json.loads(lines[0])
    for name in root:
        said = await kept.refused(joined([changed(root, (name,)), *lines[1:]]))
        assert ("coordinator_key" if name == "coordinator_key" else "root: its signature") in said
    await completed(busy)
    newer = await text_of(busy, "/v1/receipts/root")
    assert "cut off: it ends with entry 9" in await kept.refused(joined([newer, *lines[1:]]))


async def test_an_older_root_makes_a_shorter_chain_and_nothing_else(
    busy: Node, export: Export
) -> None:
    """Who has only the key cannot know how long the chain has grown; receipts.md says so."""
    await completed(busy, 3)
    older = await text_of(busy, "/v1/receipts/root")
    kept, lines = await chain_lines(busy, export, 3)
    kept.file.write_text(joined([older, *lines[1:4]]))
    assert [each["size"] for each in await kept.verified()] == [3]
    assert "entry 4: the root is over 3 entries" in await kept.refused(joined([older, *lines[1:]]))


async def test_a_forger_with_a_key_of_his_own_is_refused(busy: Node, export: Export) -> None:
    """He can make a chain of his own, but not sign it in the coordinator's name."""
    kept = await export(*await completed(busy))
    bundle = msgspec.json.decode(kept.file.read_bytes(), type=Bundle)
    his = KeyPair.generate()
    entry = replace(bundle.entry, request_hash="0" * 64)
    entry = replace(entry, signature=sign_entry(his, entry))
    root = sign_root(his, Root(1, entry.leaf.hex()))
    forged = replace(bundle, entry=entry, root=root)
    assert "another coordinator's" in await kept.refused(msgspec.json.encode(forged))
    posing = replace(forged, root=replace(root, coordinator_key=kept.key))
    assert "root: its signature" in await kept.refused(msgspec.json.encode(posing))
    half = replace(bundle, entry=entry)
    assert "entry: its signature" in await kept.refused(msgspec.json.encode(half))
    kept.key = his.public_hex
    kept.file.write_bytes(msgspec.json.encode(forged))
    assert [each["root"] for each in await kept.verified()] == [root.root]
