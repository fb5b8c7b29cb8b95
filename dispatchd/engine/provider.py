"""Which device graphs run on here: a GPU where ONNX Runtime can use it, else the CPU."""

import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TypeVar

from dispatchd.core.errors import Unusable
from dispatchd.engine import Device
from dispatchd.engine.cuda import find_gpu
from dispatchd.engine.session import built_for_cuda, open_graph

T = TypeVar("T")

log = logging.getLogger(__name__)


def devices() -> list[Device]:
    """The devices worth trying, best first; the last one is the CPU."""
    return ["cuda", "cpu"] if built_for_cuda() and find_gpu() else ["cpu"]


def working_device() -> Device:
    """The device that a graph really runs on here: tried, where there is a GPU, not guessed."""
    for device in devices()[:-1]:
        if (reason := why_not(device)) is None:
            return device
        log.warning("the GPU is not used: %s", reason)
    return "cpu"


def why_not(device: Device) -> str | None:
    """Why graphs cannot run on a device here: tried, not guessed; None where they can."""
    # with onnx, which nothing else needs at run time
    graphs = import_module("dispatchd.engine.batch.graphs")
    try:
        found = open_graph(graphs.copies(1, "float32"), device).device
    except Exception as error:  # noqa: BLE001 # ONNX Runtime has no error of its own for this
        return str(error)
    return None if found == device else f"ONNX Runtime ran a graph on the {found} instead"


def on_best_device(begin: Callable[[Device], T], tried: Sequence[Device]) -> T:
    """What `begin` gives for the first device on which it works; Unusable if it is none."""
    *better, last = tried
    for device in better:
        try:
            return begin(device)
        except Unusable as error:
            log.warning("%s is not used: %s", device, error)
    return begin(last)
