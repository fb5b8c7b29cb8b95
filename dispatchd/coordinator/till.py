"""Where jobs are sold: what one costs, and whether the payment that came is good for it.

The row of a payment is the lock against using it twice: it is stored before the facilitator is
asked, and stays. States and failures: the table in the network's description of x402.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from dispatchd.coordinator.one_by_one import Line, OneByOne
from dispatchd.core.clock import Clock
from dispatchd.core.errors import FacilitatorAway, PaymentRefused
from dispatchd.core.job import Job, Millis, millis
from dispatchd.core.joblog import wordless
from dispatchd.core.limits import Limits
from dispatchd.core.payment import AuthorizationKey, Offer, Payment, PaymentState, Reason
from dispatchd.payment import Facilitator
from dispatchd.payment.checks import check_authorization
from dispatchd.payment.payload import PaymentPayload
from dispatchd.payment.tokens import Token
from dispatchd.store import PaymentStore

log = logging.getLogger(__name__)

_MARGIN_SECONDS = 30
"""So long before an authorization ends the job must have, so that it can be captured in time."""
_ON_THE_WAY_SECONDS = 300
"""What an authorization may lose of its time before it is here: a client's clock, and the way."""
_LOOK_SECONDS = 30.0


class Terms(Struct, frozen=True):
    """In what and to whom is paid; `simulated` money is worth nothing, and says so."""

    token: Token
    pay_to: str
    simulated: bool = False

    @property
    def pays_first(self) -> bool:
        """Whether money moves at commit, since what is signed does not last until completion."""
        return self.token.solana


class Till:
    """Takes payments for one network's jobs."""

    def __init__(
        self,
        payments: PaymentStore,
        facilitator: Facilitator,
        terms: Terms,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._payments = payments
        self._facilitator = facilitator
        self._terms = terms
        self._clock = clock
        self._limits = limits
        self._lines = OneByOne()
        self._fee_payer: str | None = None
        self.problem: str | None = None
        """Why payments cannot be taken at the moment, in a sentence; None where they can."""

    async def run(self) -> None:
        """Looks every now and then whether the facilitator is there."""
        while True:
            try:
                await self._look()
            except FacilitatorAway as error:
                log.warning("%s", error)
            except Exception as error:
                log.exception("looking at the facilitator broke", exc_info=wordless(error))
                self.problem = "Looking at the facilitator broke; the node's log says more."
            await self._clock.sleep(_LOOK_SECONDS)

    async def offer(self, amount: int) -> Offer:
        """What to pay for an amount in atomic units; raises `FacilitatorAway`."""
        if self._terms.pays_first and self._fee_payer is None:
            await self._look()
        return self._terms.token.offer(
            amount,
            self._terms.pay_to,
            round(self._limits.paid_job_seconds) + _ON_THE_WAY_SECONDS,
            fee_payer=self._fee_payer,
        )

    @asynccontextmanager
    async def alone_with(self, payment: PaymentPayload, offer: Offer) -> AsyncIterator[Line]:
        """Nobody else uses the same authorization while the block runs."""
        async with self._lines.alone(payment.key(offer)) as line:
            yield line

    async def replay(self, payment: PaymentPayload, offer: Offer, order: str) -> str | None:
        """The id of the job that this very payment has paid for, if it has; to be asked alone.

        `order` is the fingerprint of what is ordered. Raises `PaymentRefused` where the
        authorization was used for another order, or with another signature.
        """
        key = payment.key(offer)
        found = await self._payments.find(key)
        if found is None:
            return None
        if found.state is PaymentState.VERIFYING:
            # Nobody is at it: this one is alone with it. The store was away when it was dropped.
            await self.drop(key)
            return None
        if (found.digest, found.fingerprint) != (_digest(payment), order):
            raise PaymentRefused(
                Reason.ALREADY_USED, "This authorization was used for another job; sign a new one"
            )
        return found.job_id

    def check(self, payment: PaymentPayload, offer: Offer) -> None:
        """Everything that can be told without the chain; raises `PaymentRefused`."""
        check_authorization(
            payment,
            offer,
            self._clock.now() // 1000,
            round(self._limits.paid_job_seconds),
            contract_wallets=not self._terms.simulated,
        )

    async def reserve(
        self, payment: PaymentPayload, offer: Offer, order: str, job: Job, line: Line
    ) -> Job:
        """The job with its payment, which is stored and verified.

        Who stood in line behind the same payment hears the same verdict. Raises `PaymentRefused`,
        `TooManyOpenPayments`, and `FacilitatorAway` where it is unknown whether the payment is
        good; then it may be used again.
        """
        key = payment.key(offer)
        row = Payment(
            key=key,
            state=PaymentState.VERIFYING,
            job_id=job.id,
            offer=offer,
            digest=_digest(payment),
            fingerprint=order,
            created_at=job.created_at,
            text=payment.text,
        )
        if not await self._payments.reserve(row, self._limits.open_payments_max):
            raise FacilitatorAway("The payment is being verified already.")
        try:
            await self._verify(payment, offer, line)
            first = self._terms.pays_first or await self._payments.must_pay_first(key.payer)
        except BaseException:
            await self.drop(key)
            raise
        return replace(
            job,
            payment_ref=key.reference,
            end_by=self._end_by(payment, job.created_at),
            settling=first,
        )

    async def _verify(self, payment: PaymentPayload, offer: Offer, line: Line) -> None:
        asked = (_digest(payment), offer)
        if line.heard is not None and line.heard[0] == asked:
            raise line.heard[1]
        try:
            await self._ask(payment, offer)
        except (FacilitatorAway, PaymentRefused) as error:
            line.heard = (asked, error)
            raise

    async def _ask(self, payment: PaymentPayload, offer: Offer) -> None:
        verdict = await self._facilitator.verify(payment, offer)
        if not verdict.valid:
            raise PaymentRefused(verdict.reason or Reason.VERIFY_ERROR, verdict.detail or "")

    async def drop(self, key: AuthorizationKey) -> None:
        """The payment is not needed after all, and may be used again."""
        await asyncio.shield(self._payments.drop(key))

    def _end_by(self, payment: PaymentPayload, now: Millis) -> Millis:
        until = now + millis(self._limits.paid_job_seconds)
        if payment.authorization is None:
            return until
        return min(until, millis(payment.authorization.valid_before - _MARGIN_SECONDS))

    async def _look(self) -> None:
        token = self._terms.token
        try:
            kinds = await self._facilitator.supported()
        except FacilitatorAway as error:
            self.problem = str(error)
            raise
        fitting = [kind for kind in kinds if kind.network == token.network]
        if not fitting:
            self.problem = f"The facilitator takes no payments on {token.network}."
            raise FacilitatorAway(self.problem)
        fee_payers = [kind.extra["feePayer"] for kind in fitting if "feePayer" in kind.extra]
        self._fee_payer = fee_payers[0] if fee_payers else None
        if self._terms.pays_first and self._fee_payer is None:
            self.problem = f"The facilitator names no fee payer on {token.network}."
            raise FacilitatorAway(self.problem)
        self.problem = None


def _digest(payment: PaymentPayload) -> str:
    """Equal for equal payments, in whatever version or spelling they came."""
    signed = payment.authorization or payment.transaction
    # The last byte of a signature has two spellings.
    text = msgspec.json.encode((signed, payment.signature[:64].hex()))
    return hashlib.sha256(text).hexdigest()
