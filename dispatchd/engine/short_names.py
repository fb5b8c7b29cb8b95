"""Short names for models that suit laptops, with what they weigh."""

import msgspec


class ShortName(msgspec.Struct, frozen=True):
    """A published model. Sizes are rounded; what is pulled is measured before it is pulled."""

    name: str
    repo: str
    parameters: int
    download_bytes: int
    memory_bytes: int  # about, as int8, for one job of at most 2048 tokens
    gated: bool = False


_MB = 1_000_000

SHORT_NAMES = (
    ShortName(
        "smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008, 271 * _MB, 440 * _MB
    ),
    ShortName(
        "smollm2-360m", "HuggingFaceTB/SmolLM2-360M-Instruct", 361_821_120, 726 * _MB, 770 * _MB
    ),
    ShortName(
        "smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711_376_384, 3425 * _MB, 2870 * _MB
    ),
    ShortName("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B-Instruct", 494_032_768, 999 * _MB, 970 * _MB),
    ShortName("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304, 3099 * _MB, 2280 * _MB),
    ShortName("qwen3-0.6b", "Qwen/Qwen3-0.6B", 596_049_920, 1515 * _MB, 1530 * _MB),
    ShortName(
        "llama3.2-1b",
        "meta-llama/Llama-3.2-1B-Instruct",
        1_235_814_400,
        2481 * _MB,
        2050 * _MB,
        gated=True,
    ),
)


def short_name(name: str) -> ShortName | None:
    """The model of that short name."""
    return next((each for each in SHORT_NAMES if each.name == name.lower()), None)


def short_name_of(repo: str) -> ShortName | None:
    """The same, by its repository."""
    return next((each for each in SHORT_NAMES if each.repo.lower() == repo.lower()), None)
