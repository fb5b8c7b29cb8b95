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
                log.info("job %s: no longer ours, dropped", assignment.lease.job_id)

    async def _do(self, assignment: Assignment) -> None:
        started = self._clock.now()
        outcome = await self._outcome(assignment)
        seconds = (self._clock.now() - started) / 1000
        job_id = assignment.lease.job_id
        await self._hand_in(assignment.lease, outcome)
        if isinstance(outcome, Fault):
            log.info("job %s failed after %.1f s: %s", job_id, seconds, outcome.reason)
        else:
            log.info("job %s (%s) done in %.1f s", job_id, assignment.job_type, seconds)

    async def _outcome(self, assignment: Assignment) -> Completion | Fault:
        try:
            output = await self._execute(assignment)
            text = ecma_json(output.value)
        except ExecutionFailed as error:
            return Fault(error.reason, final=error.final)
        except LeaseLost:
            raise
        except Exception:
            log.exception("job %s: the executor broke", assignment.lease.job_id)
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
                log.exception("job %s: our receipt was refused", lease.job_id)
            return
