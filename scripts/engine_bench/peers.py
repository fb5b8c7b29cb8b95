"""Other engines on the same machine, where their address or folder is given."""

import argparse
import json
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import numpy as np

Figures = dict[str, float]
_IDS_FROM, _IDS_TO = 100, 1000  # tokens that every vocabulary has, and that are nothing special


def peers(options: argparse.Namespace) -> dict[str, Callable[[argparse.Namespace], Figures]]:
    """Those that can be measured here, by name."""
    found: dict[str, Callable[[argparse.Namespace], Figures]] = {}
    if options.llama_server:
        found["llama-server"] = _llama_server
    if options.genai and find_spec("onnxruntime_genai"):
        found["onnxruntime-genai"] = _genai
    return found


def _llama_server(options: argparse.Namespace) -> Figures:
    """A running llama.cpp server with as many slots as jobs (`--parallel`), over HTTP."""
    chance = np.random.default_rng(1)

    def complete(prompt_tokens: int, new_tokens: int) -> int:
        body = {
            "prompt": chance.integers(_IDS_FROM, _IDS_TO, prompt_tokens).tolist(),
            "n_predict": new_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "cache_prompt": False,
        }
        request = urllib.request.Request(
            f"{options.llama_server}/completion",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return int(json.load(answer)["tokens_predicted"])

    complete(8, 2)
    figures: Figures = {}
    for jobs in options.jobs:
        started = time.perf_counter()
        with ThreadPoolExecutor(jobs) as threads:
            made = sum(
                threads.map(
                    lambda _: complete(options.prompt_tokens, options.new_tokens), range(jobs)
                )
            )
        figures[f"new tokens/s, {jobs} at once"] = made / (time.perf_counter() - started)
    started = time.perf_counter()
    complete(512, 1)
    figures["prompt tokens/s"] = 512 / (time.perf_counter() - started)
    return figures


def _genai(options: argparse.Namespace) -> Figures:
    """onnxruntime-genai's generator, all sequences of a batch side by side."""
    import onnxruntime_genai as og  # type: ignore[import-not-found] # noqa: PLC0415 # optional

    model: Any = og.Model(str(options.genai))
    chance = np.random.default_rng(1)

    def rate(jobs: int, prompt_tokens: int, new_tokens: int) -> float:
        params = og.GeneratorParams(model)
        total = prompt_tokens + new_tokens
        params.set_search_options(
            batch_size=jobs, max_length=total, min_length=total, do_sample=False
        )
        started = time.perf_counter()
        generator = og.Generator(model, params)
        generator.append_tokens(
            chance.integers(_IDS_FROM, _IDS_TO, (jobs, prompt_tokens)).astype(np.int32)
        )
        for _ in range(new_tokens):
            generator.generate_next_token()
        return time.perf_counter() - started

    rate(1, 8, 2)
    figures = {
        f"new tokens/s, {jobs} at once": jobs
        * options.new_tokens
        / rate(jobs, options.prompt_tokens, options.new_tokens)
        for jobs in options.jobs
    }
    return figures | {"prompt tokens/s": 512 / rate(1, 512, 1)}
