"""What cannot be started as asked says so in one sentence, with exit code 2."""

import json
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from tests.cli.conftest import Invoke, Started
from tests.support.process import dispatchd, ended, free_port
from tests.support.published import published

pytestmark = pytest.mark.long

MODELS = Path(__file__).parents[2] / "models"
NODE = ("run", "--testnet", "--no-worker", "--port", "0")
FULL_NODE = ("run", "--testnet", "--port", "0")

Start = Callable[..., str]


def assert_one_sentence(code: int, out: str, err: str) -> str:
    assert "Traceback" not in err
    assert code == 2, out + err
    assert out == ""
    assert err.startswith("dispatchd: "), err
    assert err.endswith("\n"), err
    assert err.count("\n") == 1, err
    return err


@pytest.fixture
def refused(tmp_path: Path) -> Start:
    """The sentence with which a process of its own ends."""

    def of(*arguments: str) -> str:
        folder = () if "--data-dir" in arguments else ("--data-dir", str(tmp_path / "data"))
        done: subprocess.CompletedProcess[str] = ended(*arguments, *folder, home=tmp_path / "home")
        return assert_one_sentence(done.returncode, done.stdout, done.stderr)

    return of


def test_a_port_that_is_taken(refused: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = refused("run", "--testnet", "--no-worker", "--port", port)
    assert port in said
    assert "--port" in said


def test_public_urls_that_are_none_or_too_many(refused: Start) -> None:
    for wrong in ("example.org", "ftp://example.org", "http://"):
        assert "--public-url" in refused(*NODE, "--public-url", wrong)
    two = ("--public-url", "http://a.example.org", "--public-url", "http://b.example.org")
    assert "--public-url" in refused(*NODE, *two)


def test_a_host_that_is_not_ours(refused: Start) -> None:
    assert "192.0.2.1" in refused(*NODE, "--host", "192.0.2.1")


def test_a_data_folder_that_cannot_be_made(refused: Start, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "below"):
        assert "--data-dir" in refused(*NODE, "--data-dir", str(folder))


def test_a_database_that_is_none(refused: Start, tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    file.write_bytes(b"This is a letter, not a database. " * 100)
    before = file.read_bytes()
    assert str(file) in refused(*NODE, "--db", str(file))
    assert file.read_bytes() == before


def test_a_database_that_is_a_folder(refused: Start, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert str(tmp_path / "folder") in refused(*NODE, "--db", str(tmp_path / "folder"))


def test_a_database_of_a_newer_version(refused: Start, tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    db = sqlite3.connect(file)
    db.execute("PRAGMA user_version = 9999")
    db.close()
    said = refused(*NODE, "--db", str(file))
    assert "newer" in said
    assert "9999" in said


def test_a_database_that_another_node_uses(refused: Start, tmp_path: Path) -> None:
    with dispatchd(*NODE, "--data-dir", str(tmp_path / "data"), home=tmp_path / "home") as node:
        node.url()
        assert "Another dispatchd" in refused(*NODE)
        assert node.stop() == 0


def test_a_key_that_another_worker_uses(refused: Start, tmp_path: Path) -> None:
    """Two workers with one key would push one another out for ever."""
    address = f"http://127.0.0.1:{free_port()}"
    arguments = ("worker", "--coordinator", address, "--key", str(tmp_path / "key.json"))
    with dispatchd(*arguments, home=tmp_path / "home") as worker:
        worker.out.wait_for(address)
        assert str(tmp_path / "key.json") in refused(*arguments)
        assert worker.stop() == 0
    with dispatchd(*arguments, home=tmp_path / "home") as worker:
        worker.out.wait_for(address)


def started_once(tmp_path: Path) -> Path:
    """The coordinator key of a node that has run; its database stays."""
    data = tmp_path / "data"
    with dispatchd(*NODE, "--data-dir", str(data), home=tmp_path / "home") as node:
        node.url()
        assert node.stop() == 0
    return data / "monad-coordinator-key.json"


def test_a_chain_whose_key_is_not_there(refused: Start, tmp_path: Path) -> None:
    key = started_once(tmp_path)
    public = bytes(json.loads(key.read_text())["publicKey"]).hex()
    kept = key.rename(tmp_path / "kept")
    said = refused(*NODE)
    assert all(words in said for words in (str(key), public, "Put that file back"))
    assert not key.exists()
    kept.rename(key)
    with dispatchd(*NODE, "--data-dir", str(key.parent), home=tmp_path / "home") as node:
        node.out.wait_for(public)


def test_a_chain_with_another_key(refused: Start, tmp_path: Path) -> None:
    file = started_once(tmp_path)
    file.write_text(key())
    said = refused(*NODE)
    assert all(words in said for words in (str(file), "another"))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_coordinator_key_that_others_can_read(refused: Start, tmp_path: Path, mode: int) -> None:
    file = started_once(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(mode)
    said = refused(*NODE)
    assert all(words in said for words in (str(file), "chmod 600", "coordinator key"))


def test_a_coordinator_key_file_that_holds_no_key(refused: Start, tmp_path: Path) -> None:
    file = started_once(tmp_path)
    file.write_text("{}")
    assert str(file) in refused(*NODE)


def broken_model(folder: Path, how: str) -> Path:
    """A copy of the embedded language model with one thing wrong."""
    shutil.copytree(MODELS / "demo-chat", folder)
    (onnx,) = folder.rglob("*.onnx")
    match how:
        case "weights cut off":
            onnx.write_bytes(onnx.read_bytes()[:10_000])
        case "no weights":
            onnx.unlink()
        case "weights are text":
            onnx.write_text("not a graph")
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
        case "broken tokenizer":
            (folder / "tokenizer.json").write_text("{}")
        case "broken config":
            (folder / "config.json").write_text("{")
        case "no config":
            (folder / "config.json").unlink()
    return folder


@pytest.mark.parametrize(
    "how",
    ["no weights", "no tokenizer", "broken config", "no config"],
)
def test_a_model_that_is_incomplete(refused: Start, tmp_path: Path, how: str) -> None:
    folder = broken_model(tmp_path / "model", how)
    assert str(folder) in refused(*FULL_NODE, "--model", str(folder))


@pytest.mark.parametrize("how", ["weights cut off", "weights are text", "broken tokenizer"])
@pytest.mark.parametrize("command", [FULL_NODE, ("worker",)], ids=lambda command: command[0])
def test_a_model_that_turns_out_to_be_broken_ends_what_has_started(
    tmp_path: Path, command: tuple[str, ...], how: str
) -> None:
    folder = broken_model(tmp_path / "model", how)
    done = ended(*command, "--model", str(folder), home=tmp_path / "home")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("dispatchd: ")
    assert str(folder) in sentence
    assert "is ready" not in done.stdout


def published_as(folder: Path, **config: object) -> Path:
    folder.mkdir()
    for name, content in published(0, **config).items():
        (folder / name).write_bytes(content)
    return folder


def test_an_architecture_that_is_not_known(refused: Start, tmp_path: Path) -> None:
    folder = published_as(
        tmp_path / "model", model_type="mamba", architectures=["MambaForCausalLM"]
    )
    assert "mamba" in refused(*FULL_NODE, "--model", str(folder)).lower()


def test_a_precision_that_a_model_cannot_have(refused: Start) -> None:
    said = refused(*FULL_NODE, "--precision", "int4")
    assert "demo-chat" in said
    assert "--precision" in said


def test_weights_for_which_the_disk_has_no_room(refused: Start, tmp_path: Path) -> None:
    folder = published_as(tmp_path / "model", intermediate_size=10**12)
    assert "room" in refused(*FULL_NODE, "--model", str(folder))


def test_the_second_port_is_taken(refused: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        both = ("--network", "monad", "--network", "solana", "--port", "0", "--port", port)
        assert port in refused("run", "--testnet", "--no-worker", *both)


@pytest.mark.parametrize("name", ["no-such-model", "sentiment"])
def test_a_model_that_is_no_language_model(refused: Start, name: str) -> None:
    assert name in refused(*FULL_NODE, "--model", name)


def key(**changed: object) -> str:
    pair = SigningKey.generate()
    public, secret = list(bytes(pair.verify_key)), list(bytes(pair) + bytes(pair.verify_key))
    return json.dumps({"publicKey": public, "secretKey": secret} | changed)


BROKEN_KEYS: dict[str, Callable[[], str | bytes]] = {
    "empty": lambda: "",
    "not JSON": lambda: "key",
    "not UTF-8": lambda: b"\xff\xfe",
    "a list": lambda: "[1, 2]",
    "no secret": lambda: json.dumps({"publicKey": [1] * 32}),
    "short": lambda: key(secretKey=[1] * 32),
    "too large a byte": lambda: key(publicKey=[256] * 32),
    "text for bytes": lambda: key(publicKey="a" * 32),
    "another's public key": lambda: key(publicKey=list(bytes(SigningKey.generate().verify_key))),
}


@pytest.mark.parametrize("how", BROKEN_KEYS)
def test_a_key_file_that_holds_no_key(refused: Start, tmp_path: Path, how: str) -> None:
    file = tmp_path / "key.json"
    content = BROKEN_KEYS[how]()
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    file.chmod(0o600)
    assert str(file) in refused(*FULL_NODE, "--key", str(file))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_key_file_that_others_can_read(refused: Start, tmp_path: Path, mode: int) -> None:
    file = tmp_path / "key.json"
    file.write_text(key())
    file.chmod(mode)
    said = refused("worker", "--key", str(file))
    assert str(file) in said
    assert "chmod 600" in said


def test_a_key_file_that_is_a_folder(refused: Start, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    assert "folder" in refused("worker", "--key", str(tmp_path / "folder"))


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.org",
        "http://",
        "http://:4010",
        "http://example.org:99999",
        "http://example.org:port",
        "http://a b",
        "://",
    ],
)
def test_a_coordinator_that_is_no_address(refused: Start, address: str) -> None:
    assert "--coordinator" in refused("worker", "--coordinator", address)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.org",
        "127.0.0.1:8000",
        "http://",
        "http://example.org:99999",
        "http://example.org/v1?key=secret",
        "http://me:secret@example.org/v1",
        "http://a b",
    ],
)
def test_a_backend_that_is_no_address(invoke: Invoke, started: Started, address: str) -> None:
    result = invoke("run", "--testnet", "--backend", "openai", "--base-url", address)
    said = assert_one_sentence(result.exit_code, result.stdout, result.stderr)
    assert "--base-url" in said
    assert "secret" not in said
    assert started.config is None


@pytest.mark.parametrize("key", ["two\nlines", "sécret", "tab\tbed"])
def test_a_backends_key_that_is_none(invoke: Invoke, started: Started, key: str) -> None:
    given = ("--backend", "openai", "--base-url", "http://127.0.0.1:8000/v1")
    result = invoke("run", "--testnet", *given, DISPATCHD_BACKEND_KEY=key)
    said = assert_one_sentence(result.exit_code, result.stdout, result.stderr)
    assert "DISPATCHD_BACKEND_KEY" in said
    assert key not in said
    assert started.config is None


def test_a_backend_that_does_not_come(refused: Start) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    given = ("--backend", "openai", "--base-url", url, "--limit", "backend_wait_seconds=0")
    said = refused("worker", *given)
    assert url in said
    assert "Connection refused" in said


PAYEE = "0x" + "ab" * 20
FAR = ("--facilitator", "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), ("--pay-to", "--facilitator", "--testnet")),
        (("--pay-to", PAYEE), ("--facilitator",)),
        (FAR, ("--pay-to",)),
        (("--network", "monad", "--network", "base", "--pay-to", PAYEE, *FAR), ("base",)),
        (("--pay-to", PAYEE, "--pay-to", PAYEE, *FAR), ("--pay-to",)),
        (("--pay-to", "0x12", *FAR), ("0x12",)),
        (("--pay-to", PAYEE, "--facilitator", "ftp://x"), ("ftp://x",)),
        (("--pay-to", PAYEE, "--asset", "0x12", *FAR), ("0x12", "ADDRESS:NAME:VERSION")),
        (("--network", "eip155:5", "--pay-to", PAYEE, *FAR), ("eip155:5", "--asset")),
        (("--payments", "off"), ("--testnet",)),
        (("--payments", "simulated"), ("--testnet",)),
        (("--testnet", "--payments", "simulated", *FAR), ("--facilitator",)),
        (("--testnet", "--payments", "simulated", "--network", "solana"), ("solana", "EVM")),
        (("--testnet", "--payments", "simulated", "--network", "eip155:143"), ("eip155:143",)),
        (("--testnet", "--payments", "cash"), ("cash", "simulated")),
    ],
)
def test_a_node_that_cannot_sell(
    refused: Start, arguments: tuple[str, ...], named: tuple[str, ...]
) -> None:
    said = refused("run", *arguments)
    for each in named:
        assert each in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run", "--testnet", "--network", "moon"), "moon"),
        (("run", "--testnet", "--network", ""), "etwork"),
        (("run", "--testnet", "--port", "many"), "--port"),
        (("run", "--testnet", "--port", "-1"), "--port"),
        (("run", "--testnet", "--port", "65536"), "--port"),
        (("run", "--testnet", "--slots", "0"), "--slots"),
        (("run", "--testnet", "--slots", "1.5"), "--slots"),
        (("run", "--testnet", "--classifier", "oracle"), "oracle"),
        (("worker", "--classifier", ""), "--classifier"),
        (("run", "--testnet", "--log-level", "loud"), "--log-level"),
        (("run", "--testnet", "--log-format", "xml"), "--log-format"),
        (("run", "--testnet", "--no-such-flag"), "--no-such-flag"),
        (("run", "--testnet", "--port"), "--port"),
        (("run", "--testnet", "--limit", "faults_max"), "--limit"),
        (("run", "--testnet", "--limit", "beauty=1"), "beauty"),
        (("run", "--testnet", "--limit", "faults_max=many"), "faults_max"),
        (("run", "--testnet", "--limit", "faults_max=-1"), "faults_max"),
        (("run", "--testnet", "--grace", "-1"), "--grace"),
        (("run", "--testnet", "--grace", "nan"), "--grace"),
        (("run", "--testnet", "--backend", "openai"), "--base-url"),
        (("run", "--testnet", "--base-url", "http://127.0.0.1:8000/v1"), "--backend"),
        (("run", "--testnet", "--backend", "ollama", "--base-url", "http://x"), "ollama"),
        (("worker", "--limit", "beauty=1"), "beauty"),
        (("worker", "--backend", "openai"), "--base-url"),
        (("worker", "--slots", "-3"), "--slots"),
        (("worker", "--capability", "dance"), "--capability"),
        (("worker", "--precision", "int2"), "--precision"),
        (("worker", "--provider-type", "toaster"), "--provider-type"),
        (("dance",), "dance"),
    ],
)
def test_an_argument_that_means_nothing(
    invoke: Invoke, started: Started, arguments: tuple[str, ...], named: str
) -> None:
    result = invoke(*arguments)
    assert named in assert_one_sentence(result.exit_code, result.stdout, result.stderr)
    assert started.config is None


@pytest.mark.parametrize(
    "variables",
    [{"PORT": "many"}, {"DISPATCHD_SLOTS": "0"}, {"NETWORK": "moon"}, {"TESTNET_MODE": "perhaps"}],
)
def test_a_variable_that_means_nothing(
    invoke: Invoke, started: Started, variables: dict[str, Any]
) -> None:
    testnet = {} if "TESTNET_MODE" in variables else {"TESTNET_MODE": "true"}
    result = invoke("run", **testnet, **variables)
    said = assert_one_sentence(result.exit_code, result.stdout, result.stderr)
    assert any(word in said for word in (*variables, *variables.values()))
    assert started.config is None


def test_a_genai_folder_that_is_not_run_here(refused: Start, tmp_path: Path) -> None:
    model = {"context_length": 100, "decoder": {}, "vision": {"filename": "vision.onnx"}}
    (tmp_path / "genai_config.json").write_text(json.dumps({"model": model}))
    said = refused(*FULL_NODE, "--model", str(tmp_path))
    assert "a graph for pictures (vision), which cannot be run here" in said
