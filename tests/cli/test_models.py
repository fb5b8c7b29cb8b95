"""`dispatchd models` against a hub on this machine."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from dispatchd.engine.prepare.architecture import Architecture, Rope
from dispatchd.engine.short_names import SHORT_NAMES, ShortName
from dispatchd.engine.sizes import memory_bytes, parameters
from tests.cli.test_client_terminal import seen
from tests.support.hub import COMMIT, FakeHub, Repo, fake_hub
from tests.support.process import dispatchd, ended
from tests.support.published import published

pytestmark = pytest.mark.long

REPO = "someone/Tiny-Chat"
WEIGHTS = "model.safetensors"
EMBEDDED = {"demo-chat", "sentiment", "summarizer"}

Run = Callable[..., CompletedProcess[str]]

# layers, hidden, intermediate, heads, kv heads, head size, words: from their published configs
SHAPES = {
    "smollm2-135m": (30, 576, 1536, 9, 3, 64, 49152),
    "smollm2-360m": (32, 960, 2560, 15, 5, 64, 49152),
    "smollm2-1.7b": (24, 2048, 8192, 32, 32, 64, 49152),
    "qwen2.5-0.5b": (24, 896, 4864, 14, 2, 64, 151936),
    "qwen2.5-1.5b": (28, 1536, 8960, 12, 2, 128, 151936),
    "qwen3-0.6b": (28, 1024, 3072, 16, 8, 128, 151936),
    "llama3.2-1b": (16, 2048, 8192, 32, 8, 64, 128256),
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as serving:
        serving.repos[REPO] = Repo(published())
        yield serving


@pytest.fixture
def models(tmp_path: Path, hub: FakeHub) -> Run:
    """Runs `dispatchd models …` with that hub."""

    def run(*arguments: str, **variables: str) -> CompletedProcess[str]:
        where = {"HF_ENDPOINT": hub.url, "DISPATCHD_DATA_DIR": str(tmp_path / "data")}
        return ended("models", *arguments, home=tmp_path / "home", **(where | variables))

    return run


def test_pull_shows_what_it_takes_and_says_what_to_do_next(models: Run) -> None:
    done = models("pull", REPO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Tiny-Chat ")
    assert "int8" in done.stdout
    assert f"Tiny-Chat: {REPO} at {COMMIT[:12]}\n  download  0.9 MB\n" in done.stderr
    assert "disk" in done.stderr
    assert "memory    about" in done.stderr
    assert "dispatchd run --testnet --model Tiny-Chat" in done.stderr
    assert "%" not in done.stderr
    again = models("pull", REPO)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert "It is here already" in again.stderr


def test_pull_has_bars_on_a_terminal(tmp_path: Path, hub: FakeHub) -> None:
    shown = seen(tmp_path, "models", "pull", REPO, HF_ENDPOINT=hub.url, NO_COLOR="1")
    assert "pulling" in shown
    assert "preparing" in shown
    assert shown.count("100%") >= 2
    assert "\x1b[2m" not in shown


def test_json(models: Run) -> None:
    card = json.loads(models("pull", REPO, "--json", "--name", "mine").stdout)
    assert (card["name"], card["layout"], card["precision"]) == ("mine", "prepared", "int8")
    assert (card["repo"], card["revision"]) == (REPO, COMMIT)
    listed = json.loads(models("list", "--json").stdout)
    assert [model["name"] for model in listed["models"]] == [*sorted(EMBEDDED), "mine"]
    assert json.loads(models("show", REPO, "--json").stdout) == card
    prepared = json.loads(models("prepare", "mine", "--precision", "fp32", "--json").stdout)
    assert prepared == card | {"precision": "fp32", "bytes_on_disk": prepared["bytes_on_disk"]}
    removed = json.loads(models("rm", "mine", "--json").stdout)
    assert removed["removed"] == "mine"
    assert removed["bytes_freed"] > card["bytes_on_disk"]
    assert {line.split()[0] for line in models("list").stdout.splitlines()} == EMBEDDED


def test_show(models: Run) -> None:
    shown = models("show", "demo-chat").stdout
    assert "kind            llm" in shown
    assert "precision       int8" in shown
    small = models("show", "summarizer").stdout
    assert " kB\n" in small
    assert "precision" not in small
    assert ", 2,030 parameters" in models("list").stdout
    assert "embedded, and prepared already" in models("prepare", "demo-chat").stderr
    missing = models("show", "smollm2-135m")
    assert missing.returncode == 2
    assert "dispatchd models pull smollm2-135m" in missing.stderr


def test_a_pull_that_is_killed_is_resumed(models: Run, tmp_path: Path, hub: FakeHub) -> None:
    hub.breaks[WEIGHTS] = [300_000, *[0] * 9]
    where = {"HF_ENDPOINT": hub.url, "DISPATCHD_DATA_DIR": str(tmp_path / "data")}
    with dispatchd("models", "pull", REPO, home=tmp_path / "home", **where) as process:
        hub.wait_for(WEIGHTS, "bytes=300000-")
        assert process.stop(signal.SIGKILL) == -signal.SIGKILL
    assert f"{REPO} was pulled in part" in models("list").stderr
    (unfinished,) = json.loads(models("list", "--json").stdout)["unfinished"]
    assert unfinished["repo"] == REPO
    assert unfinished["bytes_on_disk"] > 300_000
    hub.breaks.clear()
    hub.sent_bytes = 0
    done = models("pull", REPO)
    assert done.returncode == 0, done.stderr
    assert "of which 0.6 MB are here" in done.stderr
    assert hub.sent_bytes == len(hub.repos[REPO].files[WEIGHTS]) - 300_000


def test_ctrl_c_keeps_what_is_there(tmp_path: Path, hub: FakeHub) -> None:
    hub.breaks[WEIGHTS] = [300_000, *[0] * 9]
    with dispatchd("models", "pull", REPO, home=tmp_path, HF_ENDPOINT=hub.url) as process:
        hub.wait_for(WEIGHTS, "bytes=300000-")
        assert process.stop(signal.SIGINT) == 130
        assert "Traceback" not in process.err.text
    (partial,) = tmp_path.rglob("*.partial")
    assert partial.stat().st_size == 300_000


def test_exit_codes(models: Run, hub: FakeHub) -> None:
    hub.corrupt.add(WEIGHTS)
    damaged = models("pull", REPO)
    assert (damaged.returncode, damaged.stdout) == (5, "")
    assert "arrived damaged" in damaged.stderr
    unknown = models("pull", "no/one")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("dispatchd: ")
    assert unknown.stderr.count("\n") == 1
    offline = models("pull", "other/model", HF_HUB_OFFLINE="1")
    assert offline.returncode == 3
    assert "HF_HUB_OFFLINE" in offline.stderr
    no_folder = models("pull", REPO, DISPATCHD_DATA_DIR="/dev/null/x")
    assert no_folder.returncode == 2
    assert "choose another --data-dir" in no_folder.stderr
    nothing = models("prepare", "nothing")
    assert nothing.returncode == 2
    assert "dispatchd models pull nothing" in nothing.stderr


def test_a_token_opens_what_is_gated(models: Run, hub: FakeHub) -> None:
    hub.repos[REPO].gated = True
    hub.tokens.add("hf_right")
    assert "HF_TOKEN" in models("pull", REPO).stderr
    assert models("pull", REPO, HF_TOKEN="hf_right").returncode == 0
    assert hub.tokens_elsewhere == []


def test_offline_with_what_is_here(models: Run, hub: FakeHub) -> None:
    assert models("pull", REPO).returncode == 0
    done = models("pull", REPO, "--precision", "int4", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert "What is on this machine will do" in done.stderr
    assert "int4" in done.stdout


def test_nothing_but_the_data_folder_is_written(models: Run, tmp_path: Path, hub: FakeHub) -> None:
    assert models("pull", REPO).returncode == 0
    assert not list((tmp_path / "home").rglob("*"))
    assert {path for path, _ in hub.asked if path.startswith("/")} == {
        f"/api/models/{REPO}/revision/main"
    }


def test_a_folder_is_prepared(models: Run, tmp_path: Path, hub: FakeHub) -> None:
    folder = tmp_path / "My Model"
    folder.mkdir()
    for name, content in hub.repos[REPO].files.items():
        (folder / name).write_bytes(content)
    done = models("prepare", str(folder), "--precision", "int4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("My-Model ")
    assert "int4" in done.stdout


def test_what_is_available(models: Run) -> None:
    rows = json.loads(models("list", "--available", "--json").stdout)["available"]
    assert [row["name"] for row in rows] == [each.name for each in SHORT_NAMES]
    shown = models("list", "--available").stdout
    assert "meta-llama/Llama-3.2-1B-Instruct (gated)" in shown
    assert "271.0 MB" in shown


@pytest.mark.parametrize("each", SHORT_NAMES, ids=lambda each: each.name)
def test_the_table_agrees_with_the_shapes(each: ShortName) -> None:
    layers, hidden, intermediate, heads, kv_heads, head_size, words = SHAPES[each.name]
    shape = Architecture(
        family="llama",
        layers=layers,
        hidden_size=hidden,
        intermediate_size=intermediate,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        vocab_size=words,
        context_tokens=8192,
        norm_epsilon=1e-5,
        rope=Rope(10_000.0),
        tied=True,
        qkv_bias=False,
        output_bias=False,
        mlp_bias=False,
        qk_norm=False,
        windows=(None,) * layers,
    )
    assert each.parameters == pytest.approx(parameters(shape), rel=0.001)
    assert each.memory_bytes == pytest.approx(memory_bytes(shape, "int8"), rel=0.02)
    assert each.download_bytes > 1.99 * each.parameters
