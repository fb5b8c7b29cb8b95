"""What the pages say of the code is what the code says."""

import subprocess
import sys
from pathlib import Path

from dispatchd.api.errors import STATUS
from dispatchd.core import errors

ROOT = Path(__file__).parents[2]


def test_the_generated_parts_are_up_to_date() -> None:
    script = ROOT / "scripts" / "make_docs.py"
    run = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_error_has_a_status() -> None:
    assert {kind.code for kind in errors.DispatchError.__subclasses__()} == STATUS.keys()
