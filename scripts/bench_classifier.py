"""Measures `classify`, batched and one by one: `--help` says how. Ratios count, not rates."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    runpy.run_module("scripts.classifier_bench.main", run_name="__main__", alter_sys=True)
