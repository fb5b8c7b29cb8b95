"""A facilitator between the node and the one in the box, which does what a test wants."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from dispatchd.core.errors import FacilitatorAway
from dispatchd.core.payment import Offer, Settlement, Verdict
from dispatchd.payment import Facilitator, Kind
from dispatchd.payment.payload import PaymentPayload

AWAY = "away"
"""No answer, and nothing has happened."""
LOST = "lost"
"""No answer, though the money has moved."""


class Desk:
    """Passes on what it is asked, unless `verifying` or `settling` say what to do instead.

    Each of them is taken from the front: `AWAY`, `LOST`, or the code of a refusal.
    """

    box: Facilitator

    def __init__(self) -> None:
        self.verifying: list[str] = []
        self.settling: list[str] = []
        self.asked: Counter[str] = Counter()
        self.settled: list[str] = []
        """The texts of the payments that were to be settled, in order."""
        self.open = asyncio.Event()
        self.open.set()
        self.down = False
        self.broken: Exception | None = None

    async def verify(self, payload: PaymentPayload, offer: Offer) -> Verdict:
        self.asked["verify"] += 1
        await self.open.wait()
        script = self._next(self.verifying)
        if script is not None:
            return Verdict(valid=False, payer=payload.payer, reason=script, detail="as scripted")
        return await self.box.verify(payload, offer)

    async def settle(self, payload: PaymentPayload, offer: Offer) -> Settlement:
        self.asked["settle"] += 1
        self.settled.append(payload.text)
        await self.open.wait()
        if self.settling and self.settling[0] == LOST:
            self.settling.pop(0)
            assert (await self.box.settle(payload, offer)).success
            raise FacilitatorAway("no answer came")
        script = self._next(self.settling)
        if script is not None:
            return Settlement(
                success=False, network=offer.network, payer=payload.payer, reason=script
            )
        return await self.box.settle(payload, offer)

    async def supported(self) -> Sequence[Kind]:
        if self.broken:
            raise self.broken
        if self.down:
            raise FacilitatorAway("The facilitator cannot be reached.")
        return await self.box.supported()

    def _next(self, scripts: list[str]) -> str | None:
        script = scripts.pop(0) if scripts else None
        if script == AWAY:
            raise FacilitatorAway("no answer came")
        return script
