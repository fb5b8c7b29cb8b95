"""Models made runnable: what is embedded, how a folder is read, text in and text out."""

from typing import Literal

Device = Literal["cpu", "cuda"]
"""What a graph runs on."""
