"""A model is pulled from a hub on this machine, and a node answers with it."""

from pathlib import Path

from tests.e2e.client import LLM, Client
from tests.support.hub import Repo, fake_hub
from tests.support.process import dispatchd, ended
from tests.support.published import published

REPO = "someone/Tiny-Chat"
RUN = ("run", "--testnet", "--port", "0", "--model")


def test_a_pulled_model_answers(tmp_path: Path) -> None:
    with fake_hub() as hub:
        hub.repos[REPO] = Repo(published())
        done = ended("models", "pull", REPO, home=tmp_path, HF_ENDPOINT=hub.url)
        assert done.returncode == 0, done.stderr
    for name in ("Tiny-Chat", REPO):
        with dispatchd(*RUN, name, home=tmp_path) as node:
            client = Client(node.url())
            job = client.until(client.commit(LLM), "completed")
            node.out.wait_for("Tiny-Chat on cpu is ready")
            assert node.stop() == 0
        assert job["result"]["text"]


def test_a_model_that_was_not_pulled(tmp_path: Path) -> None:
    done = ended(*RUN, "smollm2-135m", home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "run dispatchd models pull smollm2-135m first" in done.stderr


def test_published_weights_in_a_folder_are_prepared_on_first_use(tmp_path: Path) -> None:
    folder = tmp_path / "Tiny-Chat"
    folder.mkdir()
    for name, content in published().items():
        (folder / name).write_bytes(content)
    for preparing in (True, False):
        with dispatchd(*RUN, str(folder), home=tmp_path / "home") as node:
            client = Client(node.url())
            job = client.until(client.commit(LLM), "completed")
            assert job["result"]["model"] == "Tiny-Chat"
            _, models = client.json("GET", "/v1/models")
            assert [model["id"] for model in models["data"]] == ["Tiny-Chat"]
            assert node.stop() == 0
        assert ("preparing Tiny-Chat" in node.err.text) is preparing
