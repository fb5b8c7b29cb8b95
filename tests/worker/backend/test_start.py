"""A backend is looked at before a worker says that it can be used."""

import asyncio

import pytest

from dispatchd.core.errors import Unusable
from dispatchd.core.limits import Limits
from dispatchd.worker.backend.address import BackendAddress
from dispatchd.worker.backend.executor import open_backend
from tests.support.backend import MODEL, Backend, answering
from tests.support.clock import FakeClock, HastyClock

KEY = "sk-secret"


async def chosen(backend: Backend, clock: FakeClock, model: str | None = None) -> str:
    address = BackendAddress(backend.url, KEY)
    async with open_backend(address, model, clock, Limits()) as executor:
        return executor.model


async def refused(backend: Backend, clock: FakeClock, model: str | None = None) -> str:
    with pytest.raises(Unusable) as caught:
        await chosen(backend, clock, model)
    assert KEY not in str(caught.value)
    return str(caught.value)


async def test_the_only_model_needs_no_name(backend: Backend, hasty: HastyClock) -> None:
    assert await chosen(backend, hasty) == MODEL
    assert backend.keys == [f"Bearer {KEY}"]


async def test_one_of_several_does(backend: Backend, hasty: HastyClock) -> None:
    backend.models = [{"id": "a"}, {"id": "b:latest"}, {"id": "c"}]
    said = await refused(backend, hasty)
    assert "--model" in said
    assert "a, b:latest, c" in said
    assert await chosen(backend, hasty, "c") == "c"
    assert await chosen(backend, hasty, "b") == "b:latest"
    assert "'d'" in await refused(backend, hasty, "d")


@pytest.mark.parametrize("models", [[], None])
async def test_a_backend_without_a_model(
    backend: Backend, hasty: HastyClock, models: list[dict[str, str]] | None
) -> None:
    backend.models = models
    assert "no model" in await refused(backend, hasty)
    assert "no model" in await refused(backend, hasty, "a")


@pytest.mark.parametrize(
    ("status", "named"),
    [(401, "DISPATCHD_BACKEND_KEY"), (403, "DISPATCHD_BACKEND_KEY"), (404, "/v1"), (400, "400")],
)
async def test_what_waiting_does_not_mend_is_said_at_once(
    backend: Backend, hasty: HastyClock, status: int, named: str
) -> None:
    backend.listing = answering(status)
    assert named in await refused(backend, hasty)
    assert hasty.slept == []


async def test_a_list_that_is_none(backend: Backend, hasty: HastyClock) -> None:
    backend.listing = answering(200, "<html>")
    assert "cannot be read" in await refused(backend, hasty)


@pytest.mark.parametrize("status", [503, 502, 429])
async def test_a_backend_that_is_starting_is_waited_for(
    backend: Backend, clock: FakeClock, status: int
) -> None:
    backend.listing = answering(status)
    choosing = asyncio.create_task(chosen(backend, clock))
    while not backend.keys:
        await asyncio.sleep(0.001)
    backend.listing = None
    while not choosing.done():
        clock.advance(1)
        await asyncio.sleep(0.001)
    assert await choosing == MODEL


async def test_a_backend_that_does_not_come_is_given_up(hasty: HastyClock) -> None:
    nowhere = Backend()
    said = await refused(nowhere, hasty)
    assert nowhere.url in said
    assert "Connection refused" in said
    assert sum(hasty.slept) == 30


def test_a_key_is_not_shown() -> None:
    assert KEY not in repr(BackendAddress("http://127.0.0.1:1", KEY))
