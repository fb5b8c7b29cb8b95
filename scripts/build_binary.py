"""Builds the single file, and the same as an archive, into `dist`: `--help` says how."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    runpy.run_module("scripts.binary.build", run_name="__main__", alter_sys=True)
