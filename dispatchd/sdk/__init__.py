"""The client's side of the network; payments come from whoever implements `Payer`."""

from collections.abc import Mapping
from typing import Any, Protocol


class Payer(Protocol):
    """Pays for jobs."""

    async def pay(self, offer: dict[str, Any]) -> Mapping[str, str]:
        """The headers that pay for one offer of a 402 (`X-PAYMENT`).

        The SDK has checked already that the offer asks no more than the quote did, and calls
        this once a job at the most.
        """
        ...
