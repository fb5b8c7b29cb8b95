"""A node that sells its jobs for play money, as a process of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.client import Client, until
from tests.support.process import dispatchd

SIMULATED = ("run", "--testnet", "--payments", "simulated", "--port", "0")


class Market:
    """What can be seen of such a node from outside."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = Client(url)

    def balances(self) -> dict[str, int]:
        """Who has how much, by address in lower case."""
        status, found = self.client.json("GET", "/facilitator/balances")
        assert status == 200, found
        return {each["address"].lower(): int(each["balance"]) for each in found["accounts"]}

    def captured(self, job_id: str) -> dict[str, Any]:
        """A job once it has completed, which shows that it is paid for."""

        def look() -> dict[str, Any] | None:
            job = self.client.job(job_id)
            assert job["status"] != "failed", job
            return job if job["status"] == "completed" else None

        job = until(look, f"job {job_id} completed")
        assert job["payment"]["state"] == "captured", job
        return job


@contextmanager
def market(folder: Path, *more: str) -> Iterator[Market]:
    """Runs such a node until the end of the block; nothing may have gone wrong in it."""
    with dispatchd(*SIMULATED, "--data-dir", str(folder / "node"), *more, home=folder) as process:
        yield Market(process.url())
        assert process.stop() == 0
        assert "Traceback" not in process.err.text, process.err.text
        assert " ERROR " not in process.err.text, process.err.text
