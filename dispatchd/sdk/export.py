"""Brings a coordinator's chain of receipts here, line by line, to be kept and checked offline."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
from msgspec.structs import asdict

from dispatchd.core.chain import ListedEntry, SignedEntry
from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.errors import BadReply
from dispatchd.sdk.proofs import ChainLine

_AT_ONCE = 16
"""Entries whose receipts and outputs are held in memory."""


async def exported_chain(coordinator: CoordinatorClient) -> AsyncGenerator[bytes]:
    """The signed root, then every entry under it; that of a PUBLIC job with receipt and output."""
    root = await coordinator.root()
    yield msgspec.json.encode(root)
    after = 0
    while after < root.size:
        page = await coordinator.entries(after, min(_AT_ONCE, root.size - after))
        if not page.entries:
            raise BadReply(f"The coordinator has no entry behind {after}, of {root.size}")
        lines = (_line(coordinator, entry) for entry in page.entries)
        for line in await asyncio.gather(*lines):
            yield msgspec.json.encode(line)
        after = page.entries[-1].sequence


async def _line(coordinator: CoordinatorClient, listed: ListedEntry) -> ChainLine:
    fields = asdict(listed)
    job_id = fields.pop("job_id")
    entry = SignedEntry(**fields)
    if job_id is None:
        return ChainLine(entry)
    bundle = await coordinator.bundle(job_id)
    return ChainLine(entry, bundle.receipt, bundle.receipt_signature, bundle.output)
