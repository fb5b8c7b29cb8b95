"""The ten development wallets, from a seed phrase that everybody knows."""

import hashlib
import hmac
from functools import cache

from coincurve import PrivateKey

from dispatchd.payment import Ledger
from dispatchd.payment.tokens import Token
from dispatchd.payment.wallet import Wallet

SEED_PHRASE = "test test test test test test test test test test test junk"
"""Public on purpose, and the one that other development chains use: never send money there."""
WALLETS = 10
FUNDED_ATOMIC = 1_000_000_000
"""What each wallet starts with: a thousand dollars of play money."""

_BIP39_ROUNDS = 2048
_HARDENED = 0x8000_0000
_PATH = (44 | _HARDENED, 60 | _HARDENED, 0 | _HARDENED, 0)


@cache
def development_wallet(index: int) -> Wallet:
    """The wallet of that number, at m/44'/60'/0'/0/index."""
    secret, chain_code = _account()
    child, _ = _child(secret, chain_code, index)
    return Wallet(child)


def development_wallets() -> list[Wallet]:
    """All ten."""
    return [development_wallet(index) for index in range(WALLETS)]


async def fund_development_wallets(ledger: Ledger, token: Token) -> None:
    """Gives money to those wallets that never had any; a drained one stays drained."""
    known = {address for address, _ in await ledger.accounts(token.id, limit=2**31)}
    for wallet in development_wallets():
        if wallet.address.lower() not in known:
            await ledger.fund(token.id, wallet.address, FUNDED_ATOMIC)


@cache
def _account() -> tuple[PrivateKey, bytes]:
    """The key and chain code at the end of the path, by BIP-39 and BIP-32."""
    seed = hashlib.pbkdf2_hmac("sha512", SEED_PHRASE.encode(), b"mnemonic", _BIP39_ROUNDS)
    master = hmac.digest(b"Bitcoin seed", seed, "sha512")
    key, chain_code = PrivateKey(master[:32]), master[32:]
    for index in _PATH:
        key, chain_code = _child(key, chain_code, index)
    return key, chain_code


def _child(key: PrivateKey, chain_code: bytes, index: int) -> tuple[PrivateKey, bytes]:
    """One step of BIP-32."""
    parent = b"\0" + key.secret if index & _HARDENED else key.public_key.format()
    mixed = hmac.digest(chain_code, parent + index.to_bytes(4), "sha512")
    return key.add(mixed[:32]), mixed[32:]
