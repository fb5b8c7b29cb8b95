"""The network's first rule, as every worker that keeps it answers: these answers never change."""

import pytest

from dispatchd.core.ecma import ecma_json
from dispatchd.worker.tasks.keywords import classify_by_keywords


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", '{"sentiment":"neutral","confidence":0.3}'),
        ("The train leaves at noon.", '{"sentiment":"neutral","confidence":0.3}'),
        ("A good day", '{"sentiment":"positive","confidence":0.5}'),
        ("good good good", '{"sentiment":"positive","confidence":0.5}'),
        ("GOOD and GREAT", '{"sentiment":"positive","confidence":0.7}'),
        ("good, great, excellent", '{"sentiment":"positive","confidence":0.9000000000000001}'),
        ("good, great, best, happy", '{"sentiment":"positive","confidence":1}'),
        ("amazing love wonderful fantastic best", '{"sentiment":"positive","confidence":1}'),
        ("not good", '{"sentiment":"positive","confidence":0.5}'),
        ("goodbye", '{"sentiment":"positive","confidence":0.5}'),
        ("gloves", '{"sentiment":"positive","confidence":0.5}'),
        ("a badge", '{"sentiment":"negative","confidence":0.5}'),
        ("I hate the ambassador", '{"sentiment":"negative","confidence":0.7}'),
        ("the worst, truly awful", '{"sentiment":"negative","confidence":0.7}'),
        ("horrible, terrible, poor", '{"sentiment":"negative","confidence":0.9000000000000001}'),
        ("disappointing", '{"sentiment":"negative","confidence":0.5}'),
        ("good but bad", '{"sentiment":"neutral","confidence":0.3}'),
        ("great and good but bad", '{"sentiment":"positive","confidence":0.5}'),
        ("This product is amazing.", '{"sentiment":"positive","confidence":0.5}'),
    ],
)
def test_golden(text: str, printed: str) -> None:
    assert ecma_json(classify_by_keywords(text)) == printed
