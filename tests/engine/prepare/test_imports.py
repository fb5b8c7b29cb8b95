"""A node that runs a prepared model needs no builder of graphs."""

import subprocess
import sys

FORBIDDEN = {"onnx", "torch", "transformers"}


def test_reading_a_manifest_imports_no_graph_builder() -> None:
    code = "import sys, dispatchd.engine.prepare.manifest; print(*sys.modules, sep='\\n')"
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert not FORBIDDEN & set(ran.stdout.split())
