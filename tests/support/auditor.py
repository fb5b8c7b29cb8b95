"""Checks bundles and chains as somebody else would, from receipts.md: nothing of dispatchd."""

import base64
import hashlib
import json
from typing import Any

from nacl.signing import VerifyKey

Hashes = list[bytes]


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def signed(key: str, text: str, signature: str) -> None:
    """Raises `BadSignatureError` unless that key has signed that text."""
    VerifyKey(bytes.fromhex(key)).verify(text.encode(), base64.b64decode(signature))


def entry_text(entry: dict[str, Any]) -> str:
    names = ("sequence", "previous", "receipt_hash", "request_hash", "completed_at")
    return "\n".join(["dispatchd receipts entry v1", *(str(entry[name]) for name in names)])


def leaf(entry: dict[str, Any]) -> bytes:
    return sha256(b"\0", entry_text(entry).encode())


def tree_hash(leaves: Hashes) -> bytes:
    """MTH of RFC 6962, section 2.1, as it is defined there."""
    if not leaves:
        return sha256()
    if len(leaves) == 1:
        return leaves[0]
    k = largest_power_of_two_below(len(leaves))
    return sha256(b"\1", tree_hash(leaves[:k]), tree_hash(leaves[k:]))


def tree_path(m: int, leaves: Hashes) -> Hashes:
    """PATH of RFC 6962, section 2.1.1, as it is defined there."""
    if len(leaves) == 1:
        return []
    k = largest_power_of_two_below(len(leaves))
    if m < k:
        return [*tree_path(m, leaves[:k]), tree_hash(leaves[k:])]
    return [*tree_path(m - k, leaves[k:]), tree_hash(leaves[:k])]


def largest_power_of_two_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def root_by_path(entry: dict[str, Any], size: int, path: list[str]) -> bytes:
    """The root that a path leads to, by the algorithm of RFC 9162, section 2.1.3.2."""
    fn, sn, r = entry["sequence"] - 1, size - 1, leaf(entry)
    for p in map(bytes.fromhex, path):
        assert sn > 0, "the path is too long"
        if fn % 2 or fn == sn:
            r = sha256(b"\1", p, r)
            while not fn % 2 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = sha256(b"\1", r, p)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0, "the path is too short"
    return r


def check_root(root: dict[str, Any]) -> None:
    text = f"dispatchd receipts root v1\n{root['size']}\n{root['root']}"
    signed(root["coordinator_key"], text, root["signature"])


def check_bundle(text: str) -> dict[str, Any]:
    """The bundle, once all of it holds."""
    bundle: dict[str, Any] = json.loads(text)
    assert list(bundle) == ["receipt", "receipt_signature", "output", "entry", "path", "root"]
    entry, root = bundle["entry"], bundle["root"]
    check_root(root)
    signed(root["coordinator_key"], entry_text(entry), entry["signature"])
    receipt, signature = bundle["receipt"], bundle["receipt_signature"]
    assert sha256(f"{receipt}\n{signature}".encode()).hex() == entry["receipt_hash"]
    assert root_by_path(entry, root["size"], bundle["path"]).hex() == root["root"]
    stated = json.loads(receipt)
    signed(stated["provider_pubkey"], receipt, signature)
    output_hash = sha256(bundle["output"].encode()).hex()
    assert stated["output_hash"].removeprefix("sha256:") == output_hash
    return bundle


def check_chain(entries: list[dict[str, Any]], root: dict[str, Any]) -> None:
    """The entries are the whole chain under that root."""
    check_root(root)
    previous = bytes(32)
    for sequence, entry in enumerate(entries, 1):
        assert entry["sequence"] == sequence
        assert entry["previous"] == previous.hex()
        signed(root["coordinator_key"], entry_text(entry), entry["signature"])
        previous = leaf(entry)
    assert len(entries) == root["size"]
    assert tree_hash([leaf(entry) for entry in entries]).hex() == root["root"]


def request_hash(job_id: str, order: dict[str, Any], tier: str, payload: str) -> str:
    """The hash of a commit, whose payload stood in it as that text."""
    fields = (job_id, tier, order["job_type"], order.get("privacy_class", "PUBLIC"))
    return sha256(
        "\n".join(["dispatchd request v1", *fields, order["user_id"], payload]).encode()
    ).hex()
