"""Trains the embedded chat model: `--help` says how. It needs torch and safetensors besides."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    runpy.run_module("scripts.lm_training.main", run_name="__main__", alter_sys=True)
