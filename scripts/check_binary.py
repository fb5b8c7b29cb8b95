"""Tries a binary in a folder that holds nothing else, and prints its figures: `--help` says how."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    runpy.run_module("scripts.binary.check", run_name="__main__", alter_sys=True)
