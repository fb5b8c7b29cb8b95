"""Which token is meant on which network."""

import pytest

from dispatchd.core.errors import Unusable
from dispatchd.payment.chains import CHAINS, caip2_of, chain_id, is_testnet, legacy_name
from dispatchd.payment.signature import checksummed
from dispatchd.payment.tokens import TOKENS, find_token

MONAD = "eip155:10143"
OTHER = "0x" + "ab" * 20
DEVNET = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"


def test_usdc_is_the_default() -> None:
    token = find_token(MONAD)
    assert (token.address, token.name, token.version, token.testnet) == (
        "0x534b2f3A21130d7a60830c2Df862319e593943A3",
        "USDC",
        "2",
        True,
    )
    assert find_token("eip155:8453").name == "USD Coin"
    assert not find_token("eip155:8453").testnet


@pytest.mark.parametrize("token", TOKENS, ids=str)
def test_the_table_holds_what_it_must(token: object) -> None:
    known = next(each for each in TOKENS if each == token)
    assert legacy_name(known.network)
    if chain_id(known.network) is not None:
        assert known.address == checksummed(known.address)
        assert known.name
        assert known.version
        assert known.id.address == known.address.lower()
    else:
        assert known.id.address == known.address
        assert known.offer(1, "x", fee_payer="y").extra == {"feePayer": "y"}


def test_an_operator_may_name_a_token() -> None:
    assert find_token(MONAD, find_token(MONAD).address.lower()) == find_token(MONAD)
    token = find_token("eip155:999", f"{OTHER}:My: Dollar:1")
    assert (token.address, token.name, token.version) == (OTHER, "My: Dollar", "1")
    assert not token.testnet
    assert find_token(MONAD, f"{OTHER}:X:1").testnet
    mint = find_token(DEVNET, "So11111111111111111111111111111111111111112")
    assert mint.offer(5, "bob").extra == {}


@pytest.mark.parametrize(
    ("network", "asset"),
    [
        ("eip155:999", None),
        (MONAD, OTHER),
        (MONAD, f"{OTHER}:USDC"),
        (MONAD, f"{OTHER}::2"),
        (MONAD, f"{OTHER}:USDC:"),
        (MONAD, "0xab:USDC:2"),
        (DEVNET, "0OIl"),
        (DEVNET, f"{OTHER}:USDC:2"),
        ("cosmos:hub", f"{OTHER}:USDC:2"),
    ],
)
def test_a_token_that_cannot_be_known(network: str, asset: str | None) -> None:
    with pytest.raises(Unusable, match="ADDRESS:NAME:VERSION"):
        find_token(network, asset)


def test_networks_have_one_name_each_way() -> None:
    for chain in CHAINS:
        assert caip2_of(chain.legacy) == caip2_of(chain.network) == chain.network
        assert legacy_name(chain.network) == chain.legacy
        assert is_testnet(chain.network) == chain.testnet
    assert caip2_of("nowhere") is None
    assert legacy_name("eip155:999") is None
    assert not is_testnet("eip155:999")
    assert chain_id("eip155:-1") is None
    assert chain_id("eip155:١") is None
