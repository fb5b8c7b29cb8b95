"""The page's verifier, under node: golden vectors hold, and what is changed is named."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dispatchd.api.page import FOLDER
from tests.support.vectors import vectors

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs program: node")

CHAIN = vectors("chain")
CASES = {each["name"]: each for each in CHAIN}
DRIVER = """
import { readFileSync } from "node:fs";
const [known, native] = process.argv.slice(2);
if (native !== "native") Object.defineProperty(globalThis, "crypto", { value: undefined });
const { verify } = await import("./verify.js");
const texts = JSON.parse(readFileSync(0, "utf8"));
const found = [];
for (const text of texts) found.push(await verify(text, known));
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's modules where node takes them for modules."""
    folder = tmp_path_factory.mktemp("page") / "dashboard"
    shutil.copytree(FOLDER, folder)
    (folder / "package.json").write_text('{"type":"module"}')
    (folder / "driver.js").write_text(DRIVER)
    return folder


@pytest.fixture(params=["native", "noble"])
def crypto(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def verified(page: Path, crypto: str, *texts: str, known: str = "") -> list[dict[str, Any]]:
    command = ["node", "--no-warnings", "driver.js", known, crypto]
    done = subprocess.run(
        command, cwd=page, input=json.dumps(texts), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def bundle(case: dict[str, Any]) -> dict[str, Any]:
    names = ("receipt", "receipt_signature", "output", "entry", "path", "root")
    return {name: case[name] for name in names}


def first_wrong(found: dict[str, Any]) -> str:
    return next((check["field"] for check in found["checks"] if not check["holds"]), "")


def test_golden_bundles_hold(page: Path, crypto: str) -> None:
    texts = [json.dumps(bundle(case), ensure_ascii=False) for case in CHAIN]
    texts += [json.dumps(bundle(case), indent=3) for case in CHAIN]
    key = CHAIN[0]["root"]["coordinator_key"]
    for found in verified(page, crypto, *texts, known=key):
        assert (found["kind"], found["holds"], first_wrong(found)) == ("bundle", True, "")


def other(text: str) -> str:
    """The same text with its last letter or digit changed."""
    at = max(i for i, char in enumerate(text) if char.isalnum())
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]


CHANGES = {
    "output": ("output_hash", ("output",)),
    "receipt_signature": ("signature", ("receipt_signature",)),
    "receipt_hash": ("receipt_hash", ("entry", "receipt_hash")),
    "previous": ("entry", ("entry", "previous")),
    "request_hash": ("entry", ("entry", "request_hash")),
    "completed_at": ("entry", ("entry", "completed_at")),
    "entry signature": ("entry", ("entry", "signature")),
    "root": ("root", ("root", "root")),
    "root signature": ("root", ("root", "signature")),
    "path": ("path", ("path", 0)),
}


def test_a_change_anywhere_is_named(page: Path, crypto: str) -> None:
    case = next(each for each in CHAIN if len(each["path"]) > 0)
    texts = []
    for _, where in CHANGES.values():
        changed = json.loads(json.dumps(bundle(case)))
        holder: Any = changed
        for step in where[:-1]:
            holder = holder[step]
        value = holder[where[-1]]
        # What ends in padding has bits without meaning at its end, so the front is changed.
        holder[where[-1]] = (
            other(value) if "signature" not in str(where[-1]) else other(value[:20]) + value[20:]
        )
        if where == ("output",):
            holder["output"] = value + " "
        texts.append(json.dumps(changed))
    found = verified(page, crypto, *texts)
    named = {
        name: (first_wrong(each), each["holds"]) for name, each in zip(CHANGES, found, strict=True)
    }
    assert named == {name: (field, False) for name, (field, _) in CHANGES.items()}


def test_another_coordinators_key_is_refused(page: Path, crypto: str) -> None:
    (found,) = verified(page, crypto, json.dumps(bundle(CHAIN[0])), known="ab" * 32)
    assert first_wrong(found) == "coordinator_key"


def whole_chain() -> list[str]:
    root = json.dumps(CHAIN[-1]["root"])
    return [root, *(json.dumps({"entry": case["entry"]}) for case in CHAIN)]


def test_a_whole_chain_holds_and_what_is_dropped_or_moved_is_named(page: Path, crypto: str) -> None:
    head, *entries = whole_chain()
    cut, swapped = entries[:-1], [entries[1], entries[0], *entries[2:]]
    texts = ["\n".join([head, *each]) for each in (entries, cut, entries[1:], swapped)]
    found = verified(page, crypto, *texts)
    assert [first_wrong(each) for each in found] == ["", "size", "entry 1", "entry 1"]
    assert found[0]["holds"]


def test_a_job_as_the_poll_shows_it_holds(page: Path, crypto: str) -> None:
    case = CHAIN[0]
    stated = json.loads(case["receipt"])
    receipt = json.dumps(stated | {"signature": case["receipt_signature"], "verified": True})
    rest = f'"status":"completed","result": {case["output"]} ,"receipt":{receipt}'
    text = f'{{"id":"{stated["job_id"]}",{rest}}}'
    broken = text.replace(f'"result": {case["output"]}', '"result": [1, {"result": "null"}]')
    moved = text.replace(f'{{"id":"{stated["job_id"]}"', '{"id":"another"')
    found = verified(page, crypto, text, broken, moved, case["receipt"])
    assert [first_wrong(each) for each in found] == ["", "output_hash", "job_id", "signature"]


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", "null", '{"entry":1,"path":2}', '{"receipt":{},"result":1}']
)
def test_what_is_no_receipt_is_no_receipt(page: Path, text: str) -> None:
    (found,) = verified(page, "noble", text)
    assert found["holds"] is False
    assert first_wrong(found)
