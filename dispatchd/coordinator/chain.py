"""The chain of receipts as others get to see it: signed, and with proofs.

The store appends and knows no key. ed25519 signs the same text the same way every time, so an entry
is signed when somebody asks for it, and completing a job costs no signature.
"""

import asyncio
from pathlib import Path

from msgspec.structs import asdict

from dispatchd.core.chain import (
    Bundle,
    Entry,
    EntryPage,
    ListedEntry,
    Sealed,
    SignedEntry,
    SignedRoot,
    sign_entry,
    sign_root,
)
from dispatchd.core.errors import Conflict, NotFound, Unusable
from dispatchd.core.job import Job, JobStatus
from dispatchd.core.keyfile import KeyFile
from dispatchd.core.keys import KeyPair
from dispatchd.store import ChainStore


class Chain:
    """What a coordinator says of the jobs that have completed, in its own name."""

    def __init__(self, store: ChainStore, key: KeyPair) -> None:
        self._store = store
        self._key = key

    @property
    def coordinator_key(self) -> str:
        """The public key, in hex."""
        return self._key.public_hex

    @property
    def key(self) -> KeyPair:
        """The coordinator's key itself."""
        return self._key

    async def root(self) -> SignedRoot:
        """The Merkle root over all entries."""
        return sign_root(self._key, await self._store.root())

    async def page(self, after: int, limit: int) -> EntryPage:
        """The entries behind a sequence number, so many at the most."""
        found = await self._store.page(after, limit)
        entries = await asyncio.to_thread(self._listed, found)
        return EntryPage(entries, entries[-1].sequence if len(entries) == limit else None)

    async def bundle(self, job: Job) -> Bundle:
        """All that proves a job's result.

        Raises `Conflict` where it has not completed, `NotFound` where it did so before there was a
        chain.
        """
        if job.status is not JobStatus.COMPLETED:
            raise Conflict(f"The job is {job.status}, and only a completed one has a receipt")
        place = await self._store.place_of(job.id)
        if place is None:
            raise NotFound("The job completed before this coordinator kept a chain of receipts")
        signature = sign_entry(self._key, place.entry)
        return bundle_of(job, Sealed(place, signature, sign_root(self._key, place.root)))

    def _listed(self, found: list[tuple[Entry, str | None]]) -> list[ListedEntry]:
        return [
            ListedEntry(**asdict(entry), signature=sign_entry(self._key, entry), job_id=job_id)
            for entry, job_id in found
        ]


def bundle_of(job: Job, sealed: Sealed) -> Bundle:
    """What proves the result of a job, which has completed, by what its coordinator has signed."""
    if job.receipt is None or job.signature is None or job.output is None:
        raise NotFound("The job has no receipt")
    return Bundle(
        receipt=job.receipt,
        receipt_signature=job.signature,
        output=job.output,
        entry=SignedEntry(**asdict(sealed.place.entry), signature=sealed.signature),
        path=list(sealed.place.path),
        root=sealed.root,
    )


def coordinator_key_file(database: Path) -> KeyFile:
    """The file of a coordinator's key, beside its database."""
    path = database.with_name(f"{database.stem}-coordinator-key.json")
    return KeyFile(path, "coordinator", "choose another --data-dir")


async def open_chain(store: ChainStore, database: Path) -> Chain:
    """The chain in a database, with the key beside it; a new chain gets a new key.

    Raises `Unusable` where the key is not there, is another's, or can be read by others.
    """
    file = coordinator_key_file(database)
    path = file.path
    owner = await store.owner()
    if owner is None:
        key = file.load_or_create()
        await store.begin(key.public_hex)
        return Chain(store, key)
    belongs = f"The receipts in {database} are chained under the coordinator key {owner}"
    if not path.exists():
        raise Unusable(f"{belongs}, and {path} is not there. Put that file back.")
    key = file.load()
    if key.public_hex != owner:
        raise Unusable(f"{belongs}, and {path} holds another. Put the right file back.")
    return Chain(store, key)
