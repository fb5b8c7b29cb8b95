"""Trains the embedded chat model from a seed; writes its weights and the prepared model."""

import argparse
import json
from pathlib import Path

import msgspec
import torch
from tokenizers import Tokenizer

from scripts.lm_training.batches import Batches
from scripts.lm_training.examples import Examples
from scripts.lm_training.export import prepare_as, publish
from scripts.lm_training.held_out import asked
from scripts.lm_training.presets import PRESETS
from scripts.lm_training.sources import hashes, read_sources
from scripts.lm_training.texts import normal
from scripts.lm_training.tokenizer import train_tokenizer
from scripts.lm_training.train import Training


def main() -> None:
    """Reads the data, trains or goes on training, and writes the result."""
    options = _options()
    torch.set_num_threads(options.threads)
    preset = PRESETS[options.preset]
    if options.steps is not None:
        preset = msgspec.structs.replace(preset, steps=options.steps)
    options.work.mkdir(parents=True, exist_ok=True)
    print(json.dumps({"seed": options.seed, "data": hashes(options.data)}, indent=1), flush=True)
    sources = read_sources(options.data)
    examples = Examples(sources, frozenset(normal(question) for question in asked()))
    path = options.work / "tokenizer.json"
    if not path.is_file():
        train_tokenizer(examples, sources, preset.vocab_size, options.seed).save(str(path))
    words = Tokenizer.from_file(str(path))
    batches = Batches(examples, sources, words, preset.tokens_a_step, options.seed)
    training = Training(preset, batches, options.work, options.seed)
    if not options.export_only:
        training.run()
    else:
        training.resume()
    publish(options.work / "weights", training.model, preset, words)
    numbers = sum(weight.numel() for weight in training.model.parameters())
    prepare_as(options.work / "weights", options.work / options.name, "int8", numbers)
    print(f"{numbers:,} parameters; prepared as {options.work / options.name}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="train_lm.py", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the text to train on")
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is written")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small")
    parser.add_argument("--name", default="demo-chat", help="of the prepared model")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--export-only", action="store_true", help="write the last checkpoint's model as it is"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
