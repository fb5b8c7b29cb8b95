"""The task `extract_json`: the JSON that stands in a free text."""

import json
import re

from dispatchd.engine.text import whole
from dispatchd.worker.tasks.json_scan import find_json

_ESCAPE = re.compile(
    r"\\(?:(?P<pair>u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def extract_json(text: str) -> dict[str, object]:
    """Every JSON object and array of the text, an outermost one whole, in their order.

    Of a key given twice the last one counts; lone surrogates become U+FFFD.
    """
    text = whole(text)
    extracted = [json.loads(_paired(text[start:end])) for start, end in find_json(text)]
    return {"extracted": extracted, "count": len(extracted)}


def _paired(source: str) -> str:
    """The JSON text without escapes of lone surrogates, which no encoder would write again."""
    return _ESCAPE.sub(lambda escape: r"\ufffd" if escape["lone"] else escape[0], source)
