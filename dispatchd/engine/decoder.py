"""A decoder-only graph in the hub's layout, stepped through a sequence with a KV cache."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dispatchd.core.errors import Unusable
from dispatchd.engine.provider import devices, on_best_device
from dispatchd.engine.session import Array, Device, Session, Tensor, open_session

Scores = npt.NDArray[np.float32]

_PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)")
_FED = frozenset({"input_ids", "attention_mask", "position_ids"})
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}
_CACHE_AXES = 4  # batch, heads, past, size


class Decoder:
    """The graph, checked for the layout; any number of sequences may be open on it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.device = session.device
        self._fed = _check_inputs(session)
        self._present = _present_names(session)
        self._empty = {past: session.tensor(_empty_past(session, past)) for past in self._present}

    def start(self) -> "Sequencer":
        """A new, empty sequence."""
        return Sequencer(self._session, self._fed, self._present, dict(self._empty))


class Sequencer:
    """One sequence and its cache; for one thread at a time."""

    def __init__(
        self,
        session: Session,
        fed: frozenset[str],
        present: dict[str, str],
        cache: dict[str, Tensor],
    ) -> None:
        self._session = session
        self._fed = fed
        self._present = present
        self._cache = cache
        self._length = 0

    def step(self, ids: Sequence[int]) -> Scores:
        """Appends the tokens and gives the scores of what follows the last of them."""
        logits, kept = self._session.run(
            self._feed(ids), fetch="logits", keep=self._present.values()
        )
        self._cache = {past: kept[present] for past, present in self._present.items()}
        self._length += len(ids)
        return np.asarray(logits[0, -1], dtype=np.float32)

    def _feed(self, ids: Sequence[int]) -> dict[str, Tensor]:
        end = self._length + len(ids)
        rows: dict[str, Array] = {
            "input_ids": np.array([ids], dtype=np.int64),
            "attention_mask": np.ones((1, end), dtype=np.int64),
            "position_ids": np.arange(self._length, end, dtype=np.int64)[None],
        }
        fed = {name: self._session.tensor(rows[name]) for name in self._fed}
        return fed | self._cache


def open_decoder(path: Path, *, threads: int) -> Decoder:
    """A decoder that has taken its first step, on the best device where that works."""
    return on_best_device(partial(_proven, path, threads), devices())


def _proven(path: Path, threads: int, device: Device) -> Decoder:
    session = open_session(path, threads=threads, device=device)
    try:
        decoder = Decoder(session)
        decoder.start().step([0])
    except Unusable as error:
        raise Unusable(f"{path}: {error}") from error
    except Exception as error:
        raise Unusable(f"{path} fails at its first step: export it again.") from error
    return decoder


def _check_inputs(session: Session) -> frozenset[str]:
    names = session.inputs.keys()
    if missing := {"input_ids", "attention_mask"} - names:
        raise Unusable(f"the graph lacks the input {min(missing)}: export it with its KV cache.")
    strange = sorted(name for name in names - _FED if not _PAST.fullmatch(name))
    if strange:
        raise Unusable(
            f"the graph wants the unknown input {strange[0]}: export it as the hub does."
        )
    if "logits" not in session.outputs:
        raise Unusable("the graph has no output logits: export it for causal language modelling.")
    return frozenset(names & _FED)


def _present_names(session: Session) -> dict[str, str]:
    """Which output becomes which input of the next step."""
    pairs = {
        name: name.replace("past_key_values", "present") for name in session.inputs.keys() - _FED
    }
    if not pairs:
        raise Unusable("the graph has no past_key_values inputs: export it with its KV cache.")
    for present in pairs.values():
        if present not in session.outputs:
            raise Unusable(f"the graph has no output {present}: export it with its KV cache.")
    return pairs


def _empty_past(session: Session, name: str) -> Array:
    port = session.inputs[name]
    heads, size = (port.shape[1], port.shape[3]) if len(port.shape) == _CACHE_AXES else (None, None)
    if port.type not in _DTYPES or not isinstance(heads, int) or not isinstance(size, int):
        raise Unusable(
            f"the input {name} must be float [batch, heads, past, size]: export it again."
        )
    empty: Array = np.zeros((1, heads, 0, size), dtype=_DTYPES[port.type])
    return empty
