"""A backend that can be reached, and an executor over it."""

from collections.abc import AsyncIterator

import pytest

from dispatchd.core.limits import Limits
from dispatchd.worker.backend.address import BackendAddress
from dispatchd.worker.backend.executor import BackendExecutor, open_backend
from tests.support.backend import Backend
from tests.support.clock import HastyClock


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    here = Backend()
    async with here.there():
        yield here


@pytest.fixture
def hasty() -> HastyClock:
    return HastyClock()


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
async def executor(
    backend: Backend, hasty: HastyClock, limits: Limits
) -> AsyncIterator[BackendExecutor]:
    async with open_backend(BackendAddress(backend.url), None, hasty, limits) as opened:
        yield opened
