"""Tokens that count as dollars: those whose amounts a cap in dollars can be held against."""

from dispatchd.payment.tokens import TOKENS, Token

_MORE = (
    Token("eip155:43114", "0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E", "USD Coin", "2"),
    Token("eip155:137", "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359", "USD Coin", "2"),
    Token("eip155:1328", "0x4fCF1784B31630811181f670Aea7A7bEF803eaED", "USDC", "2"),
    Token("eip155:1329", "0xe15fC38F6D8c56aF07bbCBe3BAf5708A2Bf42392", "USDC", "2"),
)
"""USDC where our own nodes sell nothing, from the table of the published Python client."""

_KNOWN = {token.id: token for token in (*TOKENS, *_MORE)}


def known_coin(network: str, address: str) -> Token | None:
    """The stablecoin at an address, with six decimals and the domain that its contract checks."""
    return _KNOWN.get(Token(network, address).id)
