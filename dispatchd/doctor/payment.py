"""Pays for a job where payments are simulated: from the faucet to the captured payment."""

import secrets

from dispatchd.doctor import Finding, failure, ok
from dispatchd.doctor.round_trip import run_job
from dispatchd.payment.wallet import Wallet as Signer
from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.errors import NotFound
from dispatchd.sdk.http import Http, new_session
from dispatchd.sdk.wallet import Wallet

_FUNDS = 1_000_000
_CAPTURED = "captured"
_SEE_LOG = "See the coordinator's log for that job"


async def payment(url: str) -> Finding:
    """A wallet of its own gets play money, buys a job, and is charged for it, once."""
    signer = Signer.from_key(secrets.token_hex(32))
    async with new_session() as session:
        coordinator = CoordinatorClient(Http(url, session))
        try:
            await coordinator.faucet(signer.address, _FUNDS)
        except NotFound:
            return ok(f"{url} simulates no payments; the doctor spends no money, so none was tried")
        result = await run_job(url, Wallet(signer))
        left = await _balance(coordinator, signer.address)
    if result.payment is None:
        return ok(f"{url} has a faucet, but jobs are free there")
    spent = _FUNDS - left
    if result.payment.state != _CAPTURED:
        return failure(f"The job is done, but its payment is {result.payment.state}", _SEE_LOG)
    if str(spent) != result.payment.amount:
        return failure(
            f"The payment of {result.payment.amount} took {spent} from the wallet", _SEE_LOG
        )
    return ok(f"A job was paid for with play money: faucet, payment, capture of {spent}")


async def _balance(coordinator: CoordinatorClient, address: str) -> int:
    answer = await coordinator.get("/facilitator/balances", {"address": address})
    (account,) = answer["accounts"]
    return int(account["balance"])
