"""What is known of keys stays right though the store is read while a key is made."""

from collections.abc import Awaitable, Callable

from dispatchd.coordinator.users import Users
from dispatchd.core.job import Millis
from dispatchd.core.limits import Limits
from dispatchd.core.rate import Counted
from tests.support.clock import FakeClock

Meanwhile = Callable[[], Awaitable[object]]


class SlowStore:
    """A `UserStore` in memory, in which something else happens before an answer arrives."""

    def __init__(self) -> None:
        self.digests: dict[str, bytes] = {}
        self.meanwhile: Meanwhile | None = None

    async def _wait(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()

    async def all(self) -> dict[str, bytes]:
        found = dict(self.digests)
        await self._wait()
        return found

    async def put_key(
        self,
        user_id: str,
        digest: bytes,
        former: bytes | None,
        at: Millis,
        counted: Counted | None = None,
    ) -> bool:
        if self.digests.get(user_id) != former:
            return False
        self.digests[user_id] = digest
        await self._wait()
        return True


async def test_a_key_that_is_made_while_all_are_read_is_known() -> None:
    store = SlowStore()
    users = Users(store, FakeClock(), Limits())
    former = await users.make_key("ann", None, None)
    made: list[str] = []

    async def make() -> None:
        made.append(await users.make_key("ann", "ann", None))

    store.meanwhile = make
    await users.prepare()
    assert (users.of(made[0]), users.of(former), len(users)) == ("ann", None, 1)


async def test_all_may_be_read_before_it_is_known_that_a_key_is_stored() -> None:
    store = SlowStore()
    users = Users(store, FakeClock(), Limits())
    former = await users.make_key("ann", None, None)
    store.meanwhile = users.prepare
    new = await users.make_key("ann", "ann", None)
    assert (users.of(new), users.of(former), len(users)) == ("ann", None, 1)
