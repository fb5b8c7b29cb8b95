"""The node of the Dispatch compute network: coordinator, job store, scheduler and worker."""

import importlib
import os

# ONNX Runtime reports usage by default on Linux; this must be set before anything imports it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"

_SDK = {"ComputeRouter": "router", "ComputeResult": "result", "Wallet": "wallet"}


def __getattr__(name: str) -> object:
    """The SDK, loaded when it is asked for; `__init__.pyi` says the same to type checkers."""
    if name not in _SDK:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"dispatchd.sdk.{_SDK[name]}"), name)
