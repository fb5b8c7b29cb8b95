"""The task `extract_json`: the JSON that stands in a free text."""

import json

from dispatchd.engine.text import whole
from dispatchd.worker.tasks.json_scan import find_json


def extract_json(text: str) -> dict[str, object]:
    """Every JSON object and array of the text, an outermost one whole, in their order.

    Near-misses are made good. Of a key given twice the last one counts; lone surrogates become
    U+FFFD, and numbers beyond a double null.
    """
    extracted = [json.loads(found.json) for found in find_json(whole(text))]
    return {"extracted": extracted, "count": len(extracted)}
