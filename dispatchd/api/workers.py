"""The WebSocket edge: workers that connect over the network, ours and other people's.

One object serves one connection: it registers the worker, keeps its places supplied, and turns
its frames into verbs. What goes wrong on one connection stays on it.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence

from aiohttp import WSMsgType, web

from dispatchd.api.cards import card_of
from dispatchd.api.deliveries import Deliveries
from dispatchd.api.results import Results
from dispatchd.coordinator.admission import Admission
from dispatchd.coordinator.seats import Seat
from dispatchd.coordinator.work import Work
from dispatchd.core.clock import Clock
from dispatchd.core.errors import DispatchError, Invalid, LeaseLost, StoreUnavailable
from dispatchd.core.joblog import wordless
from dispatchd.core.limits import Limits
from dispatchd.wire.decode import BadFrame, from_worker
from dispatchd.wire.messages import (
    KEY_TAKEN,
    CoordinatorMessage,
    ErrorFrame,
    Heartbeat,
    HeartbeatAck,
    JobCancel,
    JobComplete,
    JobProgress,
    JobReject,
    Prove,
    ReceiptSubmit,
    Register,
    RegisterAck,
    WorkerMessage,
    encode,
)

log = logging.getLogger(__name__)

_SEND_SECONDS = 10.0
_CLOSE_SECONDS = 3.0
_HOST_CHARS_MAX = 300


class WorkerConnection:
    """One worker's socket, from its first frame to its end."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        host: str,
        admission: Admission,
        work: Work,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._host = host
        self._admission = admission
        self._work = work
        self._clock = clock
        self._limits = limits
        self._seat: Seat | None = None
        self._registered = asyncio.Event()
        self._supplied = asyncio.Event()
        self._deliveries = Deliveries(work, clock, limits, self.send)
        self._results = Results(work, clock, limits, self.send)
        self._tasks: set[asyncio.Task[None]] = set()
        self._handing_in: set[asyncio.Task[None]] = set()
        self._second = 0
        self._frames = 0

    async def run(self) -> None:
        """Serves the worker until either side closes the connection."""
        self._spawn(self._close_unless_registered())
        try:
            async for frame in self._socket:
                if self._too_many_frames():
                    await self.close(1008, b"too many frames")
                    break
                if self._seat is not None and self._seat.unanswered:
                    self._admission.alive(self._seat)
                if frame.type is WSMsgType.TEXT:
                    await self._receive(frame.data)
                elif frame.type is WSMsgType.BINARY:
                    await self.send(ErrorFrame("PARSE_ERROR", "Frames must be text."))
                elif frame.type is WSMsgType.PING:
                    await self._send_frame(frame.data, WSMsgType.PONG)
        finally:
            await self._end()

    async def send(self, message: CoordinatorMessage) -> None:
        """Sends a frame; a connection that is gone is noticed by `run`."""
        await self._send_frame(encode(message), WSMsgType.TEXT)

    async def _send_frame(self, data: bytes, kind: WSMsgType) -> None:
        try:
            if self._flows():
                await self._socket.send_frame(data, kind)
                return
            async with asyncio.timeout(_SEND_SECONDS):
                await self._socket.send_frame(data, kind)
        except TimeoutError:
            self._abort()
        except (ConnectionError, RuntimeError):
            log.debug("a worker's connection broke while sending")

    def _flows(self) -> bool:
        """Whether the peer has read all that was sent, so that sending cannot block."""
        transport = self._transport
        return transport is not None and transport.get_write_buffer_size() == 0

    async def close(self, code: int, reason: bytes) -> None:
        """Says goodbye; a worker that does not read it is cut off."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._socket.close(code=code, message=reason)
        except (TimeoutError, ConnectionError, RuntimeError):
            self._abort()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _end(self) -> None:
        """What the worker has handed in before it left still counts."""
        # A peer that does not read would keep a closing connection open for ever.
        asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self._abort)
        for task in self._tasks:
            task.cancel()
        self._results.no_more()
        await self._all_handed_in()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._seat is not None:
            await self._admission.leave(self._seat)
            log.info("worker %s left", self._seat.key[:8])

    async def _all_handed_in(self) -> None:
        """Waits for the store to take the last results, no longer than a lease may last."""
        done = asyncio.Event()
        waiting = asyncio.gather(*self._handing_in, return_exceptions=True)
        waiting.add_done_callback(lambda _: done.set())
        await self._clock.wait(done, self._limits.lease_seconds)
        waiting.cancel()

    def _too_many_frames(self) -> bool:
        """Counts frames by the second."""
        second = self._clock.now() // 1000
        if second != self._second:
            self._second, self._frames = second, 0
        self._frames += 1
        return self._frames > self._limits.frames_per_second_max

    async def _receive(self, text: str) -> None:
        if self._seat is not None:
            self._work.heard(self._seat)
        try:
            message = from_worker(text)
        except BadFrame as error:
            await self._refuse(error)
            return
        if isinstance(message, Register):
            await self._register(message)
        elif self._seat is None:
            await self.send(ErrorFrame("NOT_REGISTERED", "Send `register` first."))
        else:
            await self._handle(self._seat, message)

    async def _refuse(self, error: BadFrame) -> None:
        if error.kind == Register.__struct_config__.tag:
            await self.send(RegisterAck("error", error=str(error)))
        else:
            await self.send(ErrorFrame(error.code, str(error)))

    async def _register(self, message: Register) -> None:
        try:
            seat = await self._take_seat(message)
        except DispatchError as error:
            await self.send(RegisterAck("error", error=str(error)))
            return
        promised = seat.promised
        ack = RegisterAck("ok", seat.id, challenge=seat.challenge, resumed=[*promised] or None)
        await self.send(ack)
        if self._registered.is_set():
            return
        self._registered.set()
        log.info("worker %s joined: %s", seat.key[:8], ", ".join(sorted(seat.card.capabilities)))
        self._spawn(self._supply(seat, promised))
        self._spawn(self._ask_when_told(seat))
        self._spawn(self._close_when_left(seat))

    async def _take_seat(self, message: Register) -> Seat:
        card = card_of(message)
        if self._seat is None:
            self._seat = await self._admission.join(card, message.active_jobs)
            if self._seat.challenge is None:  # what it cannot prove later is decided now
                await self._admit(self._seat)
        elif self._seat.left.is_set():
            raise LeaseLost("this connection has been given up")
        elif self._seat.card != card:
            raise Invalid("this connection is registered already; open another one to change that")
        return self._seat

    async def _admit(self, seat: Seat) -> None:
        try:
            await self._admission.admitted(seat)
        except DispatchError:
            self._seat = None  # it may try again
            raise

    async def _supply(self, seat: Seat, promised: Sequence[str]) -> None:
        """Gives the worker jobs once it may have some, and takes back what it was told wrongly."""
        try:
            await self._admission.admitted(seat)
            for job_id in promised:
                if job_id not in seat.held:
                    await self.send(JobCancel(job_id))
            for place in self._deliveries.places(seat):
                self._spawn(place)
        except LeaseLost:
            pass  # and the connection is being closed
        except DispatchError as error:
            code = "KEY_IN_USE" if isinstance(error, Invalid) else error.code.upper()
            await self.send(ErrorFrame(code, str(error)))
            await self.close(1008, b"not admitted")
        finally:
            self._supplied.set()

    async def _prove(self, seat: Seat, message: Prove) -> None:
        if seat.challenge is None:
            await self.send(ErrorFrame("UNEXPECTED_PROOF", "No challenge waits for an answer."))
            return
        try:
            if await self._admission.prove(seat, message.signature, self._host):
                # Its next frame may end a job that it has kept, and that must find its place.
                await self._supplied.wait()
                return
            place = f"{self._host!r:.{_HOST_CHARS_MAX}}"
            text = (
                f"The signature does not prove this key to {place}, the host of this coordinator."
            )
            refusal = ErrorFrame("BAD_PROOF", text)
        except StoreUnavailable as error:
            refusal = ErrorFrame(error.code.upper(), str(error))
        await self.send(refusal)
        await self.close(1008, b"key not proven")

    async def _ask_when_told(self, seat: Seat) -> None:
        """Pings the worker where it is to show that it lives; any frame of its does."""
        while True:
            await seat.asked.wait()
            seat.asked.clear()
            await self._send_frame(b"", WSMsgType.PING)

    async def _handle(self, seat: Seat, message: WorkerMessage) -> None:
        match message:
            case Heartbeat():
                await self.send(HeartbeatAck())
            case JobComplete():
                self._deliveries.answered(message.job_id)
                self._hand_in(self._results.complete(seat, message))
            case JobReject():
                self._deliveries.answered(message.job_id)
                self._hand_in(self._results.reject(seat, message))
            case ReceiptSubmit():
                self._results.receipt(seat, message)
            case JobProgress():
                self._spawn(self._results.progress(seat, message))
            case Prove():
                await self._prove(seat, message)

    async def _close_unless_registered(self) -> None:
        if not await self._clock.wait(self._registered, self._limits.register_seconds):
            await self.close(1008, b"not registered in time")

    async def _close_when_left(self, seat: Seat) -> None:
        """The seat is no longer valid: its worker was silent, or sits elsewhere now."""
        await seat.left.wait()
        if seat.displaced:
            await self.send(ErrorFrame(KEY_TAKEN, "Another connection has proven this key by now."))
        await self.close(1000, b"seat no longer valid")

    def _hand_in(self, part: Coroutine[None, None, None]) -> None:
        self._start(part, self._handing_in)

    def _spawn(self, part: Coroutine[None, None, None]) -> None:
        self._start(part, self._tasks)

    def _start(self, part: Coroutine[None, None, None], among: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(part)
        among.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._handing_in.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a worker's connection broke", exc_info=wordless(error))


class WorkerRoutes:
    """The plain upgrade of `/`."""

    def __init__(
        self,
        admission: Admission,
        work: Work,
        clock: Clock,
        limits: Limits,
        public_host: str | None,
    ) -> None:
        self._admission = admission
        self._work = work
        self._public_host = public_host
        self._clock = clock
        self._limits = limits
        self._open: dict[web.WebSocketResponse, WorkerConnection] = {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serves a worker on this request's connection until it ends."""
        socket = web.WebSocketResponse(
            max_msg_size=self._limits.frame_bytes_max, timeout=2.0, autoping=False
        )
        try:
            await socket.prepare(request)
        except ConnectionError:
            return web.Response()  # its peer has hung up, and nobody reads this
        connection = WorkerConnection(
            socket,
            request.transport,
            self._public_host or request.headers.get("Host") or "",
            self._admission,
            self._work,
            self._clock,
            self._limits,
        )
        self._open[socket] = connection
        try:
            await connection.run()
        finally:
            del self._open[socket]
        return socket

    async def tell_stopping(self) -> None:
        """Lets every worker know that it gets no more jobs here."""
        message = ErrorFrame("SHUTTING_DOWN", "This coordinator is shutting down.")
        await asyncio.gather(*(connection.send(message) for connection in self._open.values()))

    async def close(self) -> None:
        """Says goodbye to every worker."""
        connections = list(self._open.values())
        await asyncio.gather(*(each.close(1001, b"shutting down") for each in connections))
