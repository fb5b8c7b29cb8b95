"""Measures the engine over one model, beside the whole node and the peers that are given."""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dispatchd.engine.batch.load import open_batcher
from dispatchd.engine.catalog import find
from dispatchd.engine.machine import compute_threads
from dispatchd.engine.prepare.manifest import is_prepared
from dispatchd.engine.prepare.prepare import prepare
from scripts.engine_bench.contest import Case, Contestant, contest, ratios
from scripts.engine_bench.genai import GenAi
from scripts.engine_bench.gguf_model import write_gguf
from scripts.engine_bench.llama_cpp import llama_server, quantized
from scripts.engine_bench.load import Ours, Prompts, lag
from scripts.engine_bench.random_model import write_random_model
from scripts.engine_bench.whole_node import whole_node

_PREFILL_TOKENS = 512
_LAG_SECONDS = 5.0
_CONTEXT_TOKENS_MIN = 640  # what a peer's slot holds: the prefill case, with room


def main() -> None:
    """Prints one JSON line for each figure; the last lines are ratios of this one run."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as scratch, ExitStack() as opened:
        home: Path = options.keep or Path(scratch)
        source, folder = _models(options, home)
        slots = max(options.jobs)
        batcher = open_batcher(folder, threads=options.threads, slots=slots)
        opened.callback(batcher.close)
        ours = Ours(batcher)
        rivals = [
            *opened.enter_context(_llama_servers(options, source, home)),
            *([GenAi(options.genai, options.threads)] if options.genai else []),
        ]
        if not options.no_node:
            node = whole_node(folder, Path(scratch) / "node", slots)
            rivals.append(opened.enter_context(node))
        _contests(ours, rivals, Prompts(batcher), options)
        for jobs in (0, 4, slots):
            late = asyncio.run(lag(batcher if jobs else None, jobs, _LAG_SECONDS))
            _say({"event_loop_lag_ms": late, "jobs": jobs})


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
    parser.add_argument("--keep", type=Path, help="folder for what is made, used again if there")
    parser.add_argument("--no-node", action="store_true", help="without the whole node")
    parser.add_argument(
        "--llama-cpp", type=Path, help="folder of llama-server and llama-quantize, as a peer"
    )
    parser.add_argument(
        "--llama-formats", nargs="+", default=["q8_0", "q4_0"], help="what llama.cpp runs"
    )
    parser.add_argument("--genai", type=Path, help="an onnxruntime-genai folder, as a peer")
    return parser.parse_args()


def _models(options: argparse.Namespace, home: Path) -> tuple[Path, Path]:
    """The weights as published, and prepared; the same folder where only that is there."""
    source = home / "source"
    if options.model != "random":
        source = find(options.model).path
    elif not source.exists():
        write_random_model(source)
    target = home / f"{Path(options.model).name}-{options.precision}"
    if is_prepared(source):
        return source, source
    if not is_prepared(target):
        prepare(source, target, options.precision, name=target.name)
    return source, target


@contextmanager
def _llama_servers(
    options: argparse.Namespace, source: Path, home: Path
) -> Iterator[Sequence[Contestant]]:
    if options.llama_cpp is None:
        yield ()
        return
    if is_prepared(source):
        raise SystemExit("llama.cpp needs the weights as published: name their folder")
    plain = home / "model.gguf"
    if not plain.exists():
        write_gguf(source, plain)
    slots, tokens = max(options.jobs), max(_CONTEXT_TOKENS_MIN, _longest(options))
    with ExitStack() as opened:
        yield [
            opened.enter_context(
                llama_server(
                    options.llama_cpp,
                    quantized(options.llama_cpp, plain, kind),
                    threads=options.threads,
                    slots=slots,
                    tokens=tokens,
                )
            )
            for kind in options.llama_formats
        ]


def _longest(options: argparse.Namespace) -> int:
    return int(options.prompt_tokens + options.new_tokens)


def _contests(
    ours: Ours, rivals: Sequence[Contestant], prompts: Prompts, options: argparse.Namespace
) -> None:
    everyone = [ours, *rivals]
    cases = [Case(jobs, options.prompt_tokens, options.new_tokens) for jobs in options.jobs]
    contest(everyone, Case(1, options.prompt_tokens, 4), prompts, 1)  # first runs are slower
    ratio: dict[str, dict[str, float]] = {each.name: {} for each in rivals}
    for case in [*cases, Case(1, _PREFILL_TOKENS, 1)]:
        ours.waits.clear()
        rates = contest(everyone, case, prompts, options.rounds)
        waits = {key: statistics.median(one[key] for one in ours.waits) for key in ours.waits[0]}
        _say({case.name: {name: statistics.median(each) for name, each in rates.items()}, **waits})
        for name, figure in ratios(rates, ours.name).items():
            ratio[name][case.name] = figure
    for name, figures in ratio.items():
        _say({f"ours over {name}": figures})


def _say(figure: dict[str, Any]) -> None:
    rounded = json.loads(json.dumps(figure), parse_float=lambda digits: round(float(digits), 2))
    sys.stdout.write(json.dumps(rounded, ensure_ascii=False) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
