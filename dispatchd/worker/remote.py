"""`RemoteCoordinator`: a coordinator on another machine, as a `WorkSource` over its WebSocket.

Speaks part 1 of the protocol, so it works with coordinators that other people wrote; where ours
answers with more (`challenge`, `resumed`, `job_cancel`), it makes use of it.
"""

import asyncio
import logging
from collections.abc import Callable

import aiohttp
from msgspec import UNSET

from dispatchd import __version__
from dispatchd.core.card import WorkerCard
from dispatchd.core.clock import Clock, iso
from dispatchd.core.ecma import ecma_json
from dispatchd.core.errors import LeaseLost
from dispatchd.core.job import Assignment, Completion, Fault, JobType, Lease
from dispatchd.core.keys import KeyPair
from dispatchd.core.proof import is_challenge, proof_text
from dispatchd.core.receipt import complete
from dispatchd.wire.decode import from_coordinator
from dispatchd.wire.messages import (
    KEY_TAKEN,
    CoordinatorMessage,
    ErrorFrame,
    Heartbeat,
    HeartbeatAck,
    JobAssign,
    JobCancel,
    JobComplete,
    JobProgress,
    JobReject,
    Prove,
    Register,
    RegisterAck,
    SlotsOffered,
    WorkerMessage,
    encode,
    raw,
)
from dispatchd.worker.dial import Dialler, reason_of

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
_ACK_SECONDS = 15.0
_TAKEN = "another process works under our key; give each worker a key file of its own (--key)"


class _Refused(Exception):
    """The coordinator has answered `register` with an error."""


class _Displaced(Exception):
    """Another connection has our place by now, since it has proven our key."""


class _Claim:
    def __init__(self, job_types: frozenset[JobType]) -> None:
        self.job_types = job_types
        self.assignment: asyncio.Future[Assignment] = asyncio.get_running_loop().create_future()


