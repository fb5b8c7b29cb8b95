"""`Wallet`: pays for jobs with one key, within caps."""

import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from dispatchd.core.errors import DispatchError, Invalid
from dispatchd.payment.wallet import NONCE_BYTES
from dispatchd.payment.wallet import Wallet as Signer
from dispatchd.payment.wallets import WALLETS, development_wallet
from dispatchd.sdk import Bill, Payment
from dispatchd.sdk.dollars import atomic_of, dollars
from dispatchd.sdk.errors import CannotPay, InvalidRequest, TooDear
from dispatchd.sdk.offers import payable_offer
from dispatchd.sdk.spending import MAX_PER_JOB, MAX_PER_SESSION, Spending

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_KEY_FILE_BYTES = 1024
_KEY = re.compile(r"\s*(0x)?[0-9a-fA-F]{64}\s*\Z")


class Wallet:
    """Pays what a quote said and no more, and never above its caps.

    A cap is an amount of dollars such as `$0.05`; None is no cap. A session is the life of this
    object. What was sent counts as spent until a coordinator says that it was not taken. Tokens
    count as dollars where they are well-known stablecoins, on testnets, or where their addresses
    are among `tokens`.
    """

    def __init__(
        self,
        signer: Signer,
        max_per_job: str | None = MAX_PER_JOB,
        max_per_session: str | None = MAX_PER_SESSION,
        *,
        tokens: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._signer = signer
        self._spending = Spending(_cap(max_per_job), _cap(max_per_session))
        self._tokens = frozenset(token.lower() for token in tokens)
        self._clock = clock
        self._chance = chance

    @classmethod
    def from_key(
        cls,
        key: str,
        max_per_job: str | None = MAX_PER_JOB,
        max_per_session: str | None = MAX_PER_SESSION,
        *,
        tokens: Iterable[str] = (),
    ) -> Self:
        """The wallet of a private key, 64 hex digits; raises `InvalidRequest`, never showing it."""
        try:
            signer = Signer.from_key(key.strip())
        except Invalid as error:
            raise InvalidRequest(str(error)) from None
        return cls(signer, max_per_job, max_per_session, tokens=tokens)

    @classmethod
    def from_file(
        cls,
        path: Path | str,
        max_per_job: str | None = MAX_PER_JOB,
        max_per_session: str | None = MAX_PER_SESSION,
        *,
        tokens: Iterable[str] = (),
    ) -> Self:
        """The same, from a file that its owner alone can read."""
        return cls.from_key(_read(Path(path)), max_per_job, max_per_session, tokens=tokens)

    @classmethod
    def development(
        cls,
        number: int,
        max_per_job: str | None = MAX_PER_JOB,
        max_per_session: str | None = MAX_PER_SESSION,
        *,
        tokens: Iterable[str] = (),
    ) -> Self:
        """One of the ten wallets, from 1, whose keys everybody knows: for simulated payments."""
        if not 1 <= number <= WALLETS:
            raise InvalidRequest(f"Development wallets are numbered from 1 to {WALLETS}")
        return cls(development_wallet(number - 1), max_per_job, max_per_session, tokens=tokens)

    @property
    def address(self) -> str:
        """Whose money it is."""
        return self._signer.address

    @property
    def spent(self) -> str:
        """What this session has spent, in dollars."""
        return dollars(self._spending.spent)

    def __repr__(self) -> str:
        """Says whose, never the key."""
        return f"<Wallet {self.address}, {self.spent} spent>"

    async def pay(self, bill: Bill) -> Payment:
        """A payment for a bill, counted as spent; raises `PaymentError` before it is signed."""
        demand = payable_offer(bill, self._tokens)
        offer = demand.offer
        _check_quoted(bill.price, offer.amount, demand.accepted)
        self._spending.reserve(offer.amount)
        try:
            name, value = self._signer.pay(
                demand, int(self._clock()), nonce=self._chance(NONCE_BYTES)
            )
        except DispatchError as error:
            self._spending.give_back(offer.amount)
            raise CannotPay(f"This cannot be signed: {error}", [demand.accepted]) from None
        return Payment(
            headers={name: value}, amount=offer.amount, network=offer.network, asset=offer.asset
        )

    def give_back(self, payment: Payment) -> None:
        """A payment was not taken and will not be."""
        self._spending.give_back(payment.amount)


def _cap(text: str | None) -> int | None:
    return None if text is None else atomic_of(text)


def _check_quoted(price: str, amount: int, offer: dict[str, object]) -> None:
    """Raises `TooDear` where more is asked for than was quoted."""
    if not price:
        return
    try:
        quoted = atomic_of(price)
    except InvalidRequest:
        sentence = f"The quote's price {price!r} is no amount of dollars; nothing was paid"
        raise TooDear(sentence, [offer]) from None
    if amount > quoted:
        sentence = f"Quoted {price}, but asked for {dollars(amount)}; nothing was paid"
        raise TooDear(sentence, [offer])


def _read(path: Path) -> str:
    """The text of a key file; raises `InvalidRequest` with what to do about it."""
    try:
        with path.open("rb") as file:
            shared = stat.S_IMODE(path.stat().st_mode) & _OTHERS
            text = file.read(_KEY_FILE_BYTES).decode("ascii", "replace")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InvalidRequest(f"Cannot read the key file {path}: {reason}") from None
    if shared and sys.platform != "win32":
        hint = f"Run: chmod 600 '{path}'"
        raise InvalidRequest(f"Others on this machine can read the key file {path}", hint=hint)
    if not _KEY.match(text):
        hint = "It holds one private key: 64 hex digits."
        raise InvalidRequest(f"{path} is no key file", hint=hint)
    return text
