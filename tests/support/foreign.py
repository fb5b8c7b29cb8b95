"""A worker as somebody else would write it: part 1 of the protocol, and nothing of dispatchd."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from nacl.signing import SigningKey

RECEIPT_FIELDS = ("job_id", "provider_pubkey", "output_hash", "completed_at", "payment_ref")
PATIENCE_SECONDS = 10.0


class ForeignWorker:
    """A socket, a key, and the frames of part 1."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, key: SigningKey, host: str = ""
    ) -> None:
        self.socket = socket
        self.key = key
        self.host = host
        self.pubkey = bytes(key.verify_key).hex()

    async def send(self, **frame: Any) -> None:
        await self.socket.send_str(json.dumps(frame))

    async def receive(self) -> dict[str, Any]:
        """The next frame; fails where the socket is closed instead."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return dict(json.loads(message.data))

    async def expect(self, kind: str) -> dict[str, Any]:
        """The next frame, which must be of that type."""
        frame = await self.receive()
        assert frame["type"] == kind, frame
        return frame

    async def closed(self) -> int:
        """Waits until the coordinator closes the connection; the close code."""
        ends = {
            aiohttp.WSMsgType.CLOSE,
            aiohttp.WSMsgType.CLOSED,
            aiohttp.WSMsgType.CLOSING,
            aiohttp.WSMsgType.ERROR,
        }
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with suppress(ConnectionError):  # a ping that came just before cannot be answered
                    if (message := await self.socket.receive()).type in ends:
                        return self.socket.close_code or int(message.data or 0)

    async def register(self, *capabilities: str, **fields: Any) -> dict[str, Any]:
        """Registers and returns the acknowledgement."""
        frame = {
            "type": "register",
            "provider_pubkey": self.pubkey,
            "provider_type": "DESKTOP",
            "capabilities": list(capabilities or ("TASK", "LLM_INFER")),
        }
        await self.send(**(frame | fields))
        return await self.expect("register_ack")

    async def prove(self, ack: dict[str, Any], host: str | None = None) -> None:
        """Answers the challenge of an acknowledgement, as workers of part 2 do."""
        text = f"dispatchd worker proof v1\n{ack['worker_id']}\n{ack['challenge']}\n"
        signed = self.key.sign((text + (self.host if host is None else host)).encode())
        await self.send(type="prove", signature=base64.b64encode(signed.signature).decode())

    async def pass_canary(self) -> str:
        """Answers the job with which the coordinator finds out whether the key is ours; its id."""
        frame = await self.expect("job_assign")
        words = len(frame["payload"]["input"].split())
        await self.complete(frame["job_id"], json.dumps({"summary": "x", "word_count": words}))
        return str(frame["job_id"])

    def receipt(self, job_id: str, output: str, /, **changes: Any) -> dict[str, Any]:
        """A receipt over an output's text, with the bare hex hash that many workers send."""
        values: dict[str, Any] = {
            "job_id": job_id,
            "provider_pubkey": self.pubkey,
            "output_hash": hashlib.sha256(output.encode()).hexdigest(),
            "completed_at": "2026-02-09T12:00:02.000Z",
            "payment_ref": None,
        }
        return values | changes

    def sign(self, receipt: dict[str, Any]) -> str:
        text = json.dumps(receipt, separators=(",", ":"), ensure_ascii=False)
        return base64.b64encode(self.key.sign(text.encode()).signature).decode()

    def completion(self, job_id: str, output: str, /, **changes: Any) -> str:
        """The text of a `job_complete` frame with the output standing in it exactly as given."""
        receipt = self.receipt(job_id, output, **changes)
        return (
            f'{{"type":"job_complete","job_id":{json.dumps(job_id)},"output":{output},'
            f'"output_hash":{json.dumps(receipt["output_hash"])},'
            f'"receipt":{json.dumps(receipt)},"receipt_signature":{json.dumps(self.sign(receipt))}}}'
        )

    async def complete(self, job_id: str, output: str = '{"summary":"x","word_count":1}') -> None:
        await self.socket.send_str(self.completion(job_id, output))


@asynccontextmanager
async def foreign_worker(
    http: aiohttp.ClientSession,
    url: str,
    key: SigningKey | None = None,
    *,
    host: str | None = None,
    autoping: bool = True,
) -> AsyncIterator[ForeignWorker]:
    """Connects, without registering; `host` is what it writes into `Host`."""
    host = host or urlsplit(url).netloc
    async with http.ws_connect(
        url, max_msg_size=0, headers={"Host": host}, autoping=autoping
    ) as socket:
        yield ForeignWorker(socket, key or SigningKey.generate(), host)
