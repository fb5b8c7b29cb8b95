"""What the payload of a TASK job asks for; read laxly, as not every coordinator checks it."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from dispatchd.core.limits import SUMMARY_CHARS_MAX, SUMMARY_CHARS_MIN

_Chars = Annotated[float, Meta(ge=SUMMARY_CHARS_MIN, le=SUMMARY_CHARS_MAX)]


class TaskRequest(Struct, frozen=True):
    """A text and what to do with it; the fields after `input` are ours."""

    task_type: str
    input: str
    max_length: _Chars | None = None
    mode: Literal["extractive", "abstractive"] | None = None
    schema: dict[str, Any] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What the task's function is told beside the text."""
        if self.task_type != "summarize" or self.max_length is None:
            return {}
        return {"max_chars": int(self.max_length)}

    @property
    def for_a_model(self) -> str | None:
        """The field that asks for a language model, if any does."""
        if self.task_type == "summarize" and self.mode == "abstractive":
            return "mode"
        return "schema" if self.task_type == "extract_json" and self.schema is not None else None
