"""A prepared model's folder, opened for batching."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from dispatchd.core.errors import Unusable
from dispatchd.engine import Device
from dispatchd.engine.batch.batcher import Batcher, Determinism
from dispatchd.engine.batch.host import HostPool, HostReadout
from dispatchd.engine.batch.pool import CacheShape, Pool
from dispatchd.engine.batch.readout import Readout
from dispatchd.engine.batch.schedule import CHUNK_TOKENS, pool_tokens
from dispatchd.engine.batch.stepper import Stepper, cache_shape
from dispatchd.engine.batch.turns import Turns
from dispatchd.engine.chat import compile_template
from dispatchd.engine.cuda import find_gpu
from dispatchd.engine.folder import ModelFolder, read_folder
from dispatchd.engine.machine import cpu_features, memory_bytes
from dispatchd.engine.observer import UNOBSERVED, EngineObserver
from dispatchd.engine.prepare.manifest import DATA_NAME, Manifest, read_manifest
from dispatchd.engine.prompt import PromptEncoder
from dispatchd.engine.provider import devices, on_best_device
from dispatchd.engine.sampling import Ranked
from dispatchd.engine.session import RUNTIME, Session, open_session

POOL_TOKENS_MIN = 256
_POOL_SHARE = 2  # a pool may take this part of the memory


def open_batcher(
    folder: Path,
    *,
    threads: int,
    slots: int,
    pool_bytes_max: int | None = None,
    on_device: bool | None = None,
    observer: EngineObserver = UNOBSERVED,
) -> Batcher:
    """The folder's model, loaded and proven by a step; Unusable if it cannot be.

    Each slot may hold the model's whole context, or less where that would be more memory than
    `pool_bytes_max`, by default half of what there is. Caches and scores are kept `on_device` by
    default where the graph runs on a GPU; on the CPU that gives the same, only slower.
    """
    manifest = read_manifest(folder)
    model = replace(read_folder(folder), name=manifest.name)
    encoder = PromptEncoder(model, compile_template(model))

    def begin(device: Device) -> tuple[Session, Pool, Stepper]:
        session = open_session(
            model.onnx, threads=threads, device=device, small_products=manifest.int8_bits == 7
        )
        apart = session.device != "cpu" if on_device is None else on_device
        shape, rows = cache_shape(session), slots + apart
        bytes_max = _bytes_max(model, session.device) if pool_bytes_max is None else pool_bytes_max
        tokens = _tokens(model, manifest, shape.token_bytes * rows, bytes_max)
        pool, readout = _memory(session, manifest, shape, slots, tokens, apart=apart)
        stepper = Stepper(session, pool, readout, chunk=CHUNK_TOKENS)
        _prove(stepper, model)
        return session, pool, stepper

    session, pool, stepper = on_best_device(begin, _suitable(manifest))
    return Batcher(
        model,
        encoder,
        Turns(stepper, pool, observer=observer),
        context_tokens=pool.tokens,
        determinism=_determinism(manifest, session),
    )


def _suitable(manifest: Manifest) -> Sequence[Device]:
    """Where the graph may run: a GPU attends to float16 alone, and has no products of int8."""
    return devices() if manifest.precision == "fp16" else ["cpu"]


def _bytes_max(model: ModelFolder, device: Device) -> int:
    if device == "cpu" or (gpu := find_gpu()) is None:
        return memory_bytes() // _POOL_SHARE
    weights_bytes = model.onnx.with_name(DATA_NAME).stat().st_size
    return max(0, gpu.memory_bytes - weights_bytes) // _POOL_SHARE


def _tokens(model: ModelFolder, manifest: Manifest, token_bytes: int, bytes_max: int) -> int:
    """How long each sequence may get, where a token of all of them takes `token_bytes`."""
    context = min(manifest.context_tokens, model.context_tokens)
    tokens = pool_tokens(context_tokens=context, token_bytes=token_bytes, bytes_max=bytes_max)
    if tokens < min(context, POOL_TOKENS_MIN):
        raise Unusable(
            f"The jobs at once of {model.name} leave memory for {tokens} tokens each: give"
            " fewer --slots."
        )
    return tokens


def _memory(
    session: Session, manifest: Manifest, shape: CacheShape, slots: int, tokens: int, *, apart: bool
) -> tuple[Pool, Readout]:
    try:
        if not apart:
            pool = HostPool(shape, slots=slots, tokens=tokens)
            return pool, HostReadout(slots=slots, vocab_size=manifest.vocab_size)
        # with onnx, which nothing else needs
        kinds = import_module("dispatchd.engine.batch.device")
        return (
            kinds.DevicePool(session, shape, slots=slots, tokens=tokens),
            kinds.DeviceReadout(session, slots=slots, vocab_size=manifest.vocab_size),
        )
    except Exception as error:
        raise Unusable(
            f"The {session.device} has no room for {slots} jobs at once of {manifest.name}: give"
            " fewer --slots."
        ) from error


def _prove(stepper: Stepper, model: ModelFolder) -> None:
    try:
        stepper.read(0, np.zeros(2, dtype=np.int64), 0)
        scores = stepper.follows(0)
        stepper.decode([0], [2], [1])
    except Exception as error:
        raise Unusable(f"{model.onnx} fails at its first step: prepare it again.") from error
    if isinstance(scores, Ranked) or not np.isfinite(scores).all():
        raise Unusable(f"{model.onnx} gives scores that are no numbers: prepare it again.")


def _determinism(manifest: Manifest, session: Session) -> Determinism:
    gpu = find_gpu() if session.device == "cuda" else None
    return Determinism(
        model_sha256=manifest.model_hash,
        precision=manifest.precision,
        provider=session.device,
        cpu=cpu_features(),
        runtime=RUNTIME,
        gpu=gpu.name if gpu else "",
    )
