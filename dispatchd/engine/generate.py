"""Text generation: a conversation in, pieces of text out, one token at a time."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.chat import compile_template
from dispatchd.engine.decoder import Decoder, Scores, open_decoder
from dispatchd.engine.folder import ModelFolder, read_folder
from dispatchd.engine.grammar import Grammar, Grammars
from dispatchd.engine.prompt import PromptEncoder
from dispatchd.engine.request import TextRequest
from dispatchd.engine.sampling import draw, penalise, seeded
from dispatchd.engine.stop import StopStrings
from dispatchd.engine.text import Detokenizer

PROMPT_CHUNK_TOKENS = 256

FinishReason = Literal["stop", "length"]


class Generation(msgspec.Struct, frozen=True):
    """The end of a generation; `completion_tokens` counts the token that ended it, too."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason


class TextModel:
    """A loaded language model; several threads may generate at once."""

    def __init__(self, folder: ModelFolder, decoder: Decoder, encoder: PromptEncoder) -> None:
        self.name = folder.name
        self.device = decoder.device
        self.context_tokens = folder.context_tokens
        self._folder = folder
        self._decoder = decoder
        self._encoder = encoder
        self._grammars = Grammars(folder)

    def generate(self, request: TextRequest) -> "GenerationStream":
        """Text pieces (whole characters, never empty), then exactly one Generation.

        The pieces joined are the Generation's text. All work is done while iterating, and so
        ExecutionFailed (`prompt_too_long`, `invalid_messages`, `invalid_schema`) is raised with the
        first piece.
        """
        closed = threading.Event()
        return GenerationStream(self._pieces(request, closed), closed)

    def _pieces(self, request: TextRequest, closed: threading.Event) -> Iterator[str | Generation]:
        ids = self._encoder.encode(request.messages)
        room = self.context_tokens - len(ids)
        if room < 1 or not ids:
            raise ExecutionFailed("prompt_too_long" if ids else "empty_prompt", final=True)
        grammar = self._grammars.start(request.json_schema)
        tokens = _Tokens(self._folder, self._decoder, request, closed, grammar)
        texts = _texts(Detokenizer(self._folder.tokenizer), tokens.after(ids, room))
        stop = StopStrings(request.stop)
        pieces = []
        for piece in _until(stop, texts):
            pieces.append(piece)
            yield piece
        reason = "stop" if stop.found else tokens.finish_reason
        yield Generation("".join(pieces), len(ids), tokens.made, reason)


class GenerationStream(Iterator[str | Generation]):
    """A generation under way; `close` may be called from any thread and stops it within a step."""

    def __init__(self, pieces: Iterator[str | Generation], closed: threading.Event) -> None:
        self._pieces = pieces
        self._closed = closed

    def __next__(self) -> str | Generation:
        if self._closed.is_set():
            raise StopIteration
        piece = next(self._pieces)
        if self._closed.is_set():
            raise StopIteration
        return piece

    def close(self) -> None:
        """Ends the generation, without a Generation; closing twice is fine."""
        self._closed.set()


class _Tokens:
    """The tokens after a prompt, and how they came to an end."""

    def __init__(
        self,
        folder: ModelFolder,
        decoder: Decoder,
        request: TextRequest,
        closed: threading.Event,
        grammar: Grammar | None,
    ) -> None:
        self._sequence = decoder.start()
        self._in_pieces = decoder.in_pieces
        self._grammar = grammar
        self._request = request
        self._chance = seeded(request.seed)
        self._stop_ids = folder.stop_ids | request.stop_ids
        self._penalty = request.repetition_penalty or folder.repetition_penalty
        self._closed = closed
        self.made = 0
        self.finish_reason: FinishReason = "length"

    def after(self, prompt: list[int], room: int) -> Iterator[int]:
        """Those that are text: as many as there is room and was asked for, fewer once closed."""
        seen = np.array(prompt, dtype=np.int64)
        scores = self._read(prompt)
        while scores is not None:
            token = self._draw(penalised(scores, seen, self._penalty))
            self.made += 1
            if token not in self._stop_ids:
                yield token
            elif not self._request.ignore_eos:
                self.finish_reason = "stop"
                return
            if self._grammar is not None and self._grammar.over:
                self.finish_reason = "stop"
                return
            if self.made >= min(self._request.max_tokens, room):
                return
            seen = np.append(seen, token)
            scores = self._step([token])

    def _read(self, prompt: list[int]) -> Scores | None:
        scores, piece = None, PROMPT_CHUNK_TOKENS if self._in_pieces else len(prompt)
        for start in range(0, len(prompt), piece):
            scores = self._step(prompt[start : start + piece])
        return scores

    def _step(self, ids: list[int]) -> Scores | None:
        return None if self._closed.is_set() else self._sequence.step(ids)

    def _draw(self, scores: Scores) -> int:
        wanted = self._request
        if self._grammar is not None:
            scores = scores.copy()
            self._grammar.mask(scores)
        token = draw(
            scores,
            self._chance,
            temperature=wanted.temperature,
            top_k=wanted.top_k,
            top_p=wanted.top_p,
            min_p=wanted.min_p,
        )
        if self._grammar is not None:
            self._grammar.take(token)
        return token


def _texts(words: Detokenizer, tokens: Iterator[int]) -> Iterator[str]:
    for token in tokens:
        yield words.add(token)
    yield words.end()


def _until(stop: StopStrings, texts: Iterator[str]) -> Iterator[str]:
    """The texts, without empty ones, up to the first stop string."""
    for text in texts:
        if piece := stop.add(text):
            yield piece
        if stop.found:
            return
    if piece := stop.end():
        yield piece


def penalised(scores: Scores, seen: npt.NDArray[np.int64], penalty: float) -> Scores:
    """The scores with every token already seen made less likely, as transformers does it."""
    if penalty == 1.0:
        return scores
    scores = scores.copy()
    penalise(scores, seen, penalty)
    return scores


def load_text_model(folder: Path, *, threads: int) -> TextModel:
    """The folder's model, loaded and proven by one step; Unusable if it cannot be."""
    model = read_folder(folder)
    encoder = PromptEncoder(model, compile_template(model))
    return TextModel(model, open_decoder(model.onnx, model.ports, threads=threads), encoder)
