"""Models are pulled from a hub on this machine: resumed, checked, refused, prepared."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import onnx
import pytest
from huggingface_hub import hf_hub_download

from dispatchd.core.errors import Unusable
from dispatchd.engine.catalog import find
from dispatchd.engine.download import Damaged
from dispatchd.engine.hub import Hub, HubAway
from dispatchd.engine.library import Library
from dispatchd.engine.prepare.manifest import Precision
from dispatchd.engine.preparing import prepare_again, prepare_folder
from dispatchd.engine.pull import Plan, Pull
from tests.support.hub import COMMIT, FakeHub, Repo, fake_hub
from tests.support.published import published

REPO = "someone/Tiny-Chat"
WEIGHTS = "model.safetensors"
ALIGNMENT_BYTES = 65536  # each tensor begins where memory can be mapped


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as serving:
        serving.repos[REPO] = Repo(published())
        yield serving


@pytest.fixture(autouse=True)
def no_shared_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache that other programs share is an empty one."""
    cache = tmp_path / "shared-cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("dispatchd.engine.hub.get_token", lambda: None)
    return cache


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "models")


def pulling(library: Library, hub: FakeHub, token: str | None = None) -> Pull:
    return Pull(library, Hub(hub.url, token), wait=lambda _: None)


def pulled(
    library: Library, hub: FakeHub, repo: str = REPO, precision: Precision = "int8"
) -> tuple[Plan, list[int]]:
    """Pulls and prepares; the plan, and the steps of the bar."""
    steps: list[int] = []
    pull = pulling(library, hub)
    plan = pull.plan(repo, "main", None, precision)
    pull.download(plan, steps.append)
    pull.prepare(plan, lambda _: None)
    return plan, steps


def test_a_model_is_pulled_and_prepared(library: Library, hub: FakeHub) -> None:
    plan, steps = pulled(library, hub)
    assert sum(steps) == plan.download_bytes
    card = find("Tiny-Chat", library.home)
    assert (card.layout, card.precision, card.repo) == ("prepared", "int8", REPO)
    assert (card.revision, card.context_tokens) == (COMMIT, 512)
    assert find(REPO, library.home) == card
    manifest = json.loads((card.path / "manifest.json").read_text())
    assert manifest["source"]["repo"] == REPO
    assert library.cards() == [card]
    assert library.unfinished() == []


def test_what_it_takes_is_known_before_the_weights_come(library: Library, hub: FakeHub) -> None:
    plan = pulling(library, hub).plan(REPO, "main", None, "int8")
    assert (WEIGHTS, None) not in hub.asked
    weights = len(hub.repos[REPO].files[WEIGHTS])
    assert hub.sent_bytes + weights == plan.download_bytes == plan.missing_bytes
    assert plan.download_bytes == sum(map(len, hub.repos[REPO].files.values()))
    assert 2 * plan.parameters == pytest.approx(weights, rel=0.01)
    assert plan.memory_bytes > plan.prepared_bytes > plan.parameters


def test_the_told_size_is_near_the_real_one(library: Library, hub: FakeHub) -> None:
    for precision in get_args(Precision):
        plan, _ = pulled(library, hub, precision=precision)
        folder = library.folder(plan.name)
        graph = onnx.load(folder / "graph.onnx", load_external_data=False).graph
        real = (folder / "graph.onnx.data").stat().st_size
        told = plan.prepared_bytes
        assert told < real < told + len(graph.initializer) * ALIGNMENT_BYTES


def test_a_second_pull_asks_for_the_listing_alone(library: Library, hub: FakeHub) -> None:
    pulled(library, hub)
    hub.asked.clear()
    plan = pulling(library, hub).plan(REPO, "main", None, "int8")
    assert plan.ready
    assert plan.missing_bytes == 0
    assert len(hub.asked) == 1
    assert not pulling(library, hub).plan(REPO, "main", None, "int4").ready


def test_a_newer_commit_replaces_the_older_one(library: Library, hub: FakeHub) -> None:
    pulled(library, hub)
    newer = COMMIT[::-1]
    hub.repos[REPO] = Repo(published(seed=1), newer)
    pulled(library, hub)
    assert find(REPO, library.home).revision == newer
    assert [folder.name for folder in library.sources(REPO)] == [newer]


