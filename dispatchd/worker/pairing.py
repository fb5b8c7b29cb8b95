"""Claims a user's pairing code for this worker, once the coordinator can be reached."""

import itertools
import logging
from collections.abc import Sequence

import aiohttp
from yarl import URL

from dispatchd.core.clock import Clock
from dispatchd.core.keys import KeyPair
from dispatchd.core.trust import claim_text

log = logging.getLogger(__name__)

_RETRY_SECONDS = 3.0
_HTTP = {"ws": "http", "wss": "https"}


async def claim_code(urls: Sequence[URL], code: str, key: KeyPair, clock: Clock) -> None:
    """Claims the code, signed by the worker's key, and says in the log what came of it.

    Any of the coordinators may be asked, and one that can be reached is.
    """
    body = {
        "pairing_code": code,
        "provider_pubkey": key.public_hex,
        "signature": key.sign(claim_text(code, key.public_hex)),
    }
    async with aiohttp.ClientSession() as session:
        for url in itertools.cycle(urls):
            scheme = _HTTP.get(url.scheme, url.scheme)
            address = url.with_scheme(scheme).join(URL("/v1/trust/claim"))
            try:
                async with session.post(address, json=body) as reply:
                    answer = await reply.json()
            except (aiohttp.ClientError, OSError, ValueError):
                await clock.sleep(_RETRY_SECONDS)
                continue
            break
    if reply.ok:
        log.info("paired: user %s now trusts this worker with PRIVATE jobs", answer["user_id"])
    else:
        log.error("the pairing code was refused: %s", answer.get("error", reply.status))
