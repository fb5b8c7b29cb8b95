"""Signs what is new in the chain now and then, for the others that share the store.

Completing a job costs no signature: the entries are signed soon afterwards, many at a time. From
then on any coordinator can prove them, also while this one is away.
"""

import asyncio
import logging

from dispatchd.coordinator.chain import bundle_of
from dispatchd.core.chain import Bundle, Entry, sign_entry, sign_root
from dispatchd.core.clock import Clock
from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.job import Job
from dispatchd.core.keys import KeyPair
from dispatchd.store import SealStore

log = logging.getLogger(__name__)

_SECONDS = 5.0
_AT_ONCE = 512


class Sealing:
    """What coordinators have signed of their chains, and this one's part in it."""

    def __init__(self, store: SealStore, key: KeyPair, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock
        self._signing = asyncio.Lock()

    async def run(self) -> None:
        """Signs for as long as the node lives."""
        while True:
            await self._clock.sleep(_SECONDS)
            await self.catch_up()

    async def catch_up(self) -> None:
        """Signs all that is there; what the store does not take is signed next time."""
        try:
            async with self._signing:  # the last time, at the stop, may meet another
                while await self._once():
                    pass
        except StoreUnavailable as error:
            log.warning("the chain of receipts is signed later: %s", error)

    async def bundle(self, job: Job) -> Bundle | None:
        """The proof of a completed job by what its coordinator has signed; None where nothing."""
        sealed = await self._store.sealed(job.id)
        return None if sealed is None else bundle_of(job, sealed)

    async def _once(self) -> bool:
        """Signs some; whether there may be more."""
        entries, root = await self._store.unsealed(_AT_ONCE)
        if entries:
            signatures = await asyncio.to_thread(self._signed, entries)
            await self._store.seal(entries, signatures, sign_root(self._key, root))
        return len(entries) == _AT_ONCE

    def _signed(self, entries: list[Entry]) -> list[str]:
        return [sign_entry(self._key, entry) for entry in entries]
