"""A facilitator that does what a test tells it to, and remembers whose money it has moved."""

import asyncio
import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.support.process import free_port

NETWORK = "eip155:10143"


class Does(enum.Enum):
    """What it does when it is asked."""

    ANSWER = "answers"
    REFUSE = "refuses"
    BREAK = "answers 500"
    DROP = "breaks off the connection"
    HANG = "does not answer"
    LIE = "answers about somebody else"
    MOVE_AND_DROP = "moves the money, and breaks off the connection"
    MOVE_AND_HANG = "moves the money, and does not answer"


_MOVES = {Does.ANSWER, Does.LIE, Does.MOVE_AND_DROP, Does.MOVE_AND_HANG}
_STRANGER = "0x" + "5" * 40


class Facilitator:
    """It checks nothing; what it settles twice it calls used, as a chain would."""

    def __init__(self) -> None:
        self.verifying = Does.ANSWER
        self.settling = Does.ANSWER
        self.reason = "insufficient_funds"
        self.let_go = asyncio.Event()
        self.port = free_port()
        self.verified: list[str] = []
        self.settled: list[str] = []
        self.moved: list[str] = []
        self._asked = asyncio.Condition()

    @property
    def url(self) -> str:
        """Where it is, when it is there."""
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def there(self) -> AsyncIterator[None]:
        """It can be reached during the block.

        aiohttp closes its connections, but does not wait until their sockets are closed.
        """
        app = web.Application()
        app.router.add_get("/supported", self._supported)
        app.router.add_post("/verify", self._verify)
        app.router.add_post("/settle", self._settle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            yield
        finally:
            served = runner.server.connections if runner.server else []
            transports = [each.transport for each in served if each.transport is not None]
            sockets = [each.get_extra_info("socket") for each in transports]
            await runner.cleanup()
            async with asyncio.timeout(10):
                while any(each.fileno() >= 0 for each in sockets):
                    await asyncio.sleep(0)

    async def asked(self, times: list[str], count: int = 1) -> None:
        """Waits until it has been asked so often to verify, or to settle."""
        async with asyncio.timeout(10), self._asked:
            await self._asked.wait_for(lambda: len(times) >= count)

    async def _supported(self, _: web.Request) -> web.Response:
        kinds = [
            {"x402Version": version, "scheme": "exact", "network": NETWORK} for version in (1, 2)
        ]
        return web.json_response({"kinds": kinds})

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        payer, nonce = await _payment(request)
        await self._note(self.verified, nonce)
        await self._wait(self.verifying)
        said = {"isValid": self.verifying is not Does.REFUSE, "payer": payer}
        return await self._do(self.verifying, request, said | {"invalidReason": self.reason})

    async def _settle(self, request: web.Request) -> web.StreamResponse:
        payer, nonce = await _payment(request)
        await self._note(self.settled, nonce)
        await self._wait(self.settling)
        moves = self.settling in _MOVES and nonce not in self.moved
        if moves:
            self.moved.append(nonce)
        used = not moves and self.settling in _MOVES
        said = {
            "success": moves,
            "payer": payer,
            "transaction": nonce if moves else "",
            "network": NETWORK,
            "errorReason": "invalid_exact_evm_nonce_already_used" if used else self.reason,
        }
        return await self._do(self.settling, request, said)

    async def _note(self, times: list[str], nonce: str) -> None:
        async with self._asked:
            times.append(nonce)
            self._asked.notify_all()

    async def _wait(self, what: Does) -> None:
        """Where it hangs, until it is let go; then it does what it does by that time."""
        if what is Does.HANG:
            await self.let_go.wait()

    async def _do(
        self, what: Does, request: web.Request, said: dict[str, Any]
    ) -> web.StreamResponse:
        if what is Does.MOVE_AND_HANG:
            await self.let_go.wait()
        if what in {Does.DROP, Does.MOVE_AND_DROP} and request.transport is not None:
            request.transport.abort()
        if what is Does.BREAK:
            return web.Response(status=500)
        return web.json_response(said | ({"payer": _STRANGER} if what is Does.LIE else {}))


async def _payment(request: web.Request) -> tuple[str, str]:
    payload = (await request.json())["paymentPayload"]["payload"]["authorization"]
    return payload["from"], payload["nonce"]
