"""The network in PyTorch: embeddings, banks of convolutions, their maxima, one linear layer.

After Kim, "Convolutional Neural Networks for Sentence Classification" (2014), with the mean of the
embeddings beside the maxima. A text's scores do not depend on how far it is padded: the maximum is
taken over every window that touches the text and one that holds nothing but padding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.sentiment_training.rows import LABELS
from scripts.sentiment_training.shape import BANKS, EMBEDDING, FEATURES, Bank, Floats, Weights
from scripts.sentiment_training.words import PAD

_EMBEDDING_SPREAD = 0.1
_WORD_DROPOUT = 0.05
_EMBEDDING_DROPOUT = 0.2
_FEATURE_DROPOUT = 0.5


def new(vocabulary: int) -> nn.ModuleDict:
    """An untrained network."""
    embeddings = torch.randn(vocabulary, EMBEDDING) * _EMBEDDING_SPREAD
    embeddings[PAD] = 0
    return nn.ModuleDict(
        {
            "embedding": nn.Embedding.from_pretrained(embeddings, freeze=False, padding_idx=PAD),
            "banks": nn.ModuleList(
                nn.Linear(EMBEDDING * bank.width, bank.channels) for bank in BANKS
            ),
            "output": nn.Linear(FEATURES, len(LABELS)),
        }
    )


def scores(network: nn.ModuleDict, ids: Tensor) -> Tensor:
    """Token ids [batch, tokens] to logits [batch, labels]."""
    if network.training:
        ids = ids.masked_fill(torch.rand(ids.shape) < _WORD_DROPOUT, PAD)
    embedded = network["embedding"](ids)
    embedded = functional.dropout(embedded, _EMBEDDING_DROPOUT, network.training)
    features = [embedded.sum(1) / (ids != PAD).sum(1, keepdim=True).clamp(min=1)]
    for bank, layer in zip(BANKS, network["banks"], strict=True):
        strongest = layer(_windows(embedded, bank)).max(1).values
        features.append(functional.relu(strongest))
    dropped = functional.dropout(torch.cat(features, 1), _FEATURE_DROPOUT, network.training)
    return network["output"](dropped)


def _windows(embedded: Tensor, bank: Bank) -> Tensor:
    """Every window that touches the text, and one after it: [batch, places, width * EMBEDDING]."""
    padded = functional.pad(embedded, (0, 0, bank.reach, bank.reach + 1))
    places = padded.shape[1] - bank.reach
    return torch.cat([padded[:, start : start + places] for start in range(bank.width)], 2)


def weights(network: nn.ModuleDict) -> Weights:
    """The network's arrays."""
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}

    def pair(name: str) -> tuple[Floats, Floats]:
        return arrays[f"{name}.weight"], arrays[f"{name}.bias"]

    banks = [pair(f"banks.{place}") for place in range(len(BANKS))]
    return Weights(arrays["embedding.weight"], banks, pair("output"))


def load(network: nn.ModuleDict, weights: Weights) -> None:
    """Puts the arrays into the network."""
    state = {"embedding.weight": weights.embedding}
    named = [*((f"banks.{place}", pair) for place, pair in enumerate(weights.banks))]
    for name, (weight, bias) in [*named, ("output", weights.output)]:
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    network.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
