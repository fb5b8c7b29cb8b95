"""The floor: the smallest aiohttp server that can be driven like a node, and nothing else.

It parses the same requests, sends the same frames, checks the same hashes and signatures and
gives the same replies, with no store, no scheduler, no leases and no errors told.
"""

import asyncio
import base64
import hashlib
import signal
import uuid
from collections import deque
from datetime import UTC, datetime

import msgspec
import uvloop
from aiohttp import WSMsgType, web
from msgspec import UNSET, Raw, Struct, UnsetType
from nacl.signing import VerifyKey


class Commit(Struct, gc=False):
    """The body of a commit."""

    job_type: str
    payload: Raw
    user_id: str


class Register(Struct, tag_field="type", tag="register"):
    """A worker introduces itself."""

    provider_pubkey: str
    capabilities: list[str]
    max_concurrent_jobs: int = 1


class Heartbeat(Struct, tag_field="type", tag="heartbeat"):
    """A worker is alive."""


class JobComplete(Struct, tag_field="type", tag="job_complete"):
    """A worker hands in an output."""

    job_id: str
    output: Raw
    output_hash: str
    receipt: Raw
    receipt_signature: str


class JobAssign(Struct, tag_field="type", tag="job_assign"):
    """A job for a worker."""

    job_id: str
    job_type: str
    payload: Raw
    policy: str
    privacy_class: str
    user_id: str
    attempt: int = 1


class Receipt(Struct):
    """What the worker has signed."""

    job_id: str
    provider_pubkey: str
    output_hash: str


class Job(Struct, kw_only=True, gc=False):
    """A job in memory; `ended` is there from the first long poll on."""

    id: str
    commit: Commit
    created_at: str
    state: str = "pending"
    result: str = "null"
    receipt: str = "null"
    completed_at: str = "null"
    ended: asyncio.Event | UnsetType = UNSET


class Worker(Struct):
    """A connected worker."""

    socket: web.WebSocketResponse
    pubkey: str
    key: VerifyKey


_decode_commit = msgspec.json.Decoder(Commit).decode
_decode_frame = msgspec.json.Decoder(Register | Heartbeat | JobComplete).decode
_decode_receipt = msgspec.json.Decoder(Receipt).decode
_encode = msgspec.json.encode
_ACK = '{"type":"register_ack","status":"ok","worker_id":"%s"}'
_BEAT_ACK = '{"type":"heartbeat_ack","status":"ok"}'


class Floor:
    """Jobs, free places and waiting jobs, in three containers."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._free: deque[Worker] = deque()
        self._waiting: deque[Job] = deque()

    def app(self) -> web.Application:
        """The routes that the benchmark uses."""
        app = web.Application()
        app.router.add_post("/v1/jobs/commit/cheap", self._commit)
        app.router.add_get("/v1/jobs/{id}", self._get)
        app.router.add_get("/", self._serve)
        return app

    async def _commit(self, request: web.Request) -> web.Response:
        commit = _decode_commit(await request.read())
        job = Job(id=str(uuid.uuid4()), commit=commit, created_at=_now())
        self._jobs[job.id] = job
        if self._free:
            await _assign(self._free.popleft(), job)
        else:
            self._waiting.append(job)
        return _json(f'{{"job_id":"{job.id}"}}', 201)

    async def _get(self, request: web.Request) -> web.Response:
        job = self._jobs[request.match_info["id"]]
        if (wait := request.query.get("wait")) is not None and job.state != "completed":
            await _until_ended(job, float(wait))
        return _json(
            f'{{"id":"{job.id}","status":"{job.state}","result":{job.result},'
            f'"receipt":{job.receipt},"created_at":"{job.created_at}",'
            f'"completed_at":{job.completed_at}}}'
        )

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        worker: Worker | None = None
        async for message in socket:
            frame = _decode_frame(message.data)
            if isinstance(frame, JobComplete) and worker is not None:
                _complete(self._jobs[frame.job_id], worker, frame)
                await self._supply(worker)
            elif isinstance(frame, Register):
                worker = _worker(socket, frame)
                await socket.send_str(_ACK % uuid.uuid4())
                for _ in range(frame.max_concurrent_jobs if "TASK" in frame.capabilities else 0):
                    await self._supply(worker)
            else:
                await socket.send_str(_BEAT_ACK)
        return socket

    async def _supply(self, worker: Worker) -> None:
        if self._waiting:
            await _assign(worker, self._waiting.popleft())
        else:
            self._free.append(worker)


async def _assign(worker: Worker, job: Job) -> None:
    commit = job.commit
    job.state = "assigned"
    frame = JobAssign(job.id, commit.job_type, commit.payload, "CHEAP", "PUBLIC", commit.user_id)
    await worker.socket.send_frame(_encode(frame), WSMsgType.TEXT)


def _complete(job: Job, worker: Worker, done: JobComplete) -> None:
    """Raises where the receipt does not hold, which ends the benchmark."""
    output, text = bytes(done.output), bytes(done.receipt)
    receipt = _decode_receipt(text)
    found = "sha256:" + hashlib.sha256(output).hexdigest()
    claims = (receipt.job_id, receipt.provider_pubkey, receipt.output_hash, done.output_hash)
    if claims != (job.id, worker.pubkey, found, found):
        raise ValueError("the receipt does not hold")
    worker.key.verify(text, base64.b64decode(done.receipt_signature, validate=True))
    job.state = "completed"
    job.result = output.decode()
    job.receipt = f'{text.decode()[:-1]},"signature":"{done.receipt_signature}","verified":true}}'
    job.completed_at = f'"{_now()}"'
    if not isinstance(job.ended, UnsetType):
        job.ended.set()


async def _until_ended(job: Job, seconds: float) -> None:
    if isinstance(job.ended, UnsetType):
        job.ended = asyncio.Event()
    try:
        async with asyncio.timeout(seconds):
            await job.ended.wait()
    except TimeoutError:
        return


def _worker(socket: web.WebSocketResponse, frame: Register) -> Worker:
    key = VerifyKey(bytes.fromhex(frame.provider_pubkey))
    return Worker(socket, frame.provider_pubkey, key)


def _json(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="application/json", charset="utf-8")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def run() -> None:
    """Serves on a free port of loopback until SIGTERM; prints where, as a node does."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runner = web.AppRunner(Floor().app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"  address   http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop_runner:
        loop_runner.run(run())
