"""Measures the text engine over a model: `--help` says how. Run it on a machine that is idle."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    runpy.run_module("scripts.engine_bench.main", run_name="__main__", alter_sys=True)
