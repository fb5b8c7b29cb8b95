"""Whether a network's port can be had, and else who has it."""

import os
import socket

from dispatchd.doctor import Finding, failure, ok
from dispatchd.doctor.asking import health_of
from dispatchd.doctor.listener import listener_on
from dispatchd.sdk.errors import ComputeError

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared


def port(host: str, number: int) -> Finding:
    """Tries to listen there, for a moment."""
    if number == 0:
        return ok("Any free port will do")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, number), family=family):
            return ok(f"{host}:{number} is free")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    holder = listener_on(number)
    who = f", by {holder}" if holder else ""
    if (network := _network_at(host, number)) is not None:
        return ok(f"{host}:{number} is in use{who}: a coordinator of {network} runs there")
    return failure(
        f"{host}:{number} cannot be had{who}: {reason}",
        "Stop what uses it, or choose another with --port",
    )


def _network_at(host: str, number: int) -> str | None:
    near = _EVERYWHERE.get(host, host)
    try:
        health = health_of(f"http://{f'[{near}]' if ':' in near else near}:{number}")
    except ComputeError:
        return None
    network = health.said.get("network")
    return network if isinstance(network, str) else None
