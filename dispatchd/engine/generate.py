"""Text generation: a prompt in, pieces of text out, one greedy token at a time."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.chat import compile_template
from dispatchd.engine.decoder import Decoder, Scores, Sequencer, open_decoder
from dispatchd.engine.folder import ModelFolder, read_folder
from dispatchd.engine.prompt import PromptEncoder
from dispatchd.engine.text import Detokenizer

PROMPT_CHUNK_TOKENS = 256


class Generation(msgspec.Struct, frozen=True):
    """The end of a generation; `completion_tokens` counts the token that ended it, too."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"]


class TextModel:
    """A loaded language model; several threads may generate at once."""

    def __init__(self, folder: ModelFolder, decoder: Decoder, encoder: PromptEncoder) -> None:
        self.name = folder.name
        self.device = decoder.device
        self.context_tokens = folder.context_tokens
        self._folder = folder
        self._decoder = decoder
        self._encoder = encoder

    def generate(self, prompt: str, max_tokens: int) -> "GenerationStream":
        """Text pieces (whole characters, never empty), then exactly one Generation.

        The pieces joined are the Generation's text; `max_tokens` is at least one. All work is done
        while iterating, and so ExecutionFailed("prompt_too_long") is raised with the first piece.
        """
        closed = threading.Event()
        return GenerationStream(self._pieces(prompt, max_tokens, closed), closed)

    def _pieces(
        self, prompt: str, max_tokens: int, closed: threading.Event
    ) -> Iterator[str | Generation]:
        ids = self._encoder.encode(prompt)
        room = self.context_tokens - len(ids)
        if room < 1 or not ids:
            raise ExecutionFailed("prompt_too_long" if ids else "empty_prompt", final=True)
        tokens = _Tokens(self._folder, self._decoder.start(), ids, closed)
        words = Detokenizer(self._folder.tokenizer)
        pieces = []
        for token in tokens.up_to(min(max_tokens, room)):
            if piece := words.add(token):
                pieces.append(piece)
                yield piece
        if closed.is_set():
            return
        if piece := words.end():
            pieces.append(piece)
            yield piece
        yield Generation("".join(pieces), len(ids), tokens.made, tokens.finish_reason)


class GenerationStream(Iterator[str | Generation]):
    """A generation under way; `close` may be called from any thread and stops it within a step."""

    def __init__(self, pieces: Iterator[str | Generation], closed: threading.Event) -> None:
        self._pieces = pieces
        self._closed = closed

    def __next__(self) -> str | Generation:
        if self._closed.is_set():
            raise StopIteration
        return next(self._pieces)

    def close(self) -> None:
        """Ends the generation, without a Generation; closing twice is fine."""
        self._closed.set()


class _Tokens:
    """The greedy tokens after a prompt, and how they came to an end."""

    def __init__(
        self, folder: ModelFolder, sequence: Sequencer, prompt: list[int], closed: threading.Event
    ) -> None:
        self._folder = folder
        self._sequence = sequence
        self._ids = prompt
        self._closed = closed
        self.made = 0
        self.finish_reason: Literal["stop", "length"] = "length"

    def up_to(self, tokens_max: int) -> Iterator[int]:
        """At most that many tokens, without the one that stops; fewer once closed."""
        seen = np.array(self._ids, dtype=np.int64)
        scores = self._read_prompt()
        while scores is not None and not self._closed.is_set():
            token = int(penalised(scores, seen, self._folder.repetition_penalty).argmax())
            self.made += 1
            if token in self._folder.stop_ids:
                self.finish_reason = "stop"
                return
            yield token
            if self.made >= tokens_max:
                return
            seen = np.append(seen, token)
            scores = self._sequence.step([token])

    def _read_prompt(self) -> Scores | None:
        scores = None
        for start in range(0, len(self._ids), PROMPT_CHUNK_TOKENS):
            if self._closed.is_set():
                return None
            scores = self._sequence.step(self._ids[start : start + PROMPT_CHUNK_TOKENS])
        return scores


def penalised(scores: Scores, seen: npt.NDArray[np.int64], penalty: float) -> Scores:
    """The scores with every token already seen made less likely, as transformers does it."""
    if penalty == 1.0:
        return scores
    scores = scores.copy()
    of_seen = scores[seen]
    scores[seen] = np.where(of_seen < 0, of_seen * penalty, of_seen / penalty)
    return scores


def load_text_model(folder: Path, *, threads: int) -> TextModel:
    """The folder's model, loaded and proven by one step; Unusable if it cannot be."""
    model = read_folder(folder)
    encoder = PromptEncoder(model, compile_template(model))
    return TextModel(model, open_decoder(model.onnx, threads=threads), encoder)
