"""What is said about money: tokens, offers, authorizations, and a facilitator's answers."""

from enum import StrEnum

from msgspec import Struct

EVM = "eip155"
"""The namespace of EVM chains in CAIP-2."""
SOLANA = "solana"
"""The namespace of Solana's clusters in CAIP-2."""


PAYMENT_FAILED = "payment_failed"
"""The error of a job whose money did not move."""


class Reason(StrEnum):
    """The codes with which a payment is refused, as published x402 clients know them."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    NONCE_USED = "invalid_exact_evm_nonce_already_used"
    SIGNATURE = "invalid_exact_evm_payload_signature"
    RECIPIENT = "invalid_exact_evm_payload_recipient_mismatch"
    VALID_AFTER = "invalid_exact_evm_payload_authorization_valid_after"
    VALID_BEFORE = "invalid_exact_evm_payload_authorization_valid_before"
    VALUE = "invalid_exact_evm_payload_authorization_value_mismatch"
    NETWORK = "invalid_network"
    PAYLOAD = "invalid_payload"
    REQUIREMENTS = "invalid_payment_requirements"
    SCHEME = "invalid_scheme"
    VERSION = "invalid_x402_version"
    TRANSACTION_STATE = "invalid_transaction_state"
    VERIFY_ERROR = "unexpected_verify_error"
    SETTLE_ERROR = "unexpected_settle_error"
    PENDING = "settlement_pending"
    DUPLICATE = "duplicate_settlement"
    ALREADY_USED = "payment_already_used"


class TokenId(Struct, frozen=True):
    """A token on a network; an EVM contract's address is in lower case."""

    network: str
    address: str


class AuthorizationKey(Struct, frozen=True):
    """What a payment can be used once by; addresses and the nonce of EVM chains in lower case.

    A Solana payment has no payer that can be read, and its `nonce` is the hash of what is signed.
    """

    network: str
    token: str
    payer: str
    nonce: str

    @property
    def token_id(self) -> TokenId:
        """The token that moves."""
        return TokenId(self.network, self.token)

    @property
    def reference(self) -> str:
        """The payment as a receipt names it, known before any money has moved."""
        if self.network.startswith(f"{EVM}:"):
            return f"{self.network}/erc20:{self.token}/auth/{self.payer}/{self.nonce}"
        return f"{self.network}/token:{self.token}/transaction/{self.nonce}"


class Offer(Struct, frozen=True, kw_only=True):
    """What is asked for: an amount of a token in atomic units, to whom, and for how long.

    `network` is a CAIP-2 identifier. `extra` has the `name` and `version` of an EVM token's
    EIP-712 domain, or Solana's `feePayer`.
    """

    network: str
    asset: str
    amount: int
    pay_to: str
    max_timeout_seconds: int
    extra: dict[str, str]
    scheme: str = "exact"


class Verdict(Struct, frozen=True, kw_only=True):
    """Whether a facilitator takes a payment; `reason` is a code, `detail` a sentence."""

    valid: bool
    payer: str | None = None
    reason: str | None = None
    detail: str | None = None


class Settlement(Struct, frozen=True, kw_only=True):
    """How the moving of money ended: the transaction, or the reason why there is none."""

    success: bool
    network: str
    payer: str | None = None
    transaction: str | None = None
    reason: str | None = None
    detail: str | None = None


class PaymentState(StrEnum):
    """Where a payment is in its life."""

    VERIFYING = "verifying"
    """Stored, so that nobody can use it twice; the facilitator is being asked."""
    AUTHORIZED = "authorized"
    """Good, and reserved for its job."""
    CAPTURING = "capturing"
    """The money is being moved; whether it has moved is not known yet."""
    CAPTURED = "captured"
    """The money has moved."""
    RELEASED = "released"
    """The job has failed, so no money moves; the signature is destroyed."""
    FAILED = "failed"
    """The facilitator refused to move the money after all."""
    REFUND_DUE = "refund_due"
    """The money was moved at commit, and the job has failed."""


class Payment(Struct, frozen=True, kw_only=True):
    """What pays for one job. `text` is the payment's JSON for as long as it may be needed.

    `digest` is of what was signed and the signature, `fingerprint` of the order that it pays for.
    `tries` counts the attempts to move the money whose outcome may be unknown.
    """

    key: AuthorizationKey
    state: PaymentState
    job_id: str
    offer: Offer
    digest: str
    fingerprint: str
    created_at: int
    text: str | None = None
    transaction: str | None = None
    reason: str | None = None
    tries: int = 0
    next_try: int | None = None

    @property
    def settlement(self) -> Settlement | None:
        """How the moving of the money ended, where it has ended."""
        if self.state not in {PaymentState.CAPTURED, PaymentState.REFUND_DUE, PaymentState.FAILED}:
            return None
        return Settlement(
            success=self.state is not PaymentState.FAILED,
            network=self.key.network,
            payer=self.key.payer or None,
            transaction=self.transaction,
            reason=self.reason,
        )
