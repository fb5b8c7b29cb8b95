"""Says where many coordinators over one PostgreSQL server would hurt first: `--help` says how."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    runpy.run_module("scripts.cluster_model.main", run_name="__main__", alter_sys=True)