def test_a_broken_connection_is_resumed(library: Library, hub: FakeHub) -> None:
    hub.breaks[WEIGHTS] = [100_000, 0, 300_000]
    plan, steps = pulled(library, hub)
    assert sum(steps) == plan.download_bytes
    assert [asked for name, asked in hub.asked if name == WEIGHTS] == [
        None,
        "bytes=100000-",
        "bytes=100000-",
        "bytes=400000-",
    ]


def test_a_pull_that_gave_up_goes_on_later(library: Library, hub: FakeHub) -> None:
    hub.breaks[WEIGHTS] = [100_000, 0, 0, 0, 0, 0]
    with pytest.raises(HubAway, match=r"\d+ % of model.safetensors are here; the same command"):
        pulled(library, hub)
    (unfinished,) = library.unfinished()
    assert unfinished.repo == REPO
    hub.sent_bytes = 0
    plan, steps = pulled(library, hub)
    assert sum(steps) == plan.download_bytes
    assert plan.download_bytes - plan.missing_bytes > 100_000
    assert hub.sent_bytes == len(hub.repos[REPO].files[WEIGHTS]) - 100_000


def test_a_server_that_cannot_resume_begins_anew(library: Library, hub: FakeHub) -> None:
    hub.ranges = False
    hub.breaks[WEIGHTS] = [100_000]
    plan, steps = pulled(library, hub)
    assert sum(steps) == plan.download_bytes
    assert min(steps) == -100_000


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_damaged_file_is_refused_and_thrown_away(
    library: Library, hub: FakeHub, name: str
) -> None:
    hub.corrupt.add(name)
    with pytest.raises(Damaged, match=f"{name} of {REPO} arrived damaged.*pull again"):
        pulled(library, hub)
    (source,) = library.sources(REPO)
    assert not list(source.glob(f"{name}*"))
    assert library.cards() == []
    hub.corrupt.clear()
    pulled(library, hub)


def test_an_unknown_repository(library: Library, hub: FakeHub) -> None:
    with pytest.raises(Unusable, match=r"has no model no/one: check the name.*set HF_TOKEN"):
        pulled(library, hub, "no/one")
    with pytest.raises(Unusable, match="models list --available"):
        pulled(library, hub, "gpt-7")
    with pytest.raises(Unusable, match="no revision 'v9'"):
        pulling(library, hub).plan(REPO, "v9", None, "int8")
    assert library.unfinished() == []


def test_a_gated_repository(library: Library, hub: FakeHub) -> None:
    hub.repos[REPO].gated = True
    with pytest.raises(Unusable, match=rf"{REPO} is gated: accept its terms at .*HF_TOKEN"):
        pulled(library, hub)
    hub.tokens.add("right")
    with pytest.raises(Unusable, match="not open to your token"):
        pulling(library, hub, "wrong").plan(REPO, "main", None, "int8")
    pull = pulling(library, hub, "right")
    pull.download(pull.plan(REPO, "main", None, "int8"), lambda _: None)
    assert hub.tokens_elsewhere == []
    assert library.unfinished()[0].repo == REPO


def test_without_a_hub_what_is_here_will_do(library: Library, hub: FakeHub) -> None:
    pulled(library, hub)
    hub.status = 503
    plan, _ = pulled(library, hub)
    assert plan.ready
    assert "answered 503" in (plan.offline or "")
    with pytest.raises(HubAway, match=r"other/model is not on this machine either.*HF_ENDPOINT"):
        pulled(library, hub, "other/model")


def test_nobody_answers(library: Library) -> None:
    with fake_hub() as gone:
        pass
    with pytest.raises(HubAway, match="does not answer"):
        pulled(library, gone)


@pytest.mark.parametrize("reply", ["<html>", "[]", "{}", '{"id":"x","sha":"../up"}'])
def test_what_answers_is_no_hub(library: Library, hub: FakeHub, reply: str) -> None:
    hub.reply = reply
    with pytest.raises(Unusable, match="check HF_ENDPOINT"):
        pulled(library, hub)


