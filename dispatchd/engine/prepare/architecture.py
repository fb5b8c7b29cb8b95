"""What a published `config.json` says about a decoder, or why it is not one that can be built."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from dispatchd.core.errors import Unusable
from dispatchd.core.sentence import plain_sentence
from dispatchd.engine.parse import parse

Family = Literal["llama", "mistral", "qwen2", "qwen3"]

FAMILIES: tuple[Family, ...] = get_args(Family)
ROPE_TYPES = ("default", "linear", "llama3")

_ROPE_THETA = 10_000.0  # what every family takes where its config says nothing
# GroupQueryAttention turns pairs of numbers in groups of eight.
_HEAD_SIZE_MULTIPLE = 8

_Size = Annotated[int, msgspec.Meta(gt=0)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]


class LinearScaling(msgspec.Struct, frozen=True, kw_only=True):
    """Positions are divided by the factor."""

    factor: _Positive


class Llama3Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """Long wavelengths are stretched by the factor, short ones kept, those between blended."""

    factor: _Positive
    low_freq_factor: _Positive
    high_freq_factor: _Positive
    original_max_position_embeddings: _Size


class Rope(msgspec.Struct, frozen=True):
    """Rotary position embedding over the whole head."""

    theta: float
    scaling: LinearScaling | Llama3Scaling | None = None


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """A decoder's shape; sizes count numbers, `context_tokens` positions.

    `tied` is None where the config leaves it to the weights. `windows` has, for each layer, how
    many positions (its own among them) a token may attend to, None for all of them.
    """

    family: Family
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_size: int
    vocab_size: int
    context_tokens: int
    norm_epsilon: float
    rope: Rope
    tied: bool | None
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    windows: tuple[int | None, ...]


class _Config(msgspec.Struct, frozen=True):
    hidden_size: _Size
    intermediate_size: _Size
    num_hidden_layers: _Size
    num_attention_heads: _Size
    vocab_size: _Size
    max_position_embeddings: _Size
    num_key_value_heads: _Size | None = None
    head_dim: _Size | None = None
    rms_norm_eps: _Positive = 1e-6
    hidden_act: str = "silu"
    rope_theta: _Positive | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    partial_rotary_factor: float = 1.0
    tie_word_embeddings: bool | None = None
    attention_bias: bool = False
    mlp_bias: bool = False
    sliding_window: int | None = None
    use_sliding_window: bool = False
    max_window_layers: int | None = None
    layer_types: list[str] | None = None
    quantization_config: dict[str, Any] | None = None


class _Kind(msgspec.Struct, frozen=True):
    model_type: str | None = None
    architectures: list[str] | None = None


def read_architecture(folder: Path) -> Architecture:
    """The architecture that the folder's config.json describes; Unusable if it is not a known one.

    The sentence of a refusal names what was found and what is known.
    """
    path = folder / "config.json"
    family = _family(path, parse(path, _Kind))
    config = parse(path, _Config)
    _check(path, config)
    head_size = config.head_dim or config.hidden_size // config.num_attention_heads
    if head_size % _HEAD_SIZE_MULTIPLE:
        raise _refused(path, f"heads of {head_size} numbers, not a multiple of 8")
    return Architecture(
        family=family,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_size=head_size,
        vocab_size=config.vocab_size,
        context_tokens=config.max_position_embeddings,
        norm_epsilon=config.rms_norm_eps,
        rope=_rope(path, config),
        tied=config.tie_word_embeddings,
        qkv_bias=family == "qwen2" or (family in {"llama", "qwen3"} and config.attention_bias),
        output_bias=family in {"llama", "qwen3"} and config.attention_bias,
        mlp_bias=family == "llama" and config.mlp_bias,
        qk_norm=family == "qwen3",
        windows=_windows(path, family, config),
    )


def _family(path: Path, kind: _Kind) -> Family:
    classes = kind.architectures or []
    for family in FAMILIES:
        if kind.model_type == family:
            if not classes or f"{family.capitalize()}ForCausalLM" in classes:
                return family
            raise _refused(path, f"a {classes[0]}, which is no text generator")
    found = classes[0] if classes else kind.model_type
    known = ", ".join(FAMILIES)
    raise Unusable(
        f"{path} describes the architecture {found or 'without a name'}"
        f" (model_type {kind.model_type!r}), which cannot be prepared: those known are {known}."
    )


def _check(path: Path, config: _Config) -> None:
    if config.quantization_config is not None:
        method = config.quantization_config.get("quant_method", "a method without a name")
        raise _refused(path, f"weights that are quantized already ({method}); take the originals")
    if config.hidden_act != "silu":
        raise _refused(path, f"the activation {config.hidden_act!r}; only silu is known")
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    if heads % (kv_heads or heads):
        raise _refused(path, f"{heads} heads that {kv_heads} key/value heads cannot share evenly")
    if config.head_dim is None and config.hidden_size % heads:
        raise _refused(path, f"{heads} heads that do not divide {config.hidden_size} evenly")


def _rope(path: Path, config: _Config) -> Rope:
    """`rope_parameters` as transformers 5 writes them, else the two older fields."""
    given = {**(config.rope_scaling or {}), **(config.rope_parameters or {})}
    if any(isinstance(value, dict) for value in given.values()):
        raise _refused(path, "rotary embeddings that differ between layers")
    partial = given.get("partial_rotary_factor", config.partial_rotary_factor)
    if partial != 1:
        raise _refused(path, f"rotary embeddings over a part ({partial}) of each head")
    theta = given.get("rope_theta") or config.rope_theta or _ROPE_THETA
    if not isinstance(theta, int | float) or theta <= 0:
        raise Unusable(f"{path} is broken (rope_theta: expected a number above zero).")
    return Rope(float(theta), _scaling(path, given))


def _scaling(path: Path, given: dict[str, Any]) -> LinearScaling | Llama3Scaling | None:
    kind = given.get("rope_type") or given.get("type") or "default"
    shape: type[LinearScaling | Llama3Scaling]
    match kind:
        case "default":
            return None
        case "linear":
            shape = LinearScaling
        case "llama3":
            shape = Llama3Scaling
        case _:
            raise _refused(
                path, f"the rope scaling {kind!r}; those known are {', '.join(ROPE_TYPES)}"
            )
    try:
        return msgspec.convert(given, shape)
    except msgspec.ValidationError as error:
        raise Unusable(f"{path} is broken (rope scaling: {plain_sentence(error)}).") from error


def _windows(path: Path, family: Family, config: _Config) -> tuple[int | None, ...]:
    layers = config.num_hidden_layers
    window = config.sliding_window
    sliding = family == "mistral" or (family in {"qwen2", "qwen3"} and config.use_sliding_window)
    if window is None or not sliding:
        return (None,) * layers
    if window < 1:
        raise _refused(path, f"a sliding window of {window} positions")
    return tuple(window if slides else None for slides in _sliding_layers(path, family, config))


def _sliding_layers(path: Path, family: Family, config: _Config) -> list[bool]:
    layers = config.num_hidden_layers
    if config.layer_types is None:
        first = 0 if family == "mistral" else config.max_window_layers
        # Both Qwen families leave the first 28 layers alone where their config says nothing.
        return [layer >= (28 if first is None else first) for layer in range(layers)]
    strange = set(config.layer_types) - {"full_attention", "sliding_attention"}
    if strange or len(config.layer_types) != layers:
        what = ", ".join(sorted(strange)) or f"{len(config.layer_types)} of {layers}"
        raise _refused(path, f"layer_types that are not known ({what})")
    return [kind == "sliding_attention" for kind in config.layer_types]


def _refused(path: Path, what: str) -> Unusable:
    return Unusable(f"{path} asks for {what}, which cannot be prepared.")
