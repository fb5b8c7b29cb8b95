"""Runs a check: it always ends, and always with a finding."""

import threading
from concurrent.futures import Future

from dispatchd.doctor import Check, Finding, failure

_SLOW = "Look again when the machine is less busy; if that does not help, see what it waits for"
_FORBIDDEN = "Run the doctor as the user who runs the node, or give that user the right to it"
_BUG = "Tell the makers of dispatchd, with what --json prints"


def examine(check: Check) -> Finding:
    """What a check finds, or that it took too long, or broke."""
    found: Future[Finding] = Future()
    # A daemon: what hangs must not keep the program from ending.
    threading.Thread(target=_look, args=(check, found), daemon=True).start()
    try:
        return found.result(check.seconds)
    except TimeoutError:
        return failure(f"There was no answer within {check.seconds:g} s", _SLOW)


def _look(check: Check, found: "Future[Finding]") -> None:
    try:
        finding = check.look()
    except PermissionError as error:
        what = f"{error.filename} may" if error.filename else "What there is may"
        finding = failure(f"{what} not be looked at by this user", _FORBIDDEN)
    except BaseException as error:  # noqa: BLE001 - a bug in one check is a finding beside others
        finding = failure(f"The check itself broke ({type(error).__name__})", _BUG)
    found.set_result(finding)