def test_an_endpoint_that_is_no_address(library: Library) -> None:
    for endpoint in ("nowhere", "http://[", "ftp://x"):
        with pytest.raises(HubAway, match="does not answer"):
            Pull(library, Hub(endpoint)).plan(REPO, "main", None, "int8")


def test_switched_off(library: Library, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubAway, match="HF_HUB_OFFLINE"):
        pulled(library, hub)
    assert hub.asked == []


def test_what_other_programs_pulled_is_taken(
    library: Library, hub: FakeHub, no_shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in hub.repos[REPO].files:
        hf_hub_download(REPO, name, endpoint=hub.url, cache_dir=no_shared_cache)
    hub.asked.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    plan, steps = pulled(library, hub)
    assert sum(steps) == plan.download_bytes
    assert (plan.source / WEIGHTS).is_symlink()
    assert find(REPO, library.home).revision == COMMIT
    assert hub.asked == []


def test_no_pickles(library: Library, hub: FakeHub) -> None:
    files = hub.repos[REPO].files
    files["pytorch_model.bin"] = b"pickled" * 1000
    files["training_args.bin"] = b"pickled"
    files["onnx/model.onnx"] = b"graph"
    plan, _ = pulled(library, hub)
    assert {file.name for file in plan.files} == {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        WEIGHTS,
    }
    del files[WEIGHTS]
    hub.repos["someone/old"] = Repo(files)
    with pytest.raises(Unusable, match="only pickled weights, which can run code"):
        pulled(library, hub, "someone/old")


def test_an_unknown_architecture_is_refused_before_the_weights_come(
    library: Library, hub: FakeHub
) -> None:
    mamba = published(model_type="mamba", architectures=["MambaForCausalLM"])
    hub.repos["someone/mamba"] = Repo(mamba)
    with pytest.raises(Unusable, match=r"Mamba.*llama, mistral, qwen2, qwen3"):
        pulled(library, hub, "someone/mamba")
    assert (WEIGHTS, None) not in hub.asked


def test_shards_come_as_the_index_names_them(library: Library, hub: FakeHub) -> None:
    files = hub.repos[REPO].files
    content = files.pop(WEIGHTS)
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    files |= {
        "model.safetensors.index.json": json.dumps(index).encode(),
        "model-00001-of-00001.safetensors": content,
        "consolidated.safetensors": content,
    }
    plan = pulling(library, hub).plan(REPO, "main", None, "int8")
    weights = [file.name for file in plan.files if file.name.endswith(".safetensors")]
    assert weights == ["model-00001-of-00001.safetensors"]
    index["weight_map"]["b"] = "../elsewhere.safetensors"
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    hub.repos["someone/evil"] = Repo(files)
    with pytest.raises(Unusable, match="lacks weights that its"):
        pulled(library, hub, "someone/evil")


def test_a_full_disk_is_told_before_the_download(
    library: Library, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = pulling(library, hub).plan(REPO, "main", None, "int8")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Disk", (), {"free": 1000}))
    with pytest.raises(Unusable, match=r"GB of room .* are needed: make room"):
        pulling(library, hub).download(plan, lambda _: None)
    with pytest.raises(Unusable, match="data-dir"):
        library.check_room(10_000)


def test_a_name_that_is_taken(library: Library, hub: FakeHub) -> None:
    pulled(library, hub)
    hub.repos["another/Tiny-Chat"] = Repo(published(seed=2))
    with pytest.raises(Unusable, match=f"a model Tiny-Chat already, from {REPO}.*--name"):
        pulled(library, hub, "another/Tiny-Chat")
    assert pulling(library, hub).plan("another/Tiny-Chat", "main", "other", "int8").name == "other"
    for name, reason in (("demo-chat", "embedded"), ("a/b", "letters"), (".x", "letters")):
        with pytest.raises(Unusable, match=reason):
            pulling(library, hub).plan(REPO, "main", name, "int8")


def test_removing(library: Library, hub: FakeHub) -> None:
    pulled(library, hub)
    freed = library.remove("Tiny-Chat")
    assert freed > len(hub.repos[REPO].files[WEIGHTS])
    assert library.cards() == []
    assert library.sources(REPO) == []
    with pytest.raises(Unusable, match=r"no pulled model 'Tiny-Chat'; those are: none"):
        library.remove("Tiny-Chat")
    with pytest.raises(Unusable, match="embedded"):
        library.remove("demo-chat")


def test_two_names_of_one_repository(library: Library, hub: FakeHub) -> None:
    pulled(library, hub)
    hub.repos[REPO] = Repo(published(seed=1), COMMIT[::-1])
    pull = pulling(library, hub)
    plan = pull.plan(REPO, "main", "newer", "int8")
    pull.download(plan, lambda _: None)
    pull.prepare(plan, lambda _: None)
    assert {folder.name for folder in library.sources(REPO)} == {COMMIT, COMMIT[::-1]}
    library.remove("newer")
    assert find("Tiny-Chat", library.home).revision == COMMIT
    assert prepare_again(library, find("Tiny-Chat", library.home), "int4", lambda _: None)


def test_folders_are_for_their_owner_alone(library: Library, hub: FakeHub) -> None:
    library.home = library.home / "deep" / "models"
    pulled(library, hub)
    folders = [library.home.parent, library.home, *library.sources(REPO)]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


def test_removing_what_was_pulled_in_part(library: Library, hub: FakeHub) -> None:
    hub.corrupt.add(WEIGHTS)
    with pytest.raises(Damaged):
        pulled(library, hub)
    assert library.remove(REPO) > 0
    assert library.unfinished() == []


@pytest.mark.parametrize("name", ["..", ".", "/", "../outside", "a/../../outside", ".sources"])
def test_removing_stays_inside(library: Library, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    library.home.mkdir()
    with pytest.raises(Unusable, match="no pulled model"):
        library.remove(name)
    assert outside.is_dir()
    assert library.home.is_dir()


def test_two_at_once(library: Library) -> None:
    busy = pytest.raises(Unusable, match="wait until it is done")
    with library.locked(REPO), busy, library.locked(REPO):
        pass


def test_preparing_again(library: Library, hub: FakeHub) -> None:
    pulled(library, hub)
    hub.asked.clear()
    card = prepare_again(library, find(REPO, library.home), "fp32", lambda _: None)
    assert (card.name, card.precision, card.repo) == ("Tiny-Chat", "fp32", REPO)
    assert hub.asked == []


@pytest.fixture
def folder(hub: FakeHub, tmp_path: Path) -> Path:
    """Published weights that somebody has brought here."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in hub.repos[REPO].files.items():
        (folder / name).write_bytes(content)
    return folder


def test_preparing_a_folder(library: Library, folder: Path) -> None:
    assert find(str(folder)).layout == "safetensors"
    shares: list[float] = []
    card = prepare_folder(library, folder, "mine", "int8", shares.append)
    assert (card.layout, card.precision, card.repo) == ("prepared", "int8", None)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert library.remove("mine") > 0
    assert folder.is_dir()


def test_a_broken_model_is_passed_over(
    library: Library, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare_folder(library, folder, "mine", "int8", lambda _: None)
    other = prepare_folder(library, folder, "other", "int8", lambda _: None)
    (library.folder("mine") / "manifest.json").write_text("{")
    assert find("other", library.home) == other
    assert str(library.folder("mine")) in caplog.text
    with pytest.raises(Unusable, match="no model 'mine'"):
        find("mine", library.home)
    assert "dispatchd models rm mine" in caplog.text
    assert library.remove("mine") > 0
    assert not library.folder("mine").exists()
    assert find("other", library.home) == other


def test_a_short_name_says_how_to_have_it(library: Library) -> None:
    with pytest.raises(Unusable, match=r"run dispatchd models pull qwen3-0\.6b"):
        find("qwen3-0.6b", library.home)


def test_a_node_loads_nothing_of_the_hub() -> None:
    code = "import dispatchd.cli.run, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"huggingface_hub", "httpx2", "onnx"} & set(done.stdout.split())
