"""The card's tables, where the data is and where it is not."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from scripts.evaluation.sentiment import calibration_error, tables
from scripts.evaluation.sentiment_texts import given


def test_without_the_data_our_own_texts_are_judged(tmp_path: Path) -> None:
    (table,) = tables(tmp_path)
    assert all(f"\n| {each.text} |" in table for each in given())


def test_with_data_every_set_has_its_row(tmp_path: Path) -> None:
    sets = {
        "goemotions_test": [("Thank you!", 2), ("I hate it.", 0), ("He lives in Rome.", 1)],
        "pros_cons_heldout": [("great picture", 2)],
        "product_reviews_heldout": [("it broke", 0)],
        "sentence_polarity_heldout": [("a dull film", 0), ("a joy", 2)],
        "plot_sentences(neutral)": [("a man goes to sea", 1)],
    }
    rows = [{"t": t, "y": y, "set": name} for name, texts in sets.items() for t, y in texts]
    with gzip.open(tmp_path / "sentiment_test.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)
    accuracies, calibration, _ = tables(tmp_path)
    assert "\n| GoEmotions, test part | 3 | 1.000 |" in accuracies
    assert "\n| GoEmotions, test part | 1.000 |" in calibration


def test_calibration_error() -> None:
    sure = np.array([0.9, 0.9, 0.9, 0.9, 0.5])
    assert calibration_error(np.array([True] * 5), np.ones(5)) == 0
    assert calibration_error(np.array([False] * 5), np.ones(5)) == 1
    right = np.array([True, True, False, False, True])
    assert calibration_error(right, sure) == pytest.approx(0.4 * 0.8 + 0.5 * 0.2)
