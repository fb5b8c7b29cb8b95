"""Users who have an API key: whose a key is, and who must show one."""

import hmac

from dispatchd.core.apikey import digest_of, new_key
from dispatchd.core.clock import Clock
from dispatchd.core.errors import Conflict
from dispatchd.core.limits import Limits
from dispatchd.core.rate import Counted, Rate
from dispatchd.store import UserStore


class Users:
    """The users that are protected, in memory as well, since every commit asks.

    Where other coordinators write to the same store, `prepare` is asked again after each change.
    """

    def __init__(self, store: UserStore, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._clock = clock
        self._new = Rate(
            name="new_user",
            per_address_max=limits.new_users_per_address_max,
            refusal="Too many new users from this address; try again later",
        )
        self._digests: dict[str, bytes] = {}
        self._owners: dict[bytes, str] = {}
        self._made = 0

    def __len__(self) -> int:
        return len(self._digests)

    async def prepare(self) -> None:
        """Looks at who has a key, before anybody can ask."""
        made = -1
        while made != self._made:  # a key that was made meanwhile may not be among them
            made = self._made
            found = await self._store.all()
        self._digests = found
        self._owners = {digest: user_id for user_id, digest in self._digests.items()}

    def protected(self, user_id: str) -> bool:
        """Whether a user has a key, without which nobody speaks for it."""
        return user_id in self._digests

    def of(self, key: str) -> str | None:
        """Whose key that is; None for one that nobody has."""
        digest = digest_of(key)
        user_id = self._owners.get(digest)
        if user_id is None or not hmac.compare_digest(self._digests[user_id], digest):
            return None
        return user_id

    async def make_key(self, user_id: str, caller: str | None, address: str | None) -> str:
        """A user's new key, which nobody can read again; a former one is void from now on.

        `caller` is the user whose key came with the request. Raises `Conflict` where the user has a
        key and it did not come, and `TooMany` after too many new users from one address; the
        operator comes from None.
        """
        former = self._digests.get(user_id)
        if former is not None and caller != user_id:
            raise Conflict("The user has an API key; making another one takes that key")
        key = new_key()
        digest = digest_of(key)
        counted = None if address is None else Counted(self._new, address)
        if not await self._store.put_key(user_id, digest, former, self._clock.now(), counted):
            raise Conflict("The user has been given another API key at this moment")
        if former is not None:
            self._owners.pop(former, None)
        self._made += 1
        self._digests[user_id] = digest
        self._owners[digest] = user_id
        return key
