"""A facilitator in the box: real checks of real signatures, over a ledger of play money."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from dispatchd.core.clock import Clock
from dispatchd.core.errors import FacilitatorAway, PaymentRefused, StoreUnavailable, Unusable
from dispatchd.core.payment import Offer, Reason, Settlement, Verdict
from dispatchd.payment import Kind, Ledger
from dispatchd.payment.chains import chain_id
from dispatchd.payment.checks import check_signature, check_terms, check_window
from dispatchd.payment.eip712 import domain_of, keccak256, transfer_digest
from dispatchd.payment.payload import Authorization, PaymentPayload
from dispatchd.payment.tokens import Token

NO_ONE = "0x" + "0" * 40
_VERSIONS = (1, 2)


class SimulatedFacilitator:
    """`Facilitator` for tokens that are worth nothing; raises `Unusable` for any other."""

    def __init__(self, ledger: Ledger, clock: Clock, tokens: Sequence[Token]) -> None:
        for token in tokens:
            if chain_id(token.network) is None or not token.testnet:
                raise Unusable(
                    f"Payments are simulated only on EVM testnets, and {token.network} is not known"
                    " to be one. Use --facilitator URL there."
                )
        self._ledger = ledger
        self._clock = clock
        self._tokens = tuple(tokens)

    async def verify(self, payload: PaymentPayload, offer: Offer) -> Verdict:
        """Everything that settling looks at, and moves nothing."""
        try:
            authorization = self._checked(payload, offer)
            check_window(authorization, self._now())
            with _away_with_its_ledger():
                await self._check_funds(payload, offer)
        except PaymentRefused as refused:
            return Verdict(
                valid=False, payer=payload.payer, reason=refused.reason, detail=refused.detail
            )
        return Verdict(valid=True, payer=payload.payer)

    async def settle(self, payload: PaymentPayload, offer: Offer) -> Settlement:
        """Moves the money once; the same payload gets the same transaction ever after."""
        ended = partial(Settlement, network=offer.network, payer=payload.payer)
        try:
            with _away_with_its_ledger():
                transaction = await self._settle(payload, offer)
        except PaymentRefused as refused:
            return ended(success=False, reason=refused.reason, detail=refused.detail)
        return ended(success=True, transaction=transaction)

    async def supported(self) -> list[Kind]:
        """Both versions of `exact` on every network there is a token of."""
        networks = dict.fromkeys(token.network for token in self._tokens)
        return [Kind(version, "exact", name, {}) for name in networks for version in _VERSIONS]

    async def _settle(self, payload: PaymentPayload, offer: Offer) -> str:
        authorization = self._checked(payload, offer)
        key = payload.key(offer)
        transaction = _transaction(authorization, offer)
        if await self._ledger.transaction_of(key) != transaction:
            check_window(authorization, self._now())
        return await self._ledger.transfer(key, authorization.to, offer.amount, transaction)

    def _checked(self, payload: PaymentPayload, offer: Offer) -> Authorization:
        """The payment's authorization, once everything that needs no clock is found good."""
        self._check_token(offer)
        check_terms(payload, offer)
        check_signature(payload, offer)
        if payload.authorization is None:
            raise PaymentRefused(Reason.PAYLOAD, "payload.authorization is missing")
        return payload.authorization

    def _check_token(self, offer: Offer) -> None:
        here = [token for token in self._tokens if token.network == offer.network]
        if not here:
            raise PaymentRefused(Reason.NETWORK, f"{offer.network} is not simulated here")
        token = next((each for each in here if each.id.address == offer.asset.lower()), None)
        if token is None:
            raise PaymentRefused(Reason.REQUIREMENTS, f"{offer.asset} is not simulated here")
        if (offer.extra.get("name"), offer.extra.get("version")) != (token.name, token.version):
            raise PaymentRefused(
                Reason.REQUIREMENTS,
                f"extra.name and extra.version must be {token.name!r} and {token.version!r}",
            )
        if offer.pay_to.lower() == NO_ONE:
            raise PaymentRefused(Reason.REQUIREMENTS, "payTo must not be the zero address")

    async def _check_funds(self, payload: PaymentPayload, offer: Offer) -> None:
        key = payload.key(offer)
        if await self._ledger.transaction_of(key) is not None:
            raise PaymentRefused(Reason.NONCE_USED, "The authorization has been used")
        if (balance := await self._ledger.balance(key.token_id, key.payer)) < offer.amount:
            raise PaymentRefused(
                Reason.INSUFFICIENT_FUNDS, f"The payer has {balance} of {offer.amount}"
            )

    def _now(self) -> int:
        return self._clock.now() // 1000


@contextmanager
def _away_with_its_ledger() -> Iterator[None]:
    """A facilitator whose ledger is away is away itself."""
    try:
        yield
    except StoreUnavailable as error:
        raise FacilitatorAway(str(error)) from error


def _transaction(authorization: Authorization, offer: Offer) -> str:
    """A hash that looks like a transaction's, and is the same for the same authorization."""
    digest = transfer_digest(authorization, domain_of(offer))
    return "0x" + keccak256(b"dispatchd simulated transaction" + digest).hex()
