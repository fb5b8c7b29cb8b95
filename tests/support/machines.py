"""Nodes and workers as processes of their own, as on machines of their own."""

import enum
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.e2e.client import Client
from tests.support.process import Process, dispatchd


class Machines:
    """Starts processes whose state lies in folders of one test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, *more: str, data: str = "node") -> AbstractContextManager[Process]:
        port = () if "--port" in more else ("--port", "0")
        folder = str(self._folder / data)
        arguments = ("run", "--testnet", *port, "--data-dir", folder, *more)
        return dispatchd(*arguments, home=self._folder / "home")

    def coordinator(self, *more: str) -> AbstractContextManager[Process]:
        return self.run("--no-worker", *more)

    def worker(self, url: str, *more: str, data: str = "worker") -> AbstractContextManager[Process]:
        folder = str(self._folder / data)
        arguments = ("worker", "--coordinator", url, "--data-dir", folder, *more)
        return dispatchd(*arguments, home=self._folder / "home")


class Place(enum.StrEnum):
    """Where the worker is: in the node's own process, or in another one."""

    NEAR = "near"
    FAR = "far"


@contextmanager
def network(place: Place, folder: Path) -> Iterator[str]:
    """The address of a node with one worker, which has the embedded models and one place."""
    machines = Machines(folder)
    if place is Place.NEAR:
        with machines.run("--slots", "1") as node:
            yield node.url()
    else:
        with machines.coordinator() as node, machines.worker(node.url(), "--slots", "1"):
            Client(node.url()).workers(1)
            yield node.url()
