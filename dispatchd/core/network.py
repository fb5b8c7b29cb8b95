"""The networks a node can serve, by name and by CAIP-2 identifier."""

import re

from msgspec import Struct

from dispatchd.core.errors import Unusable

_CAIP2 = re.compile(r"[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}")
_OTHER_PORT = 4010


class Network(Struct, frozen=True):
    """A chain that jobs are quoted on; `caip2` is what replies call it."""

    name: str
    caip2: str
    port: int


MONAD = Network("monad", "eip155:10143", 4010)
SOLANA = Network("solana", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", 4020)
KNOWN = (MONAD, SOLANA)


def find_network(text: str) -> Network:
    """The network of that name or CAIP-2 id (https://chainagnostic.org/CAIPs/caip-2).

    Raises `Unusable` where the text is neither.
    """
    for network in KNOWN:
        if text in (network.name, network.caip2):
            return network
    if _CAIP2.fullmatch(text):
        return Network(text.replace(":", "-"), text, _OTHER_PORT)
    raise Unusable(
        f"Unknown network {text!r}: use monad, solana or a CAIP-2 id such as eip155:10143."
    )
