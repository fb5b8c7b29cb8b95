"""The training loop: language first, then conversations; what was done is kept and gone on with."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import Struct

from scripts.lm_training.batches import Batch, Batches
from scripts.lm_training.model import Decoder
from scripts.lm_training.muon import Muon
from scripts.lm_training.presets import Preset

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"
_WARM_UP_STEPS = 20
_CHECKPOINT_SECONDS = 150.0
_LOG_EVERY = 10
_WEIGHT_DECAY = 0.05
_GRADIENT_NORM_MAX = 1.0


class _Progress(Struct):
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float = 0.0


class Training:
    """One model's training, in a folder that holds its checkpoint and log."""

    def __init__(self, preset: Preset, batches: Batches, folder: Path, seed: int) -> None:
        torch.manual_seed(seed)
        self._preset = preset
        self._batches = batches
        self._folder = folder
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = Decoder(preset).to(self._device)
        self._done = _Progress()
        self._optimizers = self._make_optimizers()
        self._rates = [group["lr"] for group in self._groups()]

    def run(self) -> None:
        """Trains until all steps are done; begins at the last checkpoint, if there is one."""
        self.resume()
        kept = time.monotonic()
        while self._done.step < self._preset.steps:
            started = time.monotonic()
            self._step()
            self._done.seconds += time.monotonic() - started
            if self._done.step % _LOG_EVERY == 0:
                self._log()
            if time.monotonic() - kept > _CHECKPOINT_SECONDS:
                self._keep()
                kept = time.monotonic()
        self._keep()

    def _step(self) -> None:
        """One step over a step's batches, whose gradients add up."""
        batches = self._read(self._done.step)
        wanted = sum(int(batch.wanted[:, 1:].sum()) for batch in batches)
        total = 0.0
        for batch in batches:
            loss = self._loss(batch) / wanted
            loss.backward()
            total += float(loss.detach())
            self._done.tokens += batch.ids.size
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _GRADIENT_NORM_MAX)
        factor = rate_factor(self._done.step, self._preset)
        for group, rate in zip(self._groups(), self._rates, strict=True):
            group["lr"] = rate * factor
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._done.step += 1
        self._done.loss = total

    def _read(self, step: int) -> list[Batch]:
        if step < self._preset.language_steps:
            return self._batches.language(step)
        return self._batches.conversations(step)

    def _loss(self, batch: Batch) -> Any:
        ids = torch.from_numpy(batch.ids).to(self._device)
        wanted = torch.from_numpy(batch.wanted).to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._preset.bf16):
            return self.model.loss(ids, wanted)

    def _make_optimizers(self) -> list[Any]:
        layers = list(self.model.model.layers.parameters())
        matrices = [weight for weight in layers if weight.dim() == 2]
        vectors = [weight for weight in self.model.parameters() if weight.dim() == 1]
        table = self.model.model.embed_tokens.weight
        adam = torch.optim.AdamW(
            [{"params": [table]}, {"params": vectors}],
            lr=self._preset.table_rate,
            betas=(0.9, 0.95),
            weight_decay=0.0,
        )
        return [Muon(matrices, self._preset.matrix_rate, _WEIGHT_DECAY), adam]

    def _groups(self) -> Iterator[dict[str, Any]]:
        for optimizer in self._optimizers:
            yield from optimizer.param_groups

    def resume(self) -> None:
        """Takes over the last checkpoint, if there is one."""
        path = self._folder / CHECKPOINT
        if not path.is_file():
            return
        kept = torch.load(path, map_location=self._device, weights_only=True)
        self.model.load_state_dict(kept["model"])
        for optimizer, state in zip(self._optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self._done = _Progress(**kept["done"])
        print(f"goes on at step {self._done.step}", flush=True)

    def _keep(self) -> None:
        """Writes the checkpoint; a process that is killed meanwhile leaves the one before."""
        path = self._folder / CHECKPOINT
        done = {field: getattr(self._done, field) for field in _Progress.__struct_fields__}
        kept = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "done": done,
        }
        torch.save(kept, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def _log(self) -> None:
        done = self._done
        row = {
            "step": done.step,
            "tokens": done.tokens,
            "seconds": round(done.seconds, 1),
            "loss": round(done.loss, 4),
        }
        line = json.dumps(row)
        print(line, flush=True)
        with (self._folder / LOG).open("a", encoding="utf-8") as log:
            log.write(line + "\n")


def rate_factor(step: int, preset: Preset) -> float:
    """What the rates are multiplied by: a warm-up, then 1, then a fall to nearly nothing."""
    left = (preset.steps - step) / (preset.decay_share * preset.steps)
    return float(np.clip(min((step + 1) / _WARM_UP_STEPS, left), 0.0, 1.0))
