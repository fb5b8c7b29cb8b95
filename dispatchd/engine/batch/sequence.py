"""One generation under way: its prompt, its tokens, its text, and when it is over."""

import numpy as np
from msgspec import Struct

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.batch import Listener
from dispatchd.engine.batch.pool import Ids
from dispatchd.engine.folder import ModelFolder
from dispatchd.engine.generate import FinishReason, Generation
from dispatchd.engine.grammar import Grammar
from dispatchd.engine.request import TextRequest
from dispatchd.engine.sampling import Scores, draw, penalise, seeded
from dispatchd.engine.stop import StopStrings
from dispatchd.engine.text import Detokenizer


class Limits(Struct, frozen=True):
    """When a generation must be over: tokens in its slot, and a time of the engine's clock."""

    tokens: int
    deadline_seconds: float | None = None


class Sequence:
    """A generation's state, which the engine's thread alone moves on."""

    def __init__(
        self,
        model: ModelFolder,
        request: TextRequest,
        prompt: list[int],
        limits: Limits,
        listener: Listener,
        grammar: Grammar | None = None,
    ) -> None:
        self.prompt: Ids = np.array(prompt, dtype=np.int64)
        self.slot = -1
        self.length = 0  # tokens in the slot's caches
        self.over = False
        self.closed = False  # set from any thread
        self._request = request
        self._listener = listener
        self._grammar = grammar
        self._deadline_seconds = limits.deadline_seconds
        self._stop_ids = model.stop_ids | request.stop_ids
        self._penalty = request.repetition_penalty or model.repetition_penalty
        self._chance = seeded(request.seed)
        self._words = Detokenizer(model.tokenizer)
        self._stop = StopStrings(request.stop)
        self._pieces: list[str] = []
        self._made_max = min(request.max_tokens, limits.tokens - len(prompt))
        self._seen: Ids = np.concatenate([self.prompt, np.zeros(self._made_max, dtype=np.int64)])
        self._made = 0

    @property
    def unread(self) -> int:
        """How many tokens of the prompt are not in the caches yet."""
        return max(0, len(self.prompt) - self.length)

    @property
    def last(self) -> int:
        """The token that the next decoding step appends."""
        return int(self._seen[len(self.prompt) + self._made - 1])

    def take(self, scores: Scores) -> None:
        """Goes on by one token, drawn from these scores, [vocab], which may be changed."""
        token = self._draw(scores)
        self._seen[len(self.prompt) + self._made] = token
        self._made += 1
        if token not in self._stop_ids:
            self._say(self._stop.add(self._words.add(token)))
            if self._stop.found:
                return self._finish("stop")
        elif not self._request.ignore_eos:
            return self._finish("stop")
        if self._grammar is not None and self._grammar.over:
            return self._finish("stop")
        if self._made >= self._made_max:
            self._finish("length")
        return None

    def unwanted(self, now_seconds: float) -> bool:
        """Whether it was closed or is late; then it is over."""
        late = self._deadline_seconds is not None and now_seconds >= self._deadline_seconds
        if self.closed or late:
            self.fail(ExecutionFailed("cancelled" if self.closed else "deadline_exceeded"))
        return self.over

    def fail(self, error: Exception) -> None:
        """Ends it without a Generation."""
        if not self.over:
            self.over = True
            self._listener.end(error)

    def _finish(self, reason: FinishReason) -> None:
        if not self._stop.found:
            self._say(self._stop.add(self._words.end()))
        if not self._stop.found:
            self._say(self._stop.end())
        if self._stop.found:
            reason = "stop"
        self.over = True
        text = "".join(self._pieces)
        self._listener.end(Generation(text, len(self.prompt), self._made, reason))

    def _say(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            self._listener.give(piece)

    def _draw(self, scores: Scores) -> int:
        wanted = self._request
        if self._penalty != 1:
            penalise(scores, self._seen[: len(self.prompt) + self._made], self._penalty)
        if self._grammar is not None:
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
