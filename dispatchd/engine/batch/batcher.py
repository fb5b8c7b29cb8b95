"""The engine's one thread: generations go in from any thread, and their text comes out."""

import queue
import threading
from collections.abc import Iterator

from msgspec import Struct

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine import Device
from dispatchd.engine.batch import Listener
from dispatchd.engine.batch.sequence import Sequence
from dispatchd.engine.batch.turns import Turns
from dispatchd.engine.folder import ModelFolder
from dispatchd.engine.generate import Generation
from dispatchd.engine.grammar import Grammars
from dispatchd.engine.prompt import PromptEncoder
from dispatchd.engine.request import TextRequest


class Determinism(Struct, frozen=True, omit_defaults=True):
    """What greedy or seeded text depends on besides the request.

    On the CPU, where all of it is the same, so is the text, whatever else runs beside it. A GPU's
    products are rounded as the size of the batch has it.
    """

    model_sha256: str
    precision: str
    provider: Device
    cpu: str
    runtime: str
    gpu: str = ""


class Ticket:
    """A generation that was handed in."""

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence

    def close(self) -> None:
        """From any thread: ends the generation within a step, and frees its slot."""
        self._sequence.closed = True


class Batcher:
    """A prepared model at work; any number of threads may hand in generations."""

    def __init__(
        self,
        folder: ModelFolder,
        encoder: PromptEncoder,
        turns: Turns,
        *,
        context_tokens: int,
        determinism: Determinism,
    ) -> None:
        self.name = folder.name
        self.device = determinism.provider
        self.context_tokens = context_tokens
        self.determinism = determinism
        self._folder = folder
        self._encoder = encoder
        self._grammars = Grammars(folder)
        self._turns = turns
        self._arrivals: queue.SimpleQueue[Sequence | None] = queue.SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: TextRequest, listener: Listener) -> Ticket:
        """Encodes the prompt here, on the caller's thread, and queues the generation.

        Raises ExecutionFailed: `prompt_too_long`, `empty_prompt`, `invalid_messages: …`,
        `invalid_schema: …`. Whoever has a deadline closes the ticket.
        """
        prompt = self._encoder.encode(request.messages)
        if not prompt or len(prompt) >= self.context_tokens:
            raise ExecutionFailed("prompt_too_long" if prompt else "empty_prompt", final=True)
        grammar = self._grammars.start(request.json_schema)
        sequence = Sequence(self._folder, request, prompt, self.context_tokens, listener, grammar)
        self._arrivals.put(sequence)
        return Ticket(sequence)

    def generate(self, request: TextRequest) -> "TextStream":
        """Text pieces, then exactly one Generation, for a thread that waits for them."""
        return TextStream(self, request)

    def close(self) -> None:
        """Ends all generations with `cancelled`, and the thread."""
        self._stopping = True
        self._arrivals.put(None)
        self._thread.join()

    def _work(self) -> None:
        while self._receive():
            try:
                self._turns.turn()
            except Exception as error:  # noqa: BLE001 # whoever waits for a text must be told
                self._turns.fail(error)
        while not self._arrivals.empty():
            if (sequence := self._arrivals.get()) is not None:
                self._turns.add(sequence)
        self._turns.fail(ExecutionFailed("cancelled"))

    def _receive(self) -> bool:
        """Takes in what has arrived, and waits for it where there is nothing else to do."""
        while self._turns.idle or not self._arrivals.empty():
            sequence = self._arrivals.get()
            if sequence is not None:
                self._turns.add(sequence)
            if self._stopping:
                return False
        return not self._stopping


class TextStream(Iterator[str | Generation]):
    """A generation under way; begun with the first piece, as ExecutionFailed is raised there."""

    def __init__(self, batcher: Batcher, request: TextRequest) -> None:
        self._batcher = batcher
        self._request = request
        self._heard: queue.SimpleQueue[str | Generation | Exception] = queue.SimpleQueue()
        self._ticket: Ticket | None = None
        self._ended = False

    def __next__(self) -> str | Generation:
        if self._ended:
            raise StopIteration
        if self._ticket is None:
            self._ticket = self._batcher.submit(self._request, self)
        heard = self._heard.get()
        if self._ended:
            raise StopIteration
        self._ended = not isinstance(heard, str)
        if isinstance(heard, Exception):
            raise heard
        return heard

    def close(self) -> None:
        """Ends the generation, without a Generation; closing twice is fine."""
        self._ended = True
        if self._ticket is not None:
            self._ticket.close()

    def give(self, piece: str) -> None:
        """From the engine's thread."""
        self._heard.put(piece)

    def end(self, outcome: Generation | Exception) -> None:
        """From the engine's thread."""
        self._heard.put(outcome)
