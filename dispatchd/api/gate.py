"""What stands before the routes that make jobs: an open gate, or one that takes payments.

The other gate is in `paid_gate.py`, which a node without payments never loads.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from dispatchd.api.errors import Handler
from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import Payment

if TYPE_CHECKING:
    from dispatchd.payment.payload import PaymentPayload


class PaymentKind(StrEnum):
    """How jobs are paid for."""

    OFF = "off"
    X402 = "x402"
    SIMULATED = "simulated"


class Gate(Protocol):
    """The difference between giving jobs away and selling them."""

    @property
    def kind(self) -> PaymentKind:
        """How jobs are paid for here."""
        ...

    @property
    def sells(self) -> bool:
        """Whether jobs cost money here."""
        ...

    def before(self, handler: Handler, guard: Callable[[Handler], Handler], what: str) -> Handler:
        """A handler that makes a job, guarded and behind this gate; `what` is what is sold."""
        ...

    def payment(self, request: web.Request) -> "PaymentPayload | PaymentRefused | None":
        """What came to pay, or why what came is no payment."""
        ...

    def shown(self, payment: Payment) -> dict[str, object]:
        """A payment as its job shows it."""
        ...

    def settled(self, payment: Payment) -> dict[str, str]:
        """The headers that say how far a payment is, and how it ended where it has ended."""
        ...


class OpenGate:
    """Jobs are free. Payments of a time when they were not are still shown."""

    kind = PaymentKind.OFF
    sells = False

    def before(self, handler: Handler, guard: Callable[[Handler], Handler], what: str) -> Handler:
        """The guarded handler."""
        del what
        return guard(handler)

    def payment(self, request: web.Request) -> None:
        """Nobody is asked to pay."""

    def shown(self, payment: Payment) -> dict[str, object]:
        """How far the payment came."""
        return {"state": payment.state, "transaction": payment.transaction}

    def settled(self, payment: Payment) -> dict[str, str]:
        """No headers."""
        del payment
        return {}
