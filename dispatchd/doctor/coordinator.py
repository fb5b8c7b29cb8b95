"""A coordinator elsewhere: whether it answers, and whether its clock and ours agree."""

from datetime import datetime

from dispatchd.doctor import Finding, failure, ok, warning
from dispatchd.doctor.asking import Health, health_of
from dispatchd.sdk.errors import ComputeError

_SKEW_GOOD_SECONDS = 2.0
_SKEW_MAX_SECONDS = 30.0
SET_CLOCK = "Have both machines' clocks set from the network, e.g. timedatectl set-ntp true"


def reachable(url: str) -> Finding:
    """Whether a coordinator answers there, and is well."""
    try:
        health = health_of(url).said
    except ComputeError as error:
        return failure(
            f"No coordinator answers at {url}: {error}",
            "Start one there (dispatchd run --host 0.0.0.0), or correct the address; is the port"
            " open in its firewall?",
        )
    if health.get("status") == "degraded":
        problems = health.get("problems")
        said = "; ".join(map(str, problems)) if isinstance(problems, list) else "it does not say"
        return warning(f"{url} is degraded: {said}", "See to that on its machine")
    if not isinstance(health.get("network"), str):
        return failure(
            f"What answers at {url} is no coordinator: its /v1/health names no network",
            "Correct the address, or update what runs there",
        )
    online = health.get("workers_online", "an unknown number of")
    return ok(f"{url} answers for {health.get('network')}, {online} workers are online")


def clock(url: str) -> Finding:
    """How far the coordinator's clock and this machine's are apart, the way there allowed for."""
    try:
        health = health_of(url)
    except ComputeError as error:
        return failure(
            f"{url} does not tell the time: {error}", "Make it answer first, then look again"
        )
    theirs = _moment_of(health)
    if theirs is None:
        return failure(
            f"{url} gives no time that can be read in /v1/health",
            "Is that a coordinator? Correct the address, or update what runs there",
        )
    skew, doubt = theirs - health.at, health.took / 2
    said = f"Its clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} ours"
    if abs(skew) - doubt > _SKEW_MAX_SECONDS:
        return failure(f"{said}: receipts get wrong times, payments may have expired", SET_CLOCK)
    if abs(skew) - doubt > _SKEW_GOOD_SECONDS:
        return warning(said, SET_CLOCK)
    return ok(f"Its clock and ours agree, as far as can be told within {doubt:.2f} s")


def _moment_of(health: Health) -> float | None:
    try:
        moment = datetime.fromisoformat(str(health.said.get("timestamp")))
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None
