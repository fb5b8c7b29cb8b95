"""Graphs that others exported, run as they are: their tokens are those of the prepared model."""

from pathlib import Path
from typing import Any

import pytest

from dispatchd.core.errors import Unusable
from dispatchd.engine.batch.load import open_batcher
from dispatchd.engine.catalog import find
from dispatchd.engine.decoder import Decoder
from dispatchd.engine.generate import Generation, load_text_model
from dispatchd.engine.load import load_language_model
from dispatchd.engine.ports import Ports
from dispatchd.engine.prepare.manifest import Precision
from dispatchd.engine.request import Message, TextRequest
from dispatchd.engine.session import open_session
from tests.support.exported import (
    export_genai,
    export_hub,
    forbid_pieces,
    misdeclare,
    write_genai_config,
)
from tests.support.pretend_gpu import pretend_gpu
from tests.support.small_model import CONTEXT_TOKENS, prepare_small

QUESTIONS = ("gas", "what is a blockchain", "a shared ledger of gas and " * 50)
ODD = Ports(
    input_ids="tokens",
    attention_mask="mask",
    position_ids="places",
    past=("old_k_%d", "old_v_%d"),
    present=("new_k_%d", "new_v_%d"),
    logits="scores",
)


def questions() -> list[TextRequest]:
    return [
        TextRequest((Message("user", text),), 20 + number, ignore_eos=bool(number % 2))
        for number, text in enumerate(QUESTIONS)
    ]


def answers(model: Any) -> list[Generation]:
    return [list(model.generate(question))[-1] for question in questions()]


@pytest.fixture(scope="module", params=["fp32", "fp16", "int4"])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_small(tmp_path_factory.mktemp("exported"), request.param)


@pytest.fixture(scope="module")
def expected(prepared: Path) -> list[Generation]:
    batcher = open_batcher(prepared, threads=1, slots=1)
    try:
        return answers(batcher)
    finally:
        batcher.close()


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    precision: Precision = "fp16"
    return prepare_small(tmp_path_factory.mktemp("half"), precision)


@pytest.mark.parametrize("positions", [True, False], ids=["position_ids", "no position_ids"])
def test_hub_exports_with_and_without_positions(
    positions: bool, prepared: Path, expected: list[Generation], tmp_path: Path
) -> None:
    folder = export_hub(prepared, tmp_path / "model", positions=positions)
    model = load_text_model(folder, threads=1)
    assert ("position_ids" in model._decoder._session.inputs) == positions
    assert answers(model) == expected
    assert expected[-1].prompt_tokens > 256


def test_an_export_may_have_caches_and_scores_of_fp16(half: Path, tmp_path: Path) -> None:
    folder = export_hub(half, tmp_path / "model")
    session = open_session(folder / "onnx" / "model.onnx", threads=1)
    types = {session.inputs["past_key_values.0.key"].type, session.outputs["logits"].type}
    assert types == {"tensor(float16)"}


def test_an_export_whose_shapes_are_declared_wrongly_runs(half: Path, tmp_path: Path) -> None:
    folder = export_hub(half, tmp_path / "model")
    expected = answers(load_text_model(folder, threads=1))
    misdeclare(folder)
    graph = folder / "onnx" / "model.onnx"
    trusting = Decoder(open_session(graph, threads=1), Ports()).start()
    trusting.step([5, 6])
    with pytest.raises(Exception, match="Shape mismatch"):
        trusting.step([7])
    assert answers(load_text_model(folder, threads=1)) == expected


def test_an_export_that_reads_prompts_only_whole_reads_them_so(half: Path, tmp_path: Path) -> None:
    folder = export_hub(half, tmp_path / "model")
    expected = answers(load_text_model(folder, threads=1))
    forbid_pieces(folder)
    model = load_text_model(folder, threads=1)
    assert not model._decoder.in_pieces
    assert answers(model) == expected


