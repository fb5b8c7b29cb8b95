"""Wallets: the ten for development, keys that are read, keys that are never shown."""

import pytest
from coincurve import PrivateKey
from eth_account import Account
from msgspec.structs import replace

from dispatchd.core.errors import Invalid, PaymentRefused
from dispatchd.payment.chains import chain_id
from dispatchd.payment.tokens import TOKENS, find_token
from dispatchd.payment.wallet import Wallet
from dispatchd.payment.wallets import SEED_PHRASE, development_wallets
from tests.payment.paying import NONCE, NOW, OFFER, PAYER, unpacked

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"


@pytest.fixture(scope="module", autouse=True)
def _mnemonics() -> None:
    Account.enable_unaudited_hdwallet_features()


def test_the_development_wallets_are_those_of_the_seed_phrase() -> None:
    wallets = development_wallets()
    assert len(wallets) == 10
    for index, wallet in enumerate(wallets):
        path = f"m/44'/60'/0'/0/{index}"
        account = Account.from_mnemonic(SEED_PHRASE, account_path=path)
        assert wallet.address == account.address
        assert wallet._key.secret == bytes(account.key)


@pytest.mark.parametrize("text", [KEY, f"0x{KEY}", KEY.upper()])
def test_a_key_is_read(text: str) -> None:
    assert Wallet.from_key(text).address == PAYER.address


@pytest.mark.parametrize(
    "text", ["", "0x", KEY[1:], KEY + "0", "0" * 64, "f" * 64, "g" * 64, " " * 64, f"{KEY[:62]} a"]
)
def test_what_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        Wallet.from_key(text)
    assert not text or text not in str(caught.value)


def test_a_wallet_shows_its_address_and_not_its_key() -> None:
    wallet = Wallet(PrivateKey(bytes.fromhex(KEY)))
    assert f"{wallet} {wallet!r}" == f"<Wallet {PAYER.address}> <Wallet {PAYER.address}>"


def test_a_nonce_makes_the_payment() -> None:
    one = PAYER.sign(OFFER, 2, NOW, nonce=NONCE)
    assert one == PAYER.sign(OFFER, 2, NOW, nonce=NONCE)
    assert one != PAYER.sign(OFFER, 2, NOW, nonce=bytes(32))
    assert "resource" not in unpacked(one)
    with pytest.raises(Invalid):
        PAYER.sign(OFFER, 2, NOW, nonce=b"short")


def test_an_offer_that_cannot_be_signed() -> None:
    with pytest.raises(Invalid, match="solana"):
        PAYER.sign(find_token(TOKENS[-1].network).offer(1, "x"), 2, NOW, nonce=NONCE)
    with pytest.raises(Invalid, match="256"):
        PAYER.sign(replace(OFFER, amount=2**256), 2, NOW, nonce=NONCE)
    with pytest.raises(PaymentRefused, match="requirements"):
        PAYER.sign(replace(OFFER, extra={}), 2, NOW, nonce=NONCE)


@pytest.mark.parametrize("token", [t for t in TOKENS if chain_id(t.network)], ids=str)
@pytest.mark.parametrize("version", [1, 2])
def test_version_1_uses_the_older_name(token: object, version: int) -> None:
    known = next(each for each in TOKENS if each == token)
    header = unpacked(PAYER.sign(known.offer(1, PAYER.address), version, NOW, nonce=NONCE))
    assert header["x402Version"] == version
    if version == 1:
        assert ":" not in header["network"]
    else:
        assert header["accepted"]["network"] == known.network
