"""What the engine does next: decisions only, from values to a value."""

from collections.abc import Iterable, Sequence

CHUNK_TOKENS = 64
# Longer than this no decoding sequence waits for prompts, unless a single chunk takes longer.
READ_SECONDS_MAX = 0.16


def next_reader(left: Sequence[int], chunks_read: int, seconds_spent: float) -> int | None:
    """Which of the sequences whose prompts are unread reads a chunk now; None is: decode first.

    `left` has their unread tokens, in the order of arrival; `chunks_read` counts all that were
    ever read, `seconds_spent` what those since the last decoding step took, 0 before the first.
    Every other chunk is the oldest sequence's, so that no long prompt starves; the others go where
    the first token is nearest, so that no short prompt waits for a long one.
    """
    if not left or seconds_spent >= READ_SECONDS_MAX:
        return None
    if chunks_read % 2 == 0:
        return 0
    return min(range(len(left)), key=left.__getitem__)


def chunk_end(start: int, prompt_tokens: int) -> int:
    """Where the chunk that starts there ends.

    Chunks lie at multiples of their size whatever else happens, and so a prompt is always cut
    alike: its keys and values are the same bits in any company. A last chunk of one token takes
    another from the chunk before it, since products with a single row are rounded otherwise; so
    the bits do not depend on the size of chunks either.
    """
    end = (start // CHUNK_TOKENS + 1) * CHUNK_TOKENS
    if end == prompt_tokens - 1 and start < end - 1:
        return end - 1
    return end if end < prompt_tokens - 1 else prompt_tokens


def best_seat(free: Iterable[int], shared: Sequence[int], known: Sequence[int]) -> int:
    """Of the free slots, the one that knows most of the prompt, else the least of any other."""
    return min(free, key=lambda slot: (-shared[slot], known[slot], slot))


def pool_tokens(*, context_tokens: int, token_bytes: int, bytes_max: int) -> int:
    """How long each sequence may get, where a token in every slot takes `token_bytes` together.

    Never above the context.
    """
    return min(context_tokens, bytes_max // token_bytes)