def test_an_export_runs_on_a_gpu_where_there_is_one(
    half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_hub(half, tmp_path / "model")
    expected = answers(load_text_model(folder, threads=1))
    pretend_gpu(monkeypatch)
    model = load_text_model(folder, threads=1)
    assert model.device == "cuda"
    assert answers(model) == expected


@pytest.mark.parametrize(
    ("ports", "positions"),
    [(Ports(), False), (Ports(), True), (ODD, True)],
    ids=["as the builder writes it", "with position_ids", "with other names"],
)
def test_genai_folders(
    ports: Ports, positions: bool, prepared: Path, expected: list[Generation], tmp_path: Path
) -> None:
    folder = export_genai(prepared, tmp_path / "model", ports, positions=positions)
    model = load_language_model(folder, threads=1, slots=1)
    assert (model.name, model.context_tokens) == ("model", CONTEXT_TOKENS)
    assert answers(model) == expected


@pytest.fixture
def genai(half: Path, tmp_path: Path) -> Path:
    return export_genai(half, tmp_path / "model")


def test_a_genai_folder_has_a_card(genai: Path) -> None:
    card = find(str(genai))
    assert (card.kind, card.layout, card.context_tokens) == (
        "llm",
        "onnxruntime-genai",
        CONTEXT_TOKENS,
    )


def test_the_genai_config_decides_context_ends_and_penalty(genai: Path) -> None:
    write_genai_config(
        genai, context_length=100, eos_token_id=[7, 8], search={"repetition_penalty": 1.5}
    )
    model = load_text_model(genai, threads=1)
    assert model.context_tokens == 100
    assert model._folder.stop_ids >= {7, 8}
    assert model._folder.repetition_penalty == 1.5


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
def test_options_of_known_providers_only_say_how_to_run_faster(
    provider: str, genai: Path, half: Path
) -> None:
    options = {"provider_options": [{provider: {"enable_cuda_graph": "0"}}]}
    write_genai_config(genai, decoder={"session_options": options})
    assert load_text_model(genai, threads=1).device in {"cpu", "cuda"}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "pictures": ({"vision": {"filename": "vision.onnx"}}, r"a graph for pictures \(vision\)"),
    "speech": ({"speech": {"filename": "speech.onnx"}}, r"a graph for speech \(speech\)"),
    "embedding": ({"embedding": {"filename": "e.onnx"}}, r"embeddings \(embedding\)"),
    "an encoder": ({"encoder": {"filename": "e.onnx"}}, r"an encoder beside .* \(encoder\)"),
    "a pipeline": (
        {"decoder": {"filename": "", "pipeline": [{"a": {"filename": "a.onnx"}}]}},
        r"in several graphs \(pipeline\)",
    ),
    "a sliding window": (
        {"decoder": {"sliding_window": {"window_size": 64}}},
        r"moved along by hand \(sliding_window\)",
    ),
    "another provider": (
        {"decoder": {"session_options": {"provider_options": [{"QNN": {"x": "y"}}]}}},
        "the provider QNN; those known are cpu, cuda",
    ),
    "operators of its own": (
        {"decoder": {"session_options": {"custom_ops_library": "ops.so"}}},
        r"a library of operators \(ops\.so\)",
    ),
    "caches in one": (
        {"decoder": {"inputs": {"past_names": "past_%d"}}},
        r"keys and values in one cache \(past_names\)",
    ),
    "no graph": ({"decoder": {"filename": "other.onnx"}}, r"lacks other\.onnx, which its genai"),
    "a graph elsewhere": ({"decoder": {"filename": "../m.onnx"}}, "names a graph elsewhere"),
    "no filename": ({"decoder": {"filename": None}}, "must say the decoder's filename"),
    "no context": ({"context_length": 0}, r"is broken \(model\.context_length"),
    "names of another graph": (
        {"decoder": {"inputs": {"past_key_names": "k.%d", "past_value_names": "v.%d"}}},
        r"the graph has no input k\.0",
    ),
    "a penalty of zero": (
        {"search": {"repetition_penalty": 0}},
        r"is broken \(search\.repetition_penalty",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_run_is_refused_by_name(what: str, genai: Path) -> None:
    changes, sentence = REFUSED[what]
    write_genai_config(genai, **changes)
    with pytest.raises(Unusable, match=sentence) as caught:
        load_text_model(genai, threads=1)
    assert str(genai) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_genai_config_is_refused(genai: Path) -> None:
    (genai / "genai_config.json").write_text('{"model": []}')
    with pytest.raises(Unusable, match=r"genai_config\.json is broken \(model"):
        find(str(genai))
