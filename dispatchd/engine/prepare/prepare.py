"""A published model made into a folder that the batcher runs."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dispatchd.core.errors import Unusable
from dispatchd.engine import Progress
from dispatchd.engine.machine import adds_bytes_whole
from dispatchd.engine.parse import read_tokenizer
from dispatchd.engine.prepare.architecture import Architecture, read_architecture
from dispatchd.engine.prepare.graph import EMBEDDING, DecoderGraph, check_weights
from dispatchd.engine.prepare.manifest import (
    DATA_NAME,
    FILE_NAME,
    FORMAT,
    GRAPH_NAME,
    Int8Bits,
    Manifest,
    Precision,
    Source,
    hash_files,
    write_manifest,
)
from dispatchd.engine.prepare.nodes import Nodes
from dispatchd.engine.prepare.tensors import TensorFile
from dispatchd.engine.prepare.weights import Weights, open_weights

REQUIRED = ("config.json", "tokenizer.json")
OPTIONAL = ("tokenizer_config.json", "chat_template.jinja", "generation_config.json")

# Shares of the time that the bar moves through; hashing and writing are both bound by the disk.
_HASHED_SOURCE = 0.2
_BUILT = 0.9

# Of the result, at the least; int8 and int4 keep the embeddings in 2 bytes, which is left out here.
_BYTES_A_NUMBER = {"fp32": 4, "fp16": 2, "int8": 1, "int4": 0.5}


def prepare(
    source: Path,
    target: Path,
    precision: Precision,
    *,
    name: str,
    source_repo: str | None = None,
    revision: str | None = None,
    progress: Progress = lambda _: None,
    int8_bits: Int8Bits | None = None,
) -> Manifest:
    """Prepares the hub-layout folder `source` as the folder `target`, which replaces an older one.

    `progress` hears the share that is done, rising to 1; what it raises ends the work. `target`
    appears whole or not at all. `int8_bits` are by default as many as this machine's quickest
    kernels add up without a loss.
    Raises Unusable with what is wrong: an architecture that is not known, weights that are
    missing, a disk that is full.
    """
    bits = int8_bits or (8 if adds_bytes_whole() else 7)
    architecture = read_architecture(source)
    weights = open_weights(source)
    check_weights(architecture, weights)
    _check_tokenizer(source, architecture)
    _check_target(target)
    _check_room(target, weights, precision)
    copied = [source / file for file in (*REQUIRED, *OPTIONAL) if (source / file).is_file()]
    read = hash_files([*copied, *weights.files], _part(progress, 0.0, _HASHED_SOURCE))
    with _replacing(target) as folder:
        with (folder / DATA_NAME).open("wb") as data:
            nodes = Nodes(TensorFile(data, DATA_NAME))
            graph = DecoderGraph(architecture, weights, precision, nodes, int8_bits=bits)
            _build(folder, graph, architecture, weights, _part(progress, _HASHED_SOURCE, _BUILT))
        for file in copied:
            shutil.copyfile(file, folder / file.name)
        manifest = Manifest(
            format=FORMAT,
            name=name,
            source=Source(source_repo, revision, read),
            architecture=architecture.family,
            precision=precision,
            layers=architecture.layers,
            kv_heads=architecture.kv_heads,
            head_size=architecture.head_size,
            vocab_size=architecture.vocab_size,
            context_tokens=architecture.context_tokens,
            result=hash_files(folder.iterdir(), _part(progress, _BUILT, 1.0)),
            int8_bits=bits if precision == "int8" else 8,
        )
        write_manifest(folder, manifest)
    return manifest


def _build(
    folder: Path,
    graph: DecoderGraph,
    architecture: Architecture,
    weights: Weights,
    progress: Progress,
) -> None:
    again = architecture.vocab_size * architecture.hidden_size if graph.head == EMBEDDING else 0
    weights.tell(_counting(weights.numbers + again, progress))
    model = graph.build()
    (folder / GRAPH_NAME).write_bytes(model.SerializeToString(deterministic=True))
    progress(1.0)


def _counting(total: int, progress: Progress) -> Callable[[int], None]:
    done = 0

    def heard(count: int) -> None:
        nonlocal done
        done += count
        progress(min(done / total, 1.0))

    return heard


def _check_tokenizer(source: Path, architecture: Architecture) -> None:
    words = read_tokenizer(source / "tokenizer.json").get_vocab_size()
    if words > architecture.vocab_size:
        raise Unusable(
            f"{source / 'tokenizer.json'} knows {words} tokens, but the weights only"
            f" {architecture.vocab_size}: the two belong to different models."
        )


def _check_target(target: Path) -> None:
    if target.exists() and not (target / FILE_NAME).is_file():
        raise Unusable(f"{target} exists and is no prepared model: move it away first.")


def _check_room(target: Path, weights: Weights, precision: Precision) -> None:
    """Unusable if the disk clearly has no room for the result."""
    target.parent.mkdir(parents=True, exist_ok=True)
    needed = weights.numbers * _BYTES_A_NUMBER[precision]
    if (free := shutil.disk_usage(target.parent).free) < needed:
        raise Unusable(
            f"{target} would need {needed / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB free."
        )


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A new folder that takes the target's place once all went well, else leaves no trace.

    What a killed process left of an earlier try is removed; one that still tries is let alone.
    """
    folder, old = (target.with_name(f".{target.name}.{part}") for part in ("new", "old"))
    try:
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=0):
            yield from _exchanged(target, folder, old)
    except Timeout as error:
        raise Unusable(f"{target} is being prepared by another process: wait for it.") from error


def _exchanged(target: Path, folder: Path, old: Path) -> Iterator[Path]:
    _tidy(target, folder, old)
    try:
        folder.mkdir()
        yield folder
        for file in folder.iterdir():
            _flush(file)
        if target.exists():
            target.rename(old)
        folder.rename(target)
    except OSError as error:
        raise Unusable(f"{target} cannot be written ({error.strerror}).") from error
    finally:
        _tidy(target, folder, old)


def _tidy(target: Path, folder: Path, old: Path) -> None:
    """Puts the older folder back where the new one did not take its place; removes what is left."""
    if old.exists() and not target.exists():
        old.rename(target)
    for stale in (folder, old):
        shutil.rmtree(stale, ignore_errors=True)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _part(progress: Progress, start: float, end: float) -> Progress:
    return lambda share: progress(start + share * (end - start))
