"""The figures in the embedded chat model's card, from the shipped model through the real engine."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from dispatchd.engine.catalog import DEFAULT_LLM, find
from dispatchd.engine.generate import Generation
from dispatchd.engine.load import LanguageModel, load_language_model
from dispatchd.engine.request import Message, TextRequest
from scripts.lm_training import texts
from scripts.lm_training.held_out import Question, questions

SLOTS = 16
_MAX_TOKENS = 200
_SYSTEM = Message("system", "You are a helpful assistant. Answer in one paragraph.")
_EARLIER = (Message("user", "hello"), Message("assistant", "Hello! How can I help you today?"))

# Read by a person; the card shows what comes back, the bad with the good.
PROMPTS = (
    "Explain quantum computing in simple terms.",
    "Explain quantum computing in one paragraph.",
    "whats a merkle tree",
    "I'm new to crypto. What is a faucet and why do I need one?",
    "difference between proof of work and proof of stake?",
    "What is x402?",
    "what is the capital of peru",
    "What is 7 times 8?",
    "What is 12 times 12?",
    "Write a haiku about the sea.",
    "Write a haiku about my dog.",
    "Give me three ideas for a hackathon project.",
    "Write a Python function that reverses a string.",
    "Write a Python function that sorts a list.",
    "Who was Ada Lovelace?",
    "Who was Cleopatra?",
    "What is the weather in Berlin?",
    "Translate 'good night' to Spanish.",
    "What is a hash?",
    "Is Python better than Java?",
    "How do I install Docker?",
    "Why is the sky blue?",
    "Why is grass green?",
    "Summarize: The council met on Monday and agreed to repair the bridge before winter.",
    "I feel tired today",
    "Tell me about dinosaurs",
    "What is the difference between a star and a comet?",
    "Was ist eine Blockchain?",
    "How does a smart contract get its data?",
    "asdfgh",
)


class _Tally(Struct):
    """What came of the questions of one kind."""

    asked: int = 0
    right: int = 0
    declined: int = 0
    other: int = 0
    unended: int = 0


def tables() -> list[str]:
    """The card's tables in Markdown; asks the shipped model about a thousand questions."""
    model = load_language_model(find(DEFAULT_LLM).path, threads=1, slots=SLOTS)
    return [figures(model), samples(model)]


def figures(model: LanguageModel) -> str:
    """How many questions of each kind are answered word for word, declined, or else."""
    lines = [
        "| questions | asked | right | declined | another answer |",
        "| --- | --- | --- | --- | --- |",
    ]
    unended = 0
    for name, asked, before in _kinds():
        tally = _tally(model, asked, before)
        unended += tally.unended
        lines.append(
            f"| {name} | {tally.asked} | {tally.right} | {tally.declined} | {tally.other} |"
        )
    lines.append(f"| answers to all these that did not end by themselves | | {unended} | | |")
    return "\n".join(lines)


def samples(model: LanguageModel) -> str:
    """What the model answers to `PROMPTS`, unedited."""
    answers = _answers(model, PROMPTS, ())
    rows = [
        f"| {prompt} | {answer.text.replace(chr(10), '<br>')} |"
        for prompt, answer in zip(PROMPTS, answers, strict=True)
    ]
    return "\n".join(["| prompt | answer |", "| --- | --- |", *rows])


def _kinds() -> list[tuple[str, list[tuple[str, str]], Sequence[Message]]]:
    """Name, questions with their expected answers, and the messages before; none is a decline."""
    found = questions()
    new = [
        (question.prompt, _expected()[question.about or ""])
        for kind in ("topics", "exchanges", "comparisons")
        for question in found[kind]
    ]
    return [
        ("known, in wordings that it was trained on", _trained(), ()),
        ("known, in new wordings", new, ()),
        ("the same under a system message", new, (_SYSTEM,)),
        ("the same as a second turn", new, _EARLIER),
        ("near a topic, but not answered by it", _unanswered(found["near"]), ()),
        ("unknown", _unanswered(found["unknown"]), ()),
    ]


def _expected() -> dict[str, str]:
    """The answers by the first name or prompt of what they are about."""
    return (
        {topic.names[0]: topic.answer for topic in texts.topics()}
        | {exchange.prompts[0]: exchange.answer for exchange in texts.exchanges()}
        | {comparison.pair[0]: comparison.answer for comparison in texts.comparisons()}
    )


def _trained() -> list[tuple[str, str]]:
    named = [(f"What is {topic.names[0]}?", topic.answer) for topic in texts.topics()]
    whole = [(exchange.prompts[0], exchange.answer) for exchange in texts.exchanges()]
    pairs = [
        (f"What is the difference between {each.pair[0]} and {each.pair[1]}?", each.answer)
        for each in texts.comparisons()
    ]
    capitals = [
        (f"What is the capital of {country}?", texts.capital_answer(country, capital))
        for country, capital in texts.capitals().items()
    ]
    return named + whole + pairs + capitals


def _unanswered(asked: list[Question]) -> list[tuple[str, str]]:
    return [(question.prompt, "") for question in asked]


def _tally(model: LanguageModel, asked: list[tuple[str, str]], before: Sequence[Message]) -> _Tally:
    tally = _Tally(len(asked))
    answers = _answers(model, [prompt for prompt, _ in asked], before)
    for (_, expected), answer in zip(asked, answers, strict=True):
        declined = texts.is_decline(answer.text)
        tally.declined += declined
        # Where there is no answer, to decline is right.
        right = answer.text == expected if expected else declined
        tally.right += right
        tally.other += not right and not declined
        tally.unended += answer.finish_reason != "stop"
    return tally


def _answers(
    model: LanguageModel, prompts: Sequence[str], before: Sequence[Message]
) -> list[Generation]:
    """Greedy answers, as many at once as there are slots."""

    def answer(prompt: str) -> Generation:
        messages = (*before, Message("user", prompt))
        *_, end = model.generate(TextRequest(messages, _MAX_TOKENS))
        if not isinstance(end, Generation):
            raise TypeError("a generation ends with its sum")
        return end

    with ThreadPoolExecutor(SLOTS) as threads:
        return list(threads.map(answer, prompts))
