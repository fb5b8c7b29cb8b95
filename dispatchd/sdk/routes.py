"""Where an order goes: to its network's coordinator, or elsewhere where the network fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from dispatchd.sdk import Payer
from dispatchd.sdk.apikey import keys_by_chain
from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.errand import Errand
from dispatchd.sdk.errors import HostedFailed, InvalidRequest, JobTimeout, NetworkFailed
from dispatchd.sdk.hosted import HostedAccounts, run_hosted
from dispatchd.sdk.http import Http, Pace, base_of, new_session
from dispatchd.sdk.order import Order
from dispatchd.sdk.result import ComputeResult
from dispatchd.sdk.stream import TextStream


class Routes:
    """The coordinators by network, and the accounts that PUBLIC orders may fall back to."""

    def __init__(
        self,
        urls: Mapping[str, str],
        hosted: HostedAccounts,
        payer: Payer | None,
        pace: Pace,
        api_key: str | Mapping[str, str] | None = None,
    ) -> None:
        self._urls = {name: base_of(url) for name, url in urls.items()}
        self._keys = keys_by_chain(api_key, urls)
        self._hosted = hosted
        self._payer = payer
        self._pace = pace
        self._shared: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """From here on, runs share connections."""
        self._shared = self._shared or new_session()

    async def close(self) -> None:
        """Closes the shared connections."""
        session, self._shared = self._shared, None
        if session is not None:
            await session.close()

    async def run(self, order: Order, chain: str, seconds: float) -> ComputeResult:
        """The result of an order; its whole way may take so long, and as long again elsewhere."""
        async with self._errand(order, chain) as errand:
            try:
                async with asyncio.timeout(seconds):
                    return await errand.run()
            except TimeoutError:
                paid = errand.money_is_out
                raise JobTimeout(seconds, errand.job_id, paid=paid) from None
            except NetworkFailed as failure:
                errand.mark(failure)
                return await self._elsewhere(order, failure, errand.started, seconds)

    def stream(self, order: Order, chain: str, seconds: float) -> TextStream:
        """The same, piece by piece."""
        self._url(chain)

        async def elsewhere(failure: NetworkFailed, started: float) -> ComputeResult:
            return await self._elsewhere(order, failure, started, seconds)

        return TextStream(lambda: self._errand(order, chain), elsewhere, seconds)

    async def _elsewhere(
        self, order: Order, failure: NetworkFailed, started: float, seconds: float
    ) -> ComputeResult:
        """The order done elsewhere, where that is allowed and possible; else the failure."""
        if order.private or not failure.may_fall_back or not self._hosted.in_order:
            raise failure
        try:
            async with asyncio.timeout(seconds):
                provider, output = await run_hosted(self._hosted, order)
        except (HostedFailed, TimeoutError) as error:
            reason = str(error) or f"no answer within {seconds:g} s"
            raise HostedFailed(f"{failure}. {reason}", job_id=failure.job_id) from failure
        return ComputeResult(
            output=output,
            route=f"hosted:{provider}",
            price=None,
            latency_ms=round((time.monotonic() - started) * 1000),
        )

    def _url(self, chain: str) -> str:
        if chain not in self._urls:
            known = ", ".join(self._urls) or "none"
            raise InvalidRequest(f"No coordinator for {chain!r}; coordinator_urls has: {known}")
        return self._urls[chain]

    @asynccontextmanager
    async def _errand(self, order: Order, chain: str) -> AsyncIterator[Errand]:
        url = self._url(chain)
        session = self._shared or new_session()
        try:
            client = CoordinatorClient(Http(url, session, self._keys.get(chain)), self._pace)
            yield Errand(client, order, self._payer, route=f"decentralized:{chain}")
        finally:
            if session is not self._shared:
                await session.close()
