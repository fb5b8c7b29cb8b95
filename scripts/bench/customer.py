"""A client of the network: commits a job, follows it to its end, then the next."""

import asyncio
import time

import msgspec
from msgspec import Struct

from scripts.bench.http_connection import HttpConnection
from scripts.bench.load import Mode
from scripts.bench.meter import Meter

_BODY = (
    b'{"job_type":"TASK","user_id":"bench","payload":{"job_type":"TASK","task_type":"summarize",'
    b'"input":"A blockchain is a ledger that many machines keep together. Nobody owns it."}}'
)
_COMMIT = (
    b"POST /v1/jobs/commit/cheap HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)
_READ_HEAD = " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_QUERY = {Mode.POLL: "", Mode.WAIT: "?wait=30"}
_FIRST_PAUSE_SECONDS = 0.001
_PAUSE_SECONDS_MAX = 0.064


class _Accepted(Struct):
    job_id: str


class _State(Struct):
    status: str


_accepted = msgspec.json.Decoder(_Accepted).decode
_state = msgspec.json.Decoder(_State).decode


class Customer:
    """One client on one connection.

    It reads a job at once, then after 1, 2, 4 ms and so on up to 64 ms, until it has ended; a
    long poll is the same loop, in which the first read is the last.
    """

    def __init__(
        self, connection: HttpConnection, mode: Mode, meter: Meter, reads_per_job: float
    ) -> None:
        self._connection = connection
        self._query = _QUERY[mode]
        self._meter = meter
        self._reads_per_job = reads_per_job

    async def do_jobs(self, stop: asyncio.Event, pause_seconds: float = 0) -> None:
        """One job after the other."""
        while not stop.is_set():
            await self.follow(*await self.commit())
            if pause_seconds:
                await asyncio.sleep(pause_seconds)

    async def commit(self) -> tuple[str, float, float]:
        """Commits a job: its id, when that was sent, and when it was accepted."""
        sent = time.perf_counter()
        status, body = await self._connection.exchange(_COMMIT)
        if status != 201:
            raise RuntimeError(f"a commit got {status} {body.decode()}")
        return _accepted(body).job_id, sent, time.perf_counter()

    async def follow(self, job_id: str, sent: float, accepted: float) -> None:
        """Reads a job until it has completed."""
        pause = _FIRST_PAUSE_SECONDS
        while not await self._read(job_id):
            await asyncio.sleep(pause)
            pause = min(pause * 2, _PAUSE_SECONDS_MAX)
        self._meter.add(job_id, sent, accepted, time.perf_counter())
        while self._meter.reads < self._reads_per_job * self._meter.jobs:
            await self._read(job_id)

    async def _read(self, job_id: str) -> bool:
        self._meter.reads += 1
        request = f"GET /v1/jobs/{job_id}{self._query}{_READ_HEAD}".encode()
        status, body = await self._connection.exchange(request)
        state = _state(body).status if status == 200 else "unknown"
        if state in {"unknown", "failed"}:
            raise RuntimeError(f"job {job_id} is {state}: {status} {body.decode()}")
        return state == "completed"
