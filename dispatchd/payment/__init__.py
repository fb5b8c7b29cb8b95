"""Who checks and moves money, and who keeps the accounts where the money is simulated."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from dispatchd.core.payment import AuthorizationKey, Offer, Settlement, TokenId, Verdict
from dispatchd.payment.payload import PaymentPayload


class Kind(Struct, frozen=True):
    """A kind of payment that a facilitator takes; `network` is a CAIP-2 identifier."""

    version: int
    scheme: str
    network: str
    extra: dict[str, str]


class Facilitator(Protocol):
    """Checks payments and moves the money; raises `FacilitatorAway` where no answer came."""

    async def verify(self, payload: PaymentPayload, offer: Offer) -> Verdict:
        """Whether a payment could be settled now; moves nothing."""
        ...

    async def settle(self, payload: PaymentPayload, offer: Offer) -> Settlement:
        """Moves the money.

        After `FacilitatorAway` the same payload may be sent again: an authorization moves money
        once at most.
        """
        ...

    async def supported(self) -> Sequence[Kind]:
        """The kinds of payment that it takes."""
        ...


class Ledger(Protocol):
    """Accounts of simulated tokens; every amount is in whole atomic units."""

    async def balance(self, token: TokenId, address: str) -> int:
        """What an account holds; 0 where there is none."""
        ...

    async def accounts(self, token: TokenId, limit: int = 100) -> list[tuple[str, int]]:
        """Addresses and what they hold, in the order of address, so many at the most."""
        ...

    async def fund(self, token: TokenId, address: str, amount: int) -> int:
        """Mints tokens into an account; its balance. Raises `Invalid` beyond the ledger's bound."""
        ...

    async def transaction_of(self, key: AuthorizationKey) -> str | None:
        """The transaction that has used an authorization up, if one has."""
        ...

    async def transfer(self, key: AuthorizationKey, to: str, amount: int, transaction: str) -> str:
        """Moves tokens from the payer and uses the authorization up, in one step.

        Doing the same again changes nothing. Returns the transaction; raises `PaymentRefused`
        where another one has used the authorization up, or the payer has too little.
        """
        ...
