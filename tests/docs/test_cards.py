"""The tables in the models' cards are what the shipped files give."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("part", "card", "row"),
    [("sentiment", "sentiment", "| Don't waste"), ("summarize", "summarizer", "| 200 | TextRank")],
)
def test_a_cards_table_is_up_to_date(part: str, card: str, row: str, tmp_path: Path) -> None:
    """The tables over texts of our own; the others need text that is not in the repository."""
    script = ROOT / "scripts" / "evaluate.py"
    command = [sys.executable, str(script), part, "--data", str(tmp_path)]
    # From elsewhere, and with no help of PYTHONPATH, as after a plain checkout.
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={})
    assert run.returncode == 0, run.stderr
    assert row in run.stdout
    assert run.stdout.strip() in (ROOT / "models" / card / "README.md").read_text(encoding="utf-8")
