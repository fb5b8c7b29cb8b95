"""A node without payments loads nothing of them."""

import subprocess
import sys

PROGRAM = """
import sys
import dispatchd.node, dispatchd.cli
heavy = [name for name in sys.modules
         if name.partition(".")[0] in {"coincurve", "Crypto"} or name == "dispatchd.payment"
         or name.startswith("dispatchd.payment.")]
sys.exit(f"loaded: {heavy}" if heavy else 0)
"""


def test_a_node_without_payments_imports_nothing_of_them() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
