"""A worker's life: claim a job, run it, sign the result, hand it in, claim the next."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing

from dispatchd.core.card import Slots
from dispatchd.core.clock import Clock, iso
from dispatchd.core.ecma import ecma_json
from dispatchd.core.errors import BadReceipt, ExecutionFailed, LeaseLost, StoreUnavailable
from dispatchd.core.job import Assignment, Completion, Fault, JobType, Lease
from dispatchd.core.joblog import about, code_in, wordless
from dispatchd.core.keys import KeyPair
from dispatchd.core.receipt import complete
from dispatchd.worker import Executor, Output, WorkSource

log = logging.getLogger(__name__)

_STORE_RETRY_SECONDS = 1.0


class Worker:
    """Runs jobs from one source, as many at once as it has slots."""

    def __init__(
        self,
        source: WorkSource,
        executors: Mapping[JobType, Executor],
        key: KeyPair,
        clock: Clock,
    ) -> None:
        self._source = source
        self._executors = executors
        self._key = key
        self._clock = clock

    async def run(self, slots: tuple[Slots, ...]) -> None:
        """Keeps every slot busy for as long as this runs."""
        async with asyncio.TaskGroup() as serving:
            for group in slots:
                for _ in range(group.count):
                    serving.create_task(self._serve(group.job_types))

    async def _serve(self, job_types: frozenset[JobType]) -> None:
        while True:
            assignment = await self._source.claim(job_types)
            try:
                await self._do(assignment)
            except LeaseLost:
                _about(assignment.lease).info("no longer ours, dropped")

    async def _do(self, assignment: Assignment) -> None:
        started = self._clock.now()
        outcome = await self._outcome(assignment)
        seconds = (self._clock.now() - started) / 1000
        await self._hand_in(assignment.lease, outcome)
        here = _about(assignment.lease)
        if isinstance(outcome, Fault):
            here.info("failed after %.1f s: %s", seconds, code_in(outcome.reason))
        else:
            here.info("%s done in %.1f s", assignment.job_type, seconds)

    async def _outcome(self, assignment: Assignment) -> Completion | Fault:
        try:
            output = await self._execute(assignment)
            text = ecma_json(output.value)
        except ExecutionFailed as error:
            return Fault(error.reason, final=error.final)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - a bug in the executor fails its job alone
            _about(assignment.lease).exception("the executor broke", exc_info=wordless(error))
            return Fault("internal_error")
        now = iso(self._clock.now())
        return complete(self._key, assignment.lease.job_id, text, now, assignment.payment_ref)

    async def _execute(self, assignment: Assignment) -> Output:
        """Runs the job, and drops it at once when its lease is lost."""
        running = asyncio.create_task(self._run(assignment))
        losing = asyncio.create_task(self._source.lost(assignment.lease))
        try:
            await asyncio.wait({running, losing}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                raise LeaseLost(f"job {assignment.lease.job_id} is no longer wanted")
            return running.result()
        finally:
            losing.cancel()
            running.cancel()
            await asyncio.wait({running})

    async def _run(self, assignment: Assignment) -> Output:
        executor = self._executors.get(JobType(assignment.job_type))
        if executor is None:
            raise ExecutionFailed("unsupported_job_type", final=True)
        async with aclosing(executor.run(assignment.payload)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Output):
                    return piece
                await self._source.progress(assignment.lease, piece)
        raise ExecutionFailed("no_output")

    async def _hand_in(self, lease: Lease, outcome: Completion | Fault) -> None:
        """What came of a job is kept and offered until it is taken or no longer wanted."""
        while True:
            try:
                if isinstance(outcome, Fault):
                    await self._source.fail(lease, outcome)
                else:
                    await self._source.finish(lease, outcome)
            except StoreUnavailable:
                await self._clock.sleep(_STORE_RETRY_SECONDS)
                continue
            except BadReceipt:
                _about(lease).exception("our receipt was refused")
            return


def _about(lease: Lease) -> logging.LoggerAdapter[logging.Logger]:
    return about(log, lease.job_id, lease.attempt)
