"""Who may do what: users who have an API key are spoken for by that key alone."""

from aiohttp import web
from msgspec import Struct

from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.core.errors import Unauthorized
from dispatchd.core.job import Job, Privacy

_SCHEME = "bearer"
_OF_USER = "That takes the API key of the user whom it concerns"
_OF_ANYBODY = "This node takes requests only with an API key"


class KeyRules(Struct, frozen=True):
    """What an edge demands. `required`: everybody must show a key, not only those who have one.

    `open`: anybody may have a key made for a user who has none.
    """

    required: bool = False
    open: bool = True


class Access:
    """Asks for keys where they are needed. A key that nobody has counts as none."""

    def __init__(self, coordinator: Coordinator, rules: KeyRules) -> None:
        self._coordinator = coordinator
        self._users = coordinator.users
        self._required = rules.required
        self.open = rules.open
        """Whether anybody may have a key made for a user who has none."""

    def caller(self, request: web.Request) -> str | None:
        """The user whose key came with a request."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        return self._users.of(key.strip()) if scheme.lower() == _SCHEME else None

    def act_as(self, request: web.Request, user_id: str) -> None:
        """Raises `Unauthorized` where the request must not speak for that user."""
        needed = self._required or self._users.protected(user_id)
        if needed and self.caller(request) != user_id:
            raise Unauthorized(_OF_USER)

    def read(self, request: web.Request, job: Job) -> None:
        """Raises `Unauthorized` where the request must not see that job."""
        if job.privacy is Privacy.PRIVATE:
            self.act_as(request, job.user_id)  # which asks for a key wherever `enter` does
        else:
            self.enter(request)

    def enter(self, request: web.Request) -> None:
        """Raises `Unauthorized` where nobody comes in without a key, whoever's it is."""
        if self._required and self.caller(request) is None:
            raise Unauthorized(_OF_ANYBODY)

    async def read_by_id(self, request: web.Request, job_id: str) -> None:
        """`read` before anything is done for the request; raises `NotFound` besides."""
        if self._required or self._users:
            self.read(request, await self._coordinator.look(job_id))
