"""The engine's figures: tokens, how soon they come, and how many share a step."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

_FIRST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_NEXT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class EngineMetrics:
    """`EngineObserver` of the node's own worker; any thread may tell it something.

    `told` is who shows what runs graphs.
    """

    def __init__(self, registry: CollectorRegistry, told: Callable[[str], None]) -> None:
        self._told = told
        self._first = Histogram(
            "dispatchd_llm_time_to_first_token_seconds",
            "From the beginning of a generation to its first text.",
            buckets=_FIRST_BUCKETS,
            registry=registry,
        )
        self._next = Histogram(
            "dispatchd_llm_time_between_tokens_seconds",
            "From one text of a generation to the next; a token that ends no character has none.",
            buckets=_NEXT_BUCKETS,
            registry=registry,
        )
        self._batch = Histogram(
            "dispatchd_llm_batch_sequences",
            "Generations that shared a decoding step.",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        tokens = Counter(
            "dispatchd_llm_tokens_total",
            "Tokens of whole generations, read (prompt) and made (completion).",
            ("kind",),
            registry=registry,
        )
        self._prompt, self._completion = tokens.labels("prompt"), tokens.labels("completion")

    def loaded(self, runtime: str) -> None:
        """What runs graphs here has been loaded."""
        self._told(runtime)

    def stepped(self, sequences: int) -> None:
        """A decoding step has given each of so many generations a token."""
        self._batch.observe(sequences)

    def first_text(self, seconds: float) -> None:
        """A generation's first text came so long after its beginning."""
        self._first.observe(seconds)

    def next_text(self, seconds: float) -> None:
        """Text came so long after the text before it."""
        self._next.observe(seconds)

    def generated(self, prompt_tokens: int, completion_tokens: int) -> None:
        """A generation is whole."""
        self._prompt.inc(prompt_tokens)
        self._completion.inc(completion_tokens)
