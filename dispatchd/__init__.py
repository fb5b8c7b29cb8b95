"""The node of the Dispatch compute network: coordinator, job store, scheduler and worker."""

import os

# ONNX Runtime reports usage by default on Linux; this must be set before anything imports it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
