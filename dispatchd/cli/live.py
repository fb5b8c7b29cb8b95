"""Text that appears while it is generated."""

import sys
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from dispatchd.cli.terminal import json_text, say, tell
from dispatchd.sdk.telling import Telling


class LiveText:
    """Shows a telling's pieces as they come, on a terminal.

    What has gone into a pipe cannot be taken back, and a text may begin anew; so a pipe gets the
    text once it is whole.
    """

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._shown = False
        self._restarts = 0

    async def show(self, pieces: AsyncIterator[str]) -> None:
        """Shows them all."""
        async for piece in pieces:
            self.add(piece)

    def add(self, piece: str) -> None:
        """Shows one."""
        if not sys.stdout.isatty():
            return
        if self._telling.restarts > self._restarts:
            self._restarts = self._telling.restarts
            self._break()
            tell("(another worker took over; the text begins anew)")
        if piece:
            say(piece, end="")
            self._shown = True

    def finish(self, output: Any) -> None:
        """Shows the rest; what is no text is shown whole."""
        self.add(self._telling.finish(output))
        if self._shown:
            self._break()
        else:
            say(output_text(output))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._break()

    def _break(self) -> None:
        if self._shown:
            say("")
            self._shown = False


def output_text(output: Any) -> str:
    """A result as its reader wants it: the text itself where it has one, else JSON."""
    if isinstance(output, dict) and isinstance(output.get("text"), str):
        return str(output["text"])
    return json_text(output)
