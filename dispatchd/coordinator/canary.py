"""Canaries: small jobs of the coordinator's own, so that a worker can show that it has its key.

What a worker is sent looks like anybody's job. The text is random and short, so that a summary may
well be the whole of it; of the answer only the number of words is judged.
"""

import secrets
from uuid import uuid4

import msgspec
from msgspec import Struct

from dispatchd.core.card import WorkerCard
from dispatchd.core.ecma import ecma_json
from dispatchd.core.job import Job, JobType, Millis, Privacy, Tier

_WORDS_MIN, _WORDS_MAX = 8, 16
_SYLLABLES_MAX = 3
_CONSONANTS = "bdfgklmnprstv"
_VOWELS = "aeiou"
_NEW_TOKENS = 8
_USER_BYTES = 3


class _Counted(Struct):
    word_count: float


class _Summarized(Struct):
    input: str


def canary_for(card: WorkerCard, now: Millis) -> Job:
    """A job that the worker says it can do, under an id that nobody can have seen before."""
    job_type = JobType.TASK if JobType.TASK in card.capabilities else JobType.LLM_INFER
    return Job(
        id=str(uuid4()),
        job_type=job_type,
        tier=Tier.CHEAP if job_type is JobType.TASK else Tier.FAST,
        privacy=Privacy.PUBLIC,
        user_id=f"user_{secrets.token_hex(_USER_BYTES)}",
        payload=ecma_json({"job_type": job_type.value} | _task(job_type, _sentence())),
        created_at=now,
        rank=0,
        attempt=1,
        worker_key=card.provider_pubkey,
    )


def passed(canary: Job, output: str) -> bool | None:
    """Whether the answer is right; None where nobody can say."""
    if canary.job_type is not JobType.TASK:
        return None
    words = msgspec.json.decode(canary.payload, type=_Summarized).input.split()
    try:
        return msgspec.json.decode(output, type=_Counted).word_count == len(words)
    except (msgspec.DecodeError, RecursionError):
        return False


def _task(job_type: JobType, text: str) -> dict[str, object]:
    if job_type is JobType.TASK:
        return {"task_type": "summarize", "input": text}
    return {"prompt": text, "max_tokens": _NEW_TOKENS}


def _sentence() -> str:
    count = _WORDS_MIN + secrets.randbelow(_WORDS_MAX - _WORDS_MIN + 1)
    return " ".join(_word() for _ in range(count)).capitalize() + "."


def _word() -> str:
    count = 1 + secrets.randbelow(_SYLLABLES_MAX)
    return "".join(secrets.choice(_CONSONANTS) + secrets.choice(_VOWELS) for _ in range(count))
