"""The client's side of the network, and who pays for it."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct


class Bill(Struct, frozen=True):
    """A 402 as it came, beside what was quoted: nothing dearer and no other network is meant.

    Both are empty where nothing was quoted.
    """

    headers: Mapping[str, str]
    body: str
    price: str = ""
    network: str = ""


class Payment(Struct, frozen=True, kw_only=True):
    """One signed payment; whoever has its headers can take the money, once."""

    headers: Mapping[str, str]
    amount: int
    network: str
    asset: str

    def __repr__(self) -> str:
        """Without the headers, since reprs end up in logs."""
        return f"<Payment of {self.amount} {self.asset} on {self.network}>"


class Payer(Protocol):
    """Pays for jobs; `dispatchd.Wallet` is one."""

    async def pay(self, bill: Bill) -> Payment:
        """A payment for a bill; asked once a job at the most.

        Raises `PaymentError`, and then nothing was signed.
        """
        ...

    def give_back(self, payment: Payment) -> None:
        """A payment was not taken and will not be, as the coordinator says."""
        ...
