"""A text that is told as it grows, and may have to begin anew."""

from typing import Any


class Telling:
    """Turns what attempts at a text have generated into pieces for a reader.

    A new attempt that says the same again is not heard. One that differs is told from its start:
    `restarts` counts that, and what was told before no longer belongs to the text.
    """

    def __init__(self) -> None:
        self.text = ""
        self.restarts = 0
        self._told = ""

    def again(self) -> None:
        """The text starts anew."""
        self.text = ""

    def add(self, delta: str) -> str:
        """The piece to tell now that the text has grown; empty where it is known already."""
        in_step = len(self.text) == len(self._told)
        self.text += delta
        if in_step:
            self._told = self.text
            return delta
        if self._told.startswith(self.text):
            return ""
        if self.text.startswith(self._told):
            piece = self.text[len(self._told) :]
        else:
            self.restarts += 1
            piece = self.text
        self._told = self.text
        return piece

    def finish(self, output: Any) -> str:
        """The piece that is missing once the whole output is known."""
        text = output.get("text") if isinstance(output, dict) else None
        if not isinstance(text, str):
            return ""
        self.again()
        piece = self.add(text)
        if self._told != text:  # more was told than there is
            self.restarts += 1
            self._told = piece = text
        return piece