class RemoteCoordinator:
    """One worker's place at a far coordinator; the connection is made again when it breaks.

    Leases outlive a connection where the coordinator says so; those it does not confirm are lost.
    The card is asked for at each connection, since it tells more once the model is open.
    """

    def __init__(
        self, dialler: Dialler, card: Callable[[], WorkerCard], key: KeyPair, clock: Clock
    ) -> None:
        self._dialler = dialler
        self._card = card
        self._key = key
        self._clock = clock
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._registered = asyncio.Event()
        self._claims: list[_Claim] = []
        self._unclaimed: list[Assignment] = []
        self._leases: dict[str, Lease] = {}
        self._losses: dict[Lease, asyncio.Event] = {}
        self._stopping = False
        self._idle = asyncio.Event()

    async def run(self) -> None:
        """Stays connected, or tries to, for as long as this runs."""
        async with aiohttp.ClientSession() as session:
            while True:
                reason = "the connection was closed"
                try:
                    async with self._dialler.socket(session) as socket:
                        await self._serve(socket)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    reason = reason_of(error)
                except _Refused as error:
                    reason = str(error)
                except _Displaced:
                    reason = _TAKEN
                    self._dialler.displaced()
                    self._keep(set())
                finally:
                    self._registered.clear()
                await self._dialler.pause(reason)

    async def drain(self, grace_seconds: float) -> None:
        """Turns new jobs down and waits for those that run, so long at the most."""
        self._stopping = True
        self._idle_if_so()
        await self._clock.wait(self._idle, grace_seconds)

    async def claim(self, job_types: frozenset[JobType]) -> Assignment:
        """Waits for a job that the coordinator sends."""
        for assignment in self._unclaimed:
            if assignment.job_type in job_types:
                self._unclaimed.remove(assignment)
                return assignment
        claim = _Claim(job_types)
        self._claims.append(claim)
        try:
            return await claim.assignment
        finally:
            if claim in self._claims:
                self._claims.remove(claim)

    async def progress(self, lease: Lease, text: str) -> None:
        """Sends text on; while there is no connection it is dropped, the result has it all."""
        self._check(lease)
        if self._registered.is_set():
            await self._send(JobProgress(lease.job_id, text, lease.attempt or None))

    async def lost(self, lease: Lease) -> None:
        """Returns once the coordinator wants the job no more, or has given it to others."""
        if self._leases.get(lease.job_id) != lease:
            return
        loss = self._losses.setdefault(lease, asyncio.Event())
        try:
            await loss.wait()
        finally:
            self._losses.pop(lease, None)

    async def finish(self, lease: Lease, done: Completion) -> None:
        """Hands a result in as soon as there is a connection on which the lease stands."""
        await self._registered.wait()
        self._check(lease)
        del self._leases[lease.job_id]
        await self._send(
            JobComplete(
                job_id=lease.job_id,
                output=raw(done.output),
                output_hash=raw(ecma_json(done.output_hash)),
                receipt=raw(done.receipt),
                receipt_signature=raw(ecma_json(done.signature)),
                attempt=lease.attempt or None,
            )
        )
        self._idle_if_so()

    async def fail(self, lease: Lease, fault: Fault) -> None:
        """Hands in an error as the output, which every coordinator understands as an end."""
        extra = {"final": True} if fault.final else {}
        output = ecma_json({"error": fault.reason} | extra)
        await self.finish(lease, complete(self._key, lease.job_id, output, iso(self._clock.now())))

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Registers, then beats and listens until the connection ends."""
        self._socket = socket
        await self._send(self._introduction())
        ack = await self._acknowledgement(socket)
        await self._prove(ack)
        self._accept(ack)
        beating = asyncio.create_task(self._beat())
        try:
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.TEXT:
                    await self._handle(from_coordinator(frame.data))
        finally:
            beating.cancel()

    def _introduction(self) -> Register:
        card = self._card()
        return Register(
            provider_pubkey=card.provider_pubkey,
            provider_type=card.provider_type,
            capabilities=sorted(card.capabilities),
            max_concurrent_jobs=card.places,
            slots=[SlotsOffered(sorted(slots.job_types), slots.count) for slots in card.slots],
            models=list(card.models),
            version=__version__,
            active_jobs=list(self._leases),
            device=UNSET if card.device is None else raw(ecma_json(card.device)),
        )

    async def _acknowledgement(self, socket: aiohttp.ClientWebSocketResponse) -> RegisterAck:
        async with asyncio.timeout(_ACK_SECONDS):
            async for frame in socket:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    continue
                message = from_coordinator(frame.data)
                if isinstance(message, RegisterAck):
                    if message.status != "ok":
                        raise _Refused(f"it refused us: {message.error or 'no reason given'}")
                    return message
        raise _Refused("it closed the connection before we were registered")

    async def _prove(self, ack: RegisterAck) -> None:
        """Answers a challenge, which coordinators of others do not send."""
        if ack.challenge is not None and is_challenge(ack.challenge):
            text = proof_text(ack.worker_id or "", ack.challenge, self._dialler.host)
            await self._send(Prove(self._key.sign(text)))

    def _accept(self, ack: RegisterAck) -> None:
        self._keep(set(ack.resumed or ()))
        self._registered.set()
        log.info("connected; waiting for jobs (worker %s)", ack.worker_id)

    def _keep(self, kept: set[str]) -> None:
        """Of what is leased to us, these jobs stay so."""
        for job_id in self._leases.keys() - kept:
            self._lose(job_id)
        self._unclaimed = [a for a in self._unclaimed if a.lease.job_id in kept]

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(HEARTBEAT_SECONDS)
            metrics = raw(ecma_json({"active_jobs": len(self._leases)}))
            key = raw(ecma_json(self._key.public_hex))
            await self._send(Heartbeat(key, metrics))

    async def _handle(self, message: CoordinatorMessage | None) -> None:
        match message:
            case HeartbeatAck():
                self._dialler.settled()
            case JobAssign():
                self._dialler.settled()
                await self._assigned(message)
            case JobCancel(job_id=job_id, attempt=attempt):
                lease = self._leases.get(job_id)
                if lease is not None and attempt in (None, lease.attempt):
                    self._lose(job_id)
            case ErrorFrame(code=code) if code == KEY_TAKEN:
                raise _Displaced
            case ErrorFrame(code=code, message=text):
                log.warning("the coordinator says %s: %s", code, text)
            case _:
                pass

    async def _assigned(self, message: JobAssign) -> None:
        if (reason := self._why_not(message)) is not None:
            await self._send(JobReject(message.job_id, raw(ecma_json(reason)), message.attempt))
            return
        lease = Lease(message.job_id, message.attempt or 0)
        self._leases[message.job_id] = lease
        assignment = Assignment(
            lease=lease,
            job_type=message.job_type,
            payload=bytes(message.payload).decode(),
            policy=message.policy,
            privacy_class=message.privacy_class,
            user_id=message.user_id,
            payment_ref=message.payment_ref or None,
        )
        for claim in self._claims:
            if message.job_type in claim.job_types and not claim.assignment.done():
                self._claims.remove(claim)
                claim.assignment.set_result(assignment)
                return
        self._unclaimed.append(assignment)

    def _why_not(self, message: JobAssign) -> str | None:
        if message.job_type not in self._card().capabilities:
            return "unsupported_job_type"
        if self._stopping:
            return "shutting_down"
        places = self._card().places
        return "busy" if len(self._leases) >= places else None

    def _idle_if_so(self) -> None:
        if self._stopping and not self._leases:
            self._idle.set()

    def _lose(self, job_id: str) -> None:
        lease = self._leases.pop(job_id)
        if (loss := self._losses.get(lease)) is not None:
            loss.set()
        self._idle_if_so()

    def _check(self, lease: Lease) -> None:
        if self._leases.get(lease.job_id) != lease:
            raise LeaseLost(f"job {lease.job_id} is no longer ours")

    async def _send(self, message: WorkerMessage) -> None:
        """Sends a frame; a connection that breaks meanwhile is noticed by `run`."""
        if self._socket is None or self._socket.closed:
            return
        try:
            await self._socket.send_frame(encode(message), aiohttp.WSMsgType.TEXT)
        except (aiohttp.ClientError, ConnectionError):
            log.debug("the connection broke while sending")
