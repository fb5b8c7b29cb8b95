"""Models made runnable: what is embedded, how a folder is read, text in and text out."""

from collections.abc import Callable
from typing import Literal

Device = Literal["cpu", "cuda"]
"""What a graph runs on."""

Progress = Callable[[float], None]
"""Hears a share that rises to 1 with each part of some work, and may raise to give it up."""
