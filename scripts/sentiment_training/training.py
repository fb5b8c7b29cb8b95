"""The training loop: batches of like length, Adam with a rate that falls to zero.

What comes of it is the moving average of the weights (Polyak, Juditsky 1992).
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dispatchd.engine.classifier import WINDOW_TOKENS
from scripts.sentiment_training import network, words
from scripts.sentiment_training.mixture import Mixture
from scripts.sentiment_training.rows import Row

_BATCH = 128
_BATCHES_SORTED = 50
_RISE_STEPS = 100
_DECAY = 0.01
_LABEL_SMOOTHING = 0.05
_AVERAGE_DECAY = 0.998
_TEMPERATURES = np.arange(0.5, 2.5, 0.02)


class Training:
    """A network in training, and `average`, the one that comes of it."""

    def __init__(self, net: nn.ModuleDict, tokenizer: Tokenizer, chance: random.Random) -> None:
        self._net = net
        self._tokenizer = tokenizer
        self._chance = chance
        self._averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGE_DECAY))

    @property
    def average(self) -> nn.ModuleDict:
        """The network with its averaged weights."""
        return self._averaged.module

    def epochs(self, mixture: Mixture, count: float, rate: float) -> Iterator[str]:
        """Trains for so many epochs, the last of which may be a part of one; says how each went."""
        net = self._net
        steps = int(count * (len(mixture.epoch()) // _BATCH + 1))
        optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=_DECAY, fused=True)
        rates = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / _RISE_STEPS, max(0.0, 1 - step / steps))
        )
        done = 0
        while done < steps:
            net.train()
            losses = []
            for ids, labels in islice(_batches(self._rough, mixture.epoch()), steps - done):
                loss = functional.cross_entropy(
                    network.scores(net, ids), labels, label_smoothing=_LABEL_SMOOTHING
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rates.step()
                self._averaged.update_parameters(net)
                losses.append(loss.item())
            done += len(losses)
            yield f"step {done} of {steps}: loss {np.mean(losses):.4f}"

    def _rough(self) -> Tokenizer:
        return words.roughly(self._tokenizer, self._chance)


def accuracy(net: nn.ModuleDict, tokenizer: Tokenizer, rows: Sequence[Row]) -> float:
    """The share of rows whose label is found."""
    logits, labels = _scored(net, tokenizer, rows)
    return float((logits.argmax(1) == labels).float().mean())


def temperature(net: nn.ModuleDict, tokenizer: Tokenizer, rows: Sequence[Row]) -> float:
    """What to divide logits by, so that they fit the rows best.

    After Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """
    logits, labels = _scored(net, tokenizer, rows)
    losses = [float(functional.cross_entropy(logits / each, labels)) for each in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def _scored(net: nn.ModuleDict, tokenizer: Tokenizer, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Logits and labels of the rows, in an order of their own."""
    net.eval()
    with torch.no_grad():
        scored = [
            (network.scores(net, ids), labels)
            for ids, labels in _batches(lambda: tokenizer, list(rows))
        ]
    logits, labels = zip(*scored, strict=True)
    return torch.cat(logits), torch.cat(labels)


def _batches(
    tokenizer: Callable[[], Tokenizer], rows: list[Row]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids [batch, tokens] and labels [batch]; texts of like length share a batch.

    The tokenizer is asked for anew now and then.
    """
    size = _BATCH * _BATCHES_SORTED
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        encodings = tokenizer().encode_batch([row.text for row in some])
        texts = [encoding.ids[:WINDOW_TOKENS] for encoding in encodings]
        places = sorted(range(len(some)), key=lambda place: len(texts[place]))
        batches = [places[i : i + _BATCH] for i in range(0, len(places), _BATCH)]
        for place in torch.randperm(len(batches)).tolist():
            batch = batches[place]
            yield _padded([texts[i] for i in batch]), torch.tensor([some[i].label for i in batch])


def _padded(texts: list[list[int]]) -> Tensor:
    ids = torch.full((len(texts), max(1, *map(len, texts))), words.PAD)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    return ids
