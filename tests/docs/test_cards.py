"""The tables in the models' cards are what the shipped files give."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_summarizers_table_is_up_to_date() -> None:
    """The part over texts of our own; the other needs books that are not in the repository."""
    script = ROOT / "scripts" / "evaluate.py"
    run = subprocess.run([sys.executable, script, "summarize"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("\n| 200 |") == 4
    assert run.stdout.strip() in (ROOT / "models" / "summarizer" / "README.md").read_text()
