"""Workers say what their models run on."""

from pathlib import Path

import pytest

from tests.e2e.client import Client, until
from tests.support.machines import Place, network

DEVICES = {"cpu", "cuda"}


@pytest.mark.parametrize("place", list(Place))
def test_the_device_is_known_once_the_model_is_open(place: Place, tmp_path: Path) -> None:
    with network(place, tmp_path) as url:
        client = Client(url)

        def known() -> bool:
            workers = client.json("GET", "/v1/workers")[1]["workers"]
            return [worker["device"] in DEVICES for worker in workers] == [True]

        until(known, "the worker says its device")
