"""Takes what workers hand in over a socket: results, receipts, rejections and progress."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Raw, UnsetType

from dispatchd.api.deliveries import Send
from dispatchd.coordinator.seats import Seat
from dispatchd.coordinator.work import MISSING_RECEIPT, Work, reported_fault
from dispatchd.core.clock import Clock
from dispatchd.core.errors import BadReceipt, LeaseLost, StoreUnavailable
from dispatchd.core.job import Completion, Fault, Lease
from dispatchd.core.limits import Limits
from dispatchd.core.receipt import hash_of
from dispatchd.core.record import Blame
from dispatchd.wire.messages import (
    ErrorFrame,
    JobCancel,
    JobComplete,
    JobProgress,
    JobReject,
    ReceiptSubmit,
)

_STORE_RETRY_SECONDS = 1.0
_NULL = b"null"


class _Named(msgspec.Struct):
    job_id: str


class Results:
    """The results of one connected worker."""

    def __init__(self, work: Work, clock: Clock, limits: Limits, send: Send) -> None:
        self._work = work
        self._clock = clock
        self._limits = limits
        self._send = send
        self._receipts: dict[str, ReceiptSubmit] = {}
        self._arrivals: dict[str, asyncio.Event] = {}
        self._gone = False

    async def complete(self, seat: Seat, message: JobComplete) -> None:
        """A result has come, perhaps with its receipt to follow."""
        lease = _lease(seat, message.job_id, message.attempt)
        if seat.holds(lease) is None or message.job_id in self._arrivals:
            await self._send(ErrorFrame("LEASE_LOST", f"job {message.job_id} is not yours to end"))
            return
        if isinstance(message.output, UnsetType):
            await self._fail(seat, lease, Fault("missing_output"))
            return
        output = bytes(message.output).decode()
        receipt, signature = message.receipt, message.receipt_signature
        if _absent(receipt) and (fault := reported_fault(output)) is not None:
            await self._fail(seat, lease, fault)
            return
        if _absent(receipt):
            submitted = await self._receipt_of(message.job_id)
            if submitted is None and self._gone:
                return  # the worker has left without it, and loses the job by that
            if submitted is None:
                await self._fail(seat, lease, Fault(MISSING_RECEIPT, Blame.BAD_RECEIPTS))
                return
            receipt, signature = submitted.receipt, submitted.signature
        claimed = hash_of(output) if _absent(message.output_hash) else _text(message.output_hash)
        await self._finish(
            seat, lease, Completion(output, claimed, _json(receipt), _text(signature))
        )

    async def reject(self, seat: Seat, message: JobReject) -> None:
        """The worker turns a job down."""
        fault = Fault(_text(message.reason) or "rejected", Blame.REJECTED, final=message.final)
        await self._fail(seat, _lease(seat, message.job_id, message.attempt), fault)

    async def progress(self, seat: Seat, message: JobProgress) -> None:
        """The worker has generated some text; if nobody wants it, it is told to stop."""
        lease = _lease(seat, message.job_id, message.attempt)
        try:
            await self._work.progress(seat, lease, message.delta)
        except LeaseLost as error:
            if seat.card.version is None:
                await self._send(ErrorFrame("LEASE_LOST", str(error)))
            else:
                await self._send(JobCancel(message.job_id, message.attempt))

    def receipt(self, seat: Seat, message: ReceiptSubmit) -> None:
        """A receipt has come by itself, before or after its result."""
        try:
            job_id = msgspec.json.decode(message.receipt, type=_Named).job_id
        except msgspec.DecodeError:
            return
        if job_id in seat.held:
            self._receipts[job_id] = message
            if (arrival := self._arrivals.get(job_id)) is not None:
                arrival.set()

    def no_more(self) -> None:
        """The worker has left; receipts that have not come will not come."""
        self._gone = True
        for arrival in self._arrivals.values():
            arrival.set()

    async def _receipt_of(self, job_id: str) -> ReceiptSubmit | None:
        arrival = self._arrivals.setdefault(job_id, asyncio.Event())
        try:
            if job_id not in self._receipts:
                await self._clock.wait(arrival, self._limits.receipt_seconds)
            return self._receipts.get(job_id)
        finally:
            self._arrivals.pop(job_id, None)
            self._receipts.pop(job_id, None)

    async def _finish(self, seat: Seat, lease: Lease, done: Completion) -> None:
        await self._until_taken(lambda: self._work.finish(seat, lease, done), lease)

    async def _fail(self, seat: Seat, lease: Lease, fault: Fault) -> None:
        await self._until_taken(lambda: self._work.fail(seat, lease, fault), lease)

    async def _until_taken(self, hand_in: Callable[[], Awaitable[None]], lease: Lease) -> None:
        """While the store is away, what the worker said is held and handed in again."""
        while True:
            try:
                await hand_in()
            except LeaseLost as error:
                await self._send(ErrorFrame("LEASE_LOST", str(error)))
            except BadReceipt as error:
                await self._send(ErrorFrame("BAD_RECEIPT", f"job {lease.job_id}: {error}"))
            except StoreUnavailable:
                await self._clock.sleep(_STORE_RETRY_SECONDS)
                continue
            return


def _lease(seat: Seat, job_id: str, attempt: int | None) -> Lease:
    """The lease that a frame speaks of; workers of part 1 name no attempt and mean the present."""
    held = seat.held.get(job_id)
    present = held.lease.attempt if held is not None else 0
    return Lease(job_id, present if attempt is None else attempt)


def _absent(value: Raw | UnsetType) -> bool:
    return isinstance(value, UnsetType) or bytes(value) == _NULL


def _json(value: Raw | UnsetType) -> str:
    return "null" if isinstance(value, UnsetType) else bytes(value).decode()


def _text(value: Raw | UnsetType) -> str:
    """A string, or nothing where the field holds anything else."""
    try:
        return "" if isinstance(value, UnsetType) else msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        return ""
