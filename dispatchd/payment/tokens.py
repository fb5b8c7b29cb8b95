"""The tokens that jobs are paid in, with the EIP-712 domains that their contracts check."""

import re

from msgspec import Struct

from dispatchd.core.errors import Unusable
from dispatchd.core.payment import SOLANA, Offer, TokenId
from dispatchd.payment.chains import chain_id, is_testnet
from dispatchd.payment.shapes import is_address

MAX_TIMEOUT_SECONDS = 1200
_MINT = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}")
_EVM_ASSET = "Give it with --asset ADDRESS:NAME:VERSION, the last two being its EIP-712 domain."


class Token(Struct, frozen=True):
    """A token with six decimals; `name` and `version` are the EIP-712 domain of EVM contracts."""

    network: str
    address: str
    name: str = ""
    version: str = ""

    @property
    def solana(self) -> bool:
        """Whether it lives on a cluster of Solana, and not on an EVM chain."""
        return self.network.startswith(f"{SOLANA}:")

    @property
    def id(self) -> TokenId:
        """The token as ledgers name it."""
        return TokenId(self.network, self.address if self.solana else self.address.lower())

    @property
    def testnet(self) -> bool:
        """Whether it is known to be worth nothing."""
        return is_testnet(self.network)

    def check_payee(self, address: str) -> None:
        """Raises `Unusable` where nobody on the token's network can have that address."""
        fits = _MINT.fullmatch(address) is not None if self.solana else is_address(address)
        if not fits:
            raise Unusable(f"--pay-to {address}: that is no address on {self.network}.")

    def offer(
        self,
        amount: int,
        pay_to: str,
        max_timeout_seconds: int = MAX_TIMEOUT_SECONDS,
        *,
        fee_payer: str | None = None,
    ) -> Offer:
        """What to ask for so much of it; on Solana the facilitator's account pays the fee."""
        domain = {"name": self.name, "version": self.version} if self.name else {}
        return Offer(
            network=self.network,
            asset=self.address,
            amount=amount,
            pay_to=pay_to,
            max_timeout_seconds=max_timeout_seconds,
            extra=domain | ({"feePayer": fee_payer} if fee_payer else {}),
        )


TOKENS = (
    Token("eip155:10143", "0x534b2f3A21130d7a60830c2Df862319e593943A3", "USDC", "2"),
    Token("eip155:143", "0x754704Bc059F8C67012fEd69BC8A327a5aafb603", "USDC", "2"),
    Token("eip155:84532", "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "USDC", "2"),
    Token("eip155:8453", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "USD Coin", "2"),
    Token(
        "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
    ),
    Token(
        "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
    ),
)
"""USDC; from published tables, the first of a network being its default."""


def find_token(network: str, asset: str | None = None) -> Token:
    """The token that an operator means on a network, its USDC unless they name another.

    Raises `Unusable` with what to write instead.
    """
    known = [token for token in TOKENS if token.network == network]
    if asset is None:
        if not known:
            raise Unusable(f"No token is known on {network}. {_EVM_ASSET}")
        return known[0]
    address, _, domain = asset.partition(":")
    if not domain:
        same = [token for token in known if token.address.lower() == address.lower()]
        return same[0] if same else _mint(network, asset)
    name, _, version = domain.rpartition(":")
    if chain_id(network) is None or not (is_address(address) and name and version):
        raise Unusable(f"{asset!r} is no token of {network}. {_EVM_ASSET}")
    return Token(network, address, name, version)


def _mint(network: str, asset: str) -> Token:
    """A token that is its address alone, as on Solana."""
    if network.startswith(f"{SOLANA}:") and _MINT.fullmatch(asset):
        return Token(network, asset)
    raise Unusable(f"The token {asset!r} is not known on {network}. {_EVM_ASSET}")
