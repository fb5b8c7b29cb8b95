"""Trains the sentiment classifier on one thread and writes its folder."""

import argparse
import random
import sys
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn

from scripts.sentiment_training import export, first, network, training, words
from scripts.sentiment_training.mixture import Mixture
from scripts.sentiment_training.rows import facts, hashes, labelled, might_be_film, sha256

_ROOT = Path(__file__).parents[2]


def main() -> None:
    """Prints what was read and each epoch's figures; the same seed gives the same model."""
    options = _options()
    started = time.monotonic()
    _say(f"command: scripts/train_classifier.py {' '.join(sys.argv[1:])}")
    for name, digest in hashes(options.data).items():
        _say(f"sha256 {name} {digest}")
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    rows = labelled(options.data, "train")
    dev = labelled(options.data, "dev")
    if options.leave_out_film:
        rows, dev = ([row for row in part if not might_be_film(row.text)] for part in (rows, dev))
    chance = random.Random(options.seed)
    mixture = Mixture(rows + facts(options.data), chance)
    net, tokenizer = _begun(options, mixture)
    _say(f"{len(mixture.rows)} texts, {time.monotonic() - started:.0f} s")
    work = training.Training(net, tokenizer, chance)
    for news in work.epochs(mixture, options.epochs, options.rate):
        right = training.accuracy(work.average, tokenizer, dev)
        _say(f"{news}, dev {right:.4f}, {time.monotonic() - started:.0f} s")
    temperature = training.temperature(work.average, tokenizer, dev)
    export.write(options.out, network.weights(work.average), tokenizer, temperature)
    seconds, cpu = time.monotonic() - started, time.process_time()
    _say(f"temperature {temperature:.3f}, {seconds:.0f} s, of which {cpu:.0f} s at work")


def _begun(options: argparse.Namespace, mixture: Mixture) -> tuple[nn.ModuleDict, Tokenizer]:
    """The network as training finds it, and the tokenizer that it reads through."""
    if options.start is None:
        tokenizer = words.learn(row.text for row in mixture.rows)
        return network.new(tokenizer.get_vocab_size()), tokenizer
    _say(f"sha256 {first.GRAPH} {sha256(options.start / first.GRAPH)}")
    tokenizer = first.tokenizer(options.start)
    net = network.new(tokenizer.get_vocab_size())
    network.load(net, first.weights(options.start))
    return net, tokenizer


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="train_classifier.py", description=__doc__)
    parser.add_argument("--data", type=Path, default=_ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=_ROOT / "models" / "sentiment")
    parser.add_argument("--epochs", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=2e-3, help="at its highest")
    parser.add_argument(
        "--start", type=Path, help="folder of the project's first model, to go on from it"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--leave-out-film",
        action="store_true",
        help="without any text that might be of the film data, to measure on it",
    )
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
