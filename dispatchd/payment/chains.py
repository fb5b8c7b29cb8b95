"""The networks that payments are known on, by CAIP-2 identifier and by x402's older names."""

import re
from types import MappingProxyType

from msgspec import Struct

from dispatchd.core.payment import EVM

_CAIP2 = re.compile(r"[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}")


class Chain(Struct, frozen=True):
    """A network, and what version 1 of x402 calls it."""

    network: str
    legacy: str
    testnet: bool = False


CHAINS = (
    Chain("eip155:10143", "monad-testnet", testnet=True),
    Chain("eip155:143", "monad"),
    Chain("eip155:84532", "base-sepolia", testnet=True),
    Chain("eip155:8453", "base"),
    Chain("eip155:43113", "avalanche-fuji", testnet=True),
    Chain("eip155:43114", "avalanche"),
    Chain("eip155:80002", "polygon-amoy", testnet=True),
    Chain("eip155:137", "polygon"),
    Chain("eip155:1328", "sei-testnet", testnet=True),
    Chain("eip155:1329", "sei"),
    Chain("eip155:11124", "abstract-testnet", testnet=True),
    Chain("eip155:2741", "abstract"),
    Chain("eip155:3338", "peaq"),
    Chain("eip155:4689", "iotex"),
    Chain("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", "solana-devnet", testnet=True),
    Chain("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "solana"),
)

_BY_NETWORK = MappingProxyType({chain.network: chain for chain in CHAINS})
_BY_LEGACY = MappingProxyType({chain.legacy: chain for chain in CHAINS})


def caip2_of(name: str) -> str | None:
    """The CAIP-2 identifier that a name or identifier means; None where it is neither."""
    if chain := _BY_LEGACY.get(name):
        return chain.network
    return name if is_caip2(name) else None


def is_caip2(text: str) -> bool:
    """Whether a text has the shape of a CAIP-2 identifier."""
    return _CAIP2.fullmatch(text) is not None


def legacy_name(network: str) -> str | None:
    """What version 1 of x402 calls a network, if it has a name for it."""
    chain = _BY_NETWORK.get(network)
    return chain.legacy if chain else None


def is_testnet(network: str) -> bool:
    """Whether a network is known to be one where money is worth nothing."""
    chain = _BY_NETWORK.get(network)
    return chain is not None and chain.testnet


def chain_id(network: str) -> int | None:
    """The number of an EVM chain; None for any other network."""
    namespace, _, reference = network.partition(":")
    plain = reference.isascii() and reference.isdigit()
    return int(reference) if namespace == EVM and plain else None
