"""Fixtures that several folders of tests share."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.node import Node, running_node
from tests.support.postgres import Server, programs, running_server

_RECURSION_LIMIT = sys.getrecursionlimit()


def pytest_configure() -> None:
    """A shell's background jobs ignore SIGINT, and so would the programs that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """py_ecc, which comes with eth-account, raises it a hundredfold when it is imported.

    Deeply nested JSON would then overflow msgspec's stack instead of being refused.
    """
    sys.setrecursionlimit(_RECURSION_LIMIT)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server that all tests of a process share."""
    if (folder := programs()) is None:
        pytest.skip("needs program: initdb")
    with running_server(folder) as server:
        yield server


@pytest.fixture
async def node(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Node]:
    async with running_node(tmp_path / "jobs.sqlite3", clock) as running:
        yield running


def misses_a_program(report: pytest.TestReport | pytest.CollectReport) -> bool:
    """Where every program must be there (CI), a test that is skipped for one has failed."""
    skipped = report.skipped and "Skipped: needs program:" in str(report.longrepr)
    return skipped and "DISPATCHD_NO_SKIPS" in os.environ


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if misses_a_program(report):
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if misses_a_program(report):
        report.outcome = "failed"
    return report
