"""Trains the embedded sentiment classifier: `--help` says how. It wants CPU PyTorch beside."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    runpy.run_module("scripts.sentiment_training.main", run_name="__main__", alter_sys=True)
