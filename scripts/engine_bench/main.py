"""Measures the batcher over one model, and its peers where they are there."""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from dispatchd.engine.batch.batcher import Batcher
from dispatchd.engine.batch.load import is_prepared, open_batcher
from dispatchd.engine.batch.machine import compute_threads
from dispatchd.engine.catalog import find
from dispatchd.engine.prepare.prepare import prepare
from scripts.engine_bench.load import Prompts, lag, together
from scripts.engine_bench.peers import peers
from scripts.engine_bench.random_model import write_random_model


def main() -> None:
    """Prints one JSON line for each figure, and a table of ratios at the end."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as scratch:
        folder = _prepared(options, Path(scratch))
        batcher = open_batcher(folder, threads=options.threads, slots=max(options.jobs))
        try:
            ours = _figures(batcher, options)
        finally:
            batcher.close()
        theirs = {name: peer(options) for name, peer in peers(options).items()}
    _say_ratios(ours, theirs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_engine.py", description=__doc__)
    parser.add_argument(
        "model", help="a model's name or folder, prepared or as published; or `random`, 135 M"
    )
    parser.add_argument("--precision", default="int8", choices=["fp32", "int8", "int4"])
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=compute_threads())
    parser.add_argument(
        "--keep", type=Path, help="folder for what is prepared, used again if there"
    )
    parser.add_argument("--llama-server", help="address of a running llama.cpp server, as a peer")
    parser.add_argument("--genai", type=Path, help="an onnxruntime-genai folder, as a peer")
    return parser.parse_args()


def _prepared(options: argparse.Namespace, scratch: Path) -> Path:
    home: Path = options.keep or scratch
    target = home / f"{Path(options.model).name}-{options.precision}"
    if is_prepared(target):
        return target
    if options.model == "random":
        source = write_random_model(scratch / "source")
    else:
        source = find(options.model).path
    if is_prepared(source):
        return source
    prepare(source, target, options.precision, name=target.name)
    return target


def _figures(batcher: Batcher, options: argparse.Namespace) -> dict[str, float]:
    prompts = Prompts(batcher)
    together(batcher, [prompts.text(64)], 8)  # the first run is slower
    figures: dict[str, float] = {}
    for jobs in options.jobs:
        rounds = [
            together(
                batcher,
                [prompts.text(options.prompt_tokens) for _ in range(jobs)],
                options.new_tokens,
            )
            for _ in range(options.rounds)
        ]
        middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        figures[f"new tokens/s, {jobs} at once"] = middle["tokens_per_second"]
        _say({"jobs": jobs, **middle})
    length = min(512, batcher.context_tokens - 8)
    prefill = [together(batcher, [prompts.text(length)], 1) for _ in range(options.rounds)]
    rate = statistics.median(one["prompt_tokens_per_second"] for one in prefill)
    figures["prompt tokens/s"] = rate
    _say({"prefill_tokens": length, "tokens_per_second": rate})
    for jobs in (0, 4, max(options.jobs)):
        late = asyncio.run(lag(batcher if jobs else None, jobs, 5.0))
        _say({"event_loop_lag_ms": late, "jobs": jobs})
    return figures


def _say(figure: dict[str, Any]) -> None:
    rounded = json.loads(json.dumps(figure), parse_float=lambda digits: round(float(digits), 2))
    sys.stdout.write(json.dumps(rounded) + "\n")
    sys.stdout.flush()


def _say_ratios(ours: dict[str, float], theirs: dict[str, dict[str, float]]) -> None:
    first = next(iter(ours.values()))
    _say({"ours, 1 is one job's new tokens/s": {key: rate / first for key, rate in ours.items()}})
    for name, figures in theirs.items():
        ratios = {key: ours[key] / rate for key, rate in figures.items() if key in ours}
        _say({f"ours over {name}": ratios})


if __name__ == "__main__":
    main()
