"""Measures the coordinator beside the floor of its own framework: `--help` says how.

It runs on Linux, over loopback, and ends every process that it starts.
"""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    runpy.run_module("scripts.bench.main", run_name="__main__", alter_sys=True)
