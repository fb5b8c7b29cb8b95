"""A synthetic worker: part 1 of the protocol over a bare socket, answering at once.

Its frames are masked with the key 0, which costs the worker nothing and the server what any does.
"""

import asyncio
import base64
import hashlib
import random
import struct
import time
from collections.abc import Iterator
from typing import Self, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType
from nacl.bindings import crypto_sign
from nacl.signing import SigningKey

_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZGlzcGF0Y2hkLWJlbmNoIQ==\r\n\r\n"
)
_OUTPUT = (
    b'{"summary":"The ledger is shared, and everyone agrees on what it says.","word_count":12}'
)
_OUTPUT_HASH = "sha256:" + hashlib.sha256(_OUTPUT).hexdigest()
_COMPLETED_AT = "2026-02-09T12:00:02.000Z"
_HEARTBEAT_SECONDS = 10.0
_COMPLAINTS = frozenset({"register_ack", "error", "job_cancel"})
_SIGNATURE_BYTES = 64
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_FINAL = 0x80
_MASKED = 0x80
_LENGTH_16, _LENGTH_64 = 126, 127
_MASK = bytes(4)


class _Frame(Struct):
    type: str
    job_id: str = ""
    status: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Frame).decode


class WorkerSocket(asyncio.Protocol):
    """One worker. `arrivals`, where given, gets the moment at which each job was assigned."""

    def __init__(
        self, capability: str, places: int = 1, arrivals: dict[str, float] | None = None
    ) -> None:
        key = SigningKey.generate()
        self._secret = bytes(key) + bytes(key.verify_key)
        self._pubkey = bytes(key.verify_key).hex()
        self._capability = capability
        self._places = places
        self._arrivals = arrivals
        self._buffer = b""
        self._upgraded = False
        self._transport: asyncio.WriteTransport | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.registered = self._loop.create_future()
        self.lost = self._loop.create_future()
        self._receipt_end = (
            f'","provider_pubkey":"{self._pubkey}","output_hash":"{_OUTPUT_HASH}",'
            f'"completed_at":"{_COMPLETED_AT}","payment_ref":null}}'
        ).encode()

    @classmethod
    async def open(
        cls,
        port: int,
        capability: str,
        places: int = 1,
        arrivals: dict[str, float] | None = None,
    ) -> Self:
        """Connects over loopback; it then registers by itself."""
        _, worker = await asyncio.get_running_loop().create_connection(
            lambda: cls(capability, places, arrivals), "127.0.0.1", port
        )
        return worker

    def close(self) -> None:
        """Leaves."""
        if self._transport is not None:
            self._send(_CLOSE, struct.pack("!H", 1000))
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass
        self._transport.write(_UPGRADE)

    def data_received(self, data: bytes) -> None:
        """Some bytes have come; what we cannot live with ends the run, with its reason."""
        self._buffer += data
        try:
            self._read()
        except (ConnectionError, msgspec.DecodeError) as error:
            self._fail(error)

    def _read(self) -> None:
        if not self._upgraded and not self._upgrade():
            return
        for opcode, payload in self._frames():
            if opcode == _TEXT:
                self._receive(payload)
            elif opcode == _PING:
                self._send(_PONG, payload)
            elif opcode == _CLOSE and self._transport is not None:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The coordinator hung up, or we did."""
        self._transport = None
        if self._beat is not None:
            self._beat.cancel()
        self._fail(exc or ConnectionResetError("the coordinator closed a worker's connection"))

    def _fail(self, error: Exception) -> None:
        for future in (self.registered, self.lost):
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever waits is told; nobody has to

    def _upgrade(self) -> bool:
        head, end, self._buffer = self._buffer.partition(b"\r\n\r\n")
        if not end:
            self._buffer = head
            return False
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(f"no upgrade: {head.decode()}")
        self._upgraded = True
        register: dict[str, object] = {
            "type": "register",
            "provider_pubkey": self._pubkey,
            "provider_type": "DESKTOP",
            "capabilities": [self._capability],
        }
        if self._places > 1:
            register["max_concurrent_jobs"] = self._places
        self._send(_TEXT, msgspec.json.encode(register))
        return True

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """The whole frames that have come; a coordinator neither masks nor splits its own."""
        data, at = self._buffer, 0
        while len(data) - at >= 2:
            start, length = at + 2, data[at + 1]
            if length == _LENGTH_16:
                start, length = at + 4, int.from_bytes(data[at + 2 : at + 4])
            elif length == _LENGTH_64:
                start, length = at + 10, int.from_bytes(data[at + 2 : at + 10])
            if len(data) < start + length:
                break
            yield data[at] & 0x0F, data[start : start + length]
            at = start + length
        self._buffer = data[at:]

    def _receive(self, text: bytes) -> None:
        frame = _decode(text)
        if frame.type == "job_assign":
            if self._arrivals is not None:
                self._arrivals[frame.job_id] = time.perf_counter()
            self._complete(frame.job_id.encode())
        elif frame.type == "register_ack" and frame.status == "ok":
            self.registered.set_result(None)
            first_beat = random.uniform(0, _HEARTBEAT_SECONDS)  # workers do not beat in step
            self._beat = self._loop.call_later(first_beat, self._keep_alive)
        elif frame.type in _COMPLAINTS:
            raise ConnectionError(f"a worker was told {text.decode()}")

    def _complete(self, job_id: bytes) -> None:
        receipt = b'{"job_id":"' + job_id + self._receipt_end
        signature = base64.b64encode(crypto_sign(receipt, self._secret)[:_SIGNATURE_BYTES])
        self._send(
            _TEXT,
            b'{"type":"job_complete","job_id":"%s","output":%s,"output_hash":"%s","receipt":%s,'
            b'"receipt_signature":"%s"}'
            % (job_id, _OUTPUT, _OUTPUT_HASH.encode(), receipt, signature),
        )

    def _keep_alive(self) -> None:
        if self._transport is not None:
            self._send(
                _TEXT, b'{"type":"heartbeat","provider_pubkey":"%s"}' % self._pubkey.encode()
            )
            self._beat = self._loop.call_later(_HEARTBEAT_SECONDS, self._keep_alive)

    def _send(self, opcode: int, payload: bytes) -> None:
        length = len(payload)
        if length < _LENGTH_16:
            head = bytes((_FINAL | opcode, _MASKED | length))
        else:
            head = struct.pack("!BBH", _FINAL | opcode, _MASKED | _LENGTH_16, length)
        if self._transport is not None:
            self._transport.write(head + _MASK + payload)
