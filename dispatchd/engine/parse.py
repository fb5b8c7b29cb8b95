"""Files of a model folder turned into values, with one sentence for whatever is wrong."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from dispatchd.core.errors import Unusable
from dispatchd.core.sentence import plain_sentence

if TYPE_CHECKING:  # a model is found without its library
    from tokenizers import Tokenizer

T = TypeVar("T")


def parse(path: Path, shape: type[T]) -> T:
    """The JSON file as a `shape`; Unusable if it is missing or says something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except OSError as error:
        raise Unusable(f"{path} cannot be read ({error.strerror}): complete the folder.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unusable(
            f"{path} is broken ({plain_sentence(error)}): fetch the model again."
        ) from error


def parse_optional(path: Path, shape: type[T]) -> T:
    """Like `parse`, but a missing file is an empty `shape`."""
    return parse(path, shape) if path.exists() else shape()


def check_tokenizer(path: Path) -> None:
    """Unusable if the file is not there; it is not read."""
    if not path.is_file():
        raise Unusable(
            f"{path} is missing: a model folder needs the tokenizer it was trained with."
        )


def read_tokenizer(path: Path) -> "Tokenizer":
    """A tokenizer of one's own, with the file's padding and truncation off."""
    check_tokenizer(path)
    library = import_module("tokenizers")
    try:
        tokenizer: Tokenizer = library.Tokenizer.from_file(str(path))
    except Exception as error:
        raise Unusable(f"{path} is no tokenizer ({error}): fetch the model again.") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
