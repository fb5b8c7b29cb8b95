"""The SDK's pauses, short enough for tests."""

from dispatchd.sdk.hosted import HostedAccounts
from dispatchd.sdk.http import Pace
from dispatchd.sdk.router import ComputeRouter

QUICK = Pace(retries=(0.01, 0.01), waiting_retries=(0.01, 0.01), wait=5, poll=0.02)
NOBODY = HostedAccounts()


def router_to(url: str, hosted: HostedAccounts = NOBODY, **settings: object) -> ComputeRouter:
    """A router with one network, and no hosted provider unless one is given."""
    return ComputeRouter({"monad": url}, hosted=hosted, pace=QUICK, **settings)  # type: ignore[arg-type] # as given
