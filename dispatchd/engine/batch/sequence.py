"""One generation under way: its prompt, its tokens, its text, and when it is over."""

import numpy as np

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.batch import Listener
from dispatchd.engine.batch.pool import Ids
from dispatchd.engine.folder import ModelFolder
from dispatchd.engine.generate import FinishReason, Generation
from dispatchd.engine.grammar import Grammar
from dispatchd.engine.request import TextRequest
from dispatchd.engine.sampling import Ranked, Scores, draw, draw_ranked, penalise, seeded
from dispatchd.engine.stop import StopStrings
from dispatchd.engine.text import Detokenizer

_RANKED_MAX = 1024  # of more than so many highest scores, all are taken


class Sequence:
    """A generation's state, which the engine's thread alone moves on.

    Prompt and text together are at most `tokens_max`.
    """

    def __init__(
        self,
        model: ModelFolder,
        request: TextRequest,
        prompt: list[int],
        tokens_max: int,
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
        self._stop_ids = model.stop_ids | request.stop_ids
        self._penalty = request.repetition_penalty or model.repetition_penalty
        self._chance = seeded(request.seed)
        self._words = Detokenizer(model.tokenizer)
        self._stop = StopStrings(request.stop)
        self._pieces: list[str] = []
        self._made_max = min(request.max_tokens, tokens_max - len(prompt))
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

    @property
    def depth(self) -> int:
        """How many of the highest scores decide which token comes next; 0 where all do."""
        wanted = self._request
        if self._penalty != 1 or self._grammar is not None or wanted.top_k > _RANKED_MAX:
            return 0
        return 1 if wanted.temperature == 0 else wanted.top_k

    def take(self, scores: Scores | Ranked) -> None:
        """Goes on by one token, drawn from all scores, [vocab], or from the `depth` highest.

        They may be changed.
        """
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

    def unwanted(self) -> bool:
        """Whether it was closed; then it is over."""
        if self.closed:
            self.fail(ExecutionFailed("cancelled"))
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

    def _draw(self, scores: Scores | Ranked) -> int:
        wanted = self._request
        if isinstance(scores, Ranked):
            return draw_ranked(
                scores,
                self._chance,
                temperature=wanted.temperature,
                top_p=wanted.top_p,
                min_p=wanted.min_p,
            )
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
