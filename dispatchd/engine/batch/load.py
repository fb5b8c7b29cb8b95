"""A prepared model's folder, opened for batching."""

from pathlib import Path

import numpy as np
from msgspec.structs import replace

from dispatchd.core.errors import Unusable
from dispatchd.engine.batch.batcher import Batcher, Determinism
from dispatchd.engine.batch.machine import cpu_features, memory_bytes
from dispatchd.engine.batch.pool import Pool
from dispatchd.engine.batch.schedule import CHUNK_TOKENS, pool_tokens
from dispatchd.engine.batch.stepper import Stepper, cache_shape
from dispatchd.engine.batch.turns import Turns
from dispatchd.engine.chat import compile_template
from dispatchd.engine.folder import ModelFolder, read_folder
from dispatchd.engine.prepare.manifest import FILE_NAME, Manifest, read_manifest
from dispatchd.engine.prompt import PromptEncoder
from dispatchd.engine.session import RUNTIME, Session, open_session

POOL_TOKENS_MIN = 256
_POOL_SHARE = 2  # a pool may take this part of the memory


def is_prepared(folder: Path) -> bool:
    """Whether `prepare` made this folder."""
    return (folder / FILE_NAME).is_file()


def open_batcher(
    folder: Path, *, threads: int, slots: int, pool_bytes_max: int | None = None
) -> Batcher:
    """The folder's model, loaded and proven by a step; Unusable if it cannot be.

    Each slot may hold the model's whole context, or less where that would be more memory than
    `pool_bytes_max`, by default half of what there is.
    """
    manifest = read_manifest(folder)
    model = replace(read_folder(folder), name=manifest.name)
    encoder = PromptEncoder(model, compile_template(model))
    session = open_session(model.onnx, threads=threads)
    pool = _pool(model, manifest, session, slots, pool_bytes_max)
    stepper = Stepper(session, pool, vocab_size=manifest.vocab_size, chunk=CHUNK_TOKENS)
    _prove(stepper, model)
    return Batcher(
        model,
        encoder,
        Turns(stepper, pool),
        context_tokens=pool.tokens,
        determinism=_determinism(manifest, session),
    )


def _pool(
    model: ModelFolder, manifest: Manifest, session: Session, slots: int, bytes_max: int | None
) -> Pool:
    shape = cache_shape(session)
    context = min(manifest.context_tokens, model.context_tokens)
    tokens = pool_tokens(
        context_tokens=context,
        token_bytes=shape.token_bytes,
        slots=slots,
        bytes_max=memory_bytes() // _POOL_SHARE if bytes_max is None else bytes_max,
    )
    if tokens < min(context, POOL_TOKENS_MIN):
        raise Unusable(
            f"{slots} jobs at once of {model.name} leave memory for {tokens} tokens each: give"
            " fewer --slots."
        )
    return Pool(shape, slots=slots, tokens=tokens)


def _prove(stepper: Stepper, model: ModelFolder) -> None:
    try:
        scores = stepper.read(0, np.zeros(2, dtype=np.int64), 0)
        stepper.decode([0], [2])
    except Exception as error:
        raise Unusable(f"{model.onnx} fails at its first step: prepare it again.") from error
    if not np.isfinite(scores).all():
        raise Unusable(f"{model.onnx} gives scores that are no numbers: prepare it again.")


def _determinism(manifest: Manifest, session: Session) -> Determinism:
    return Determinism(
        model_sha256=manifest.model_hash,
        precision=manifest.precision,
        provider=session.device,
        cpu=cpu_features(),
        runtime=RUNTIME,
    )
