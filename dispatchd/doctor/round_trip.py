"""Has a job done: at a coordinator elsewhere, or at a node that is started for it alone."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from dispatchd.config import RunConfig
from dispatchd.core.errors import Unusable
from dispatchd.core.job import JobType
from dispatchd.doctor import Finding, failure, ok, warning
from dispatchd.node import Running, run_node
from dispatchd.sdk import Payer
from dispatchd.sdk.errors import (
    ComputeError,
    JobFailed,
    JobTimeout,
    NetworkFailed,
    PaymentRequired,
    Unauthorized,
    VerificationFailed,
)
from dispatchd.sdk.hosted import HostedAccounts
from dispatchd.sdk.result import ComputeResult
from dispatchd.sdk.router import ComputeRouter

_USER = "dispatchd-doctor"
_TEXT = "It works well."
_NETWORK = "here"
_JOB_SECONDS = 20.0

Visit = Callable[[str], Awaitable[Finding]]


def at(url: str, visit: Visit) -> Finding:
    """What a visit to that coordinator finds."""
    return asyncio.run(_told(visit, url))


def at_own_node(config: RunConfig, visit: Visit) -> Finding:
    """What a visit to a node of the doctor's own finds; it leaves nothing behind."""
    try:
        with TemporaryDirectory(prefix="dispatchd-doctor-") as folder:
            return asyncio.run(_visited(_apart(config, Path(folder)), visit))
    except Unusable as error:
        return failure(f"No node can run here: {error}", "Do what that says, then look again")


async def _visited(config: RunConfig, visit: Visit) -> Finding:
    """Runs a node for as long as the visit takes; raises `Unusable`."""
    stop = asyncio.Event()
    visits: list[asyncio.Task[Finding]] = []

    def announce(running: Running) -> None:
        url = f"http://{config.host}:{running.networks[0].port}"
        visits.append(asyncio.create_task(_told(visit, url)))
        visits[0].add_done_callback(lambda _: stop.set())

    await run_node(config, announce, lambda _: None, stop)
    return await visits[0]


async def job(url: str) -> Finding:
    """A classify job there and back, its receipt checked."""
    try:
        result = await run_job(url)
    except PaymentRequired:
        return warning(
            "Jobs are sold there, so none was sent",
            "See the finding on payments; dispatchd submit --pay WALLET buys one",
        )
    except Unauthorized as error:
        return warning(f"No job was sent: {error}", "Set DISPATCHD_API_KEY to a user's key")
    return ok(f"A classify job came back in {result.latency_ms} ms, with a receipt that holds")


async def run_job(url: str, payer: Payer | None = None) -> ComputeResult:
    """The result of a job, whose receipt holds; raises `ComputeError`."""
    router = ComputeRouter({_NETWORK: url}, payer=payer, hosted=HostedAccounts())
    result = await router.run_task(
        "classify", _TEXT, user_id=_USER, chain_preference=_NETWORK, timeout=_JOB_SECONDS
    )
    ComputeRouter.verify(result)
    return result


async def _told(visit: Visit, url: str) -> Finding:
    """What a visit finds, where it fails as well."""
    try:
        return await visit(url)
    except VerificationFailed as error:
        return failure(
            f"The result came with a receipt that does not hold: {error}",
            "Do not trust that worker; dispatchd workers shows who works there",
        )
    except JobTimeout:
        return failure(
            f"The job had no result within {_JOB_SECONDS:g} s",
            f"See why it waits: dispatchd job list --coordinator {url}, then job explain",
        )
    except JobFailed as error:
        return failure(f"{error}", _remedy(error.reason, url))
    except NetworkFailed as error:
        return failure(f"The job did not get there: {error}", "Make the coordinator answer first")
    except ComputeError as error:
        return failure(f"The job was refused: {error}", error.hint or "Do what that says")


def _remedy(reason: str, url: str) -> str:
    if reason == "no_eligible_worker":
        return f"No worker takes TASK jobs there. Start one: dispatchd worker --coordinator {url}"
    if reason == "payment_failed":
        return "Nothing was charged. See the coordinator's log for why the facilitator refused"
    return "See the log of the worker that had it; dispatchd workers shows who works there"


def _apart(config: RunConfig, folder: Path) -> RunConfig:
    """The same on one network, but with a folder, a port and a key of its own."""
    network = replace(
        config.networks[0], port=0, database=folder / "node.sqlite3", store=None, advertise=None
    )
    worker = config.worker and replace(
        config.worker, key_path=folder / "key.json", capabilities=frozenset({JobType.TASK})
    )
    return replace(
        config,
        networks=(network,),
        host="127.0.0.1",
        data_dir=folder,
        worker=worker,
        grace_seconds=0.0,
    )
