"""llama.cpp as a contestant: its own server, quantizer and scheduler, over HTTP on loopback."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from scripts.engine_bench.contest import Prompt

_START_SECONDS = 120.0
_PAUSE_SECONDS = 0.1


class LlamaServer:
    """A running server; each prompt is a request of its own, all sent at once."""

    def __init__(self, name: str, url: str, slots: int) -> None:
        self.name = name
        self._url = url
        self._senders = ThreadPoolExecutor(slots)

    def seconds(self, prompts: Sequence[Prompt], new_tokens: int) -> float:
        """See `Contestant`."""
        started = time.perf_counter()
        made = list(self._senders.map(lambda prompt: self._complete(prompt, new_tokens), prompts))
        seconds = time.perf_counter() - started
        if set(made) != {new_tokens}:
            raise RuntimeError(f"{self.name} made {made} tokens, not {new_tokens} each")
        return seconds

    def _complete(self, prompt: Prompt, new_tokens: int) -> int:
        body = {
            "prompt": list(prompt.ids),
            "n_predict": new_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "cache_prompt": False,
        }
        request = urllib.request.Request(
            f"{self._url}/completion",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return int(json.load(answer)["tokens_predicted"])


def quantized(programs: Path, gguf: Path, kind: str) -> Path:
    """The file in one of llama.cpp's formats (`q8_0`, `q4_0`), by its own quantizer."""
    target = gguf.with_name(f"{gguf.stem}-{kind}.gguf")
    if not target.exists():
        command = [str(programs / "llama-quantize"), str(gguf), str(target), kind]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return target


@contextmanager
def llama_server(
    programs: Path, model: Path, *, threads: int, slots: int, tokens: int
) -> Iterator[LlamaServer]:
    """The server over that model while the block lasts, `slots` jobs of `tokens` tokens each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "--model": model,
        "--host": "127.0.0.1",
        "--port": port,
        "--threads": threads,
        "--threads-batch": threads,
        "--parallel": slots,
        "--ctx-size": slots * tokens,
        "--cache-ram": 0,
    }
    words = [str(word) for pair in options.items() for word in pair]
    process = subprocess.Popen(
        [programs / "llama-server", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, url)
        yield LlamaServer(f"llama.cpp {model.stem.rpartition('-')[2]}", url, slots)
    finally:
        process.terminate()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health"):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(_PAUSE_SECONDS)
    raise RuntimeError("llama-server did not start")
