"""A published decoder-only graph, stepped through a sequence with a KV cache that grows."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dispatchd.core.errors import Unusable
from dispatchd.engine import Device
from dispatchd.engine.ports import Ports
from dispatchd.engine.provider import devices, on_best_device
from dispatchd.engine.session import Array, Session, Tensor, open_session

Scores = npt.NDArray[np.float32]

_FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16"}
_INTEGERS = {"tensor(int64)": "int64", "tensor(int32)": "int32"}
_CACHE_AXES = 4  # batch, heads, past, size


class _Wiring(Struct, frozen=True):
    """A graph's inputs and outputs by what they are for; `present` has each past's successor."""

    ports: Ports
    integers: Mapping[str, str]  # by the inputs that the graph has besides its caches, their types
    present: Mapping[str, str]


class Decoder:
    """The graph, checked for the layout; any number of sequences may be open on it."""

    def __init__(self, session: Session, ports: Ports) -> None:
        self._session = session
        self.device = session.device
        self.in_pieces = True
        present = _present_names(session, ports)
        integers = _check_inputs(session, ports, set(present))
        self._wiring = _Wiring(ports, integers, present)
        self._empty = {past: session.tensor(_empty_past(session, ports, past)) for past in present}

    def start(self) -> "Sequencer":
        """A new, empty sequence."""
        return Sequencer(self._session, self._wiring, dict(self._empty))

    def prove(self) -> None:
        """Takes first steps, which raises whatever is wrong with them.

        From then on `in_pieces` says whether a sequence that has begun takes several tokens.
        """
        sequence = self.start()
        sequence.step([0, 0])
        sequence.step([0])
        try:
            sequence.step([0, 0])
        except Exception:  # noqa: BLE001 # ONNX Runtime has no error of its own for this
            self.in_pieces = False


class Sequencer:
    """One sequence and its cache; for one thread at a time."""

    def __init__(self, session: Session, wiring: _Wiring, cache: dict[str, Tensor]) -> None:
        self._session = session
        self._wiring = wiring
        self._cache = cache
        self._length = 0

    def step(self, ids: Sequence[int]) -> Scores:
        """Appends the tokens and gives the scores of what follows the last of them."""
        present = self._wiring.present
        logits, kept = self._session.run(
            self._feed(ids), fetch=self._wiring.ports.logits, keep=present.values()
        )
        self._cache = {past: kept[successor] for past, successor in present.items()}
        self._length += len(ids)
        return np.asarray(logits[0, -1], dtype=np.float32)

    def _feed(self, ids: Sequence[int]) -> dict[str, Tensor]:
        ports, end = self._wiring.ports, self._length + len(ids)
        rows: dict[str, Sequence[int]] = {
            ports.input_ids: ids,
            ports.attention_mask: [1] * end,
            ports.position_ids: range(self._length, end),
        }
        fed = {
            name: self._session.tensor(np.array([rows[name]], dtype=kind))
            for name, kind in self._wiring.integers.items()
        }
        return fed | self._cache


def open_decoder(path: Path, ports: Ports, *, threads: int) -> Decoder:
    """A decoder that has taken its first step, on the best device where that works."""
    return on_best_device(partial(_proven, path, ports, threads), devices())


def _proven(path: Path, ports: Ports, threads: int, device: Device) -> Decoder:
    try:
        return _stepped(path, ports, threads, device, trust_shapes=True)
    except Unusable:
        raise
    except Exception:  # noqa: BLE001 # whatever it is, it is told if it stays so
        return _distrusted(path, ports, threads, device)


def _distrusted(path: Path, ports: Ports, threads: int, device: Device) -> Decoder:
    """Some exports declare shapes that their values do not have, float16 ones above all."""
    try:
        return _stepped(path, ports, threads, device, trust_shapes=False)
    except Unusable:
        raise
    except Exception as error:
        raise Unusable(f"{path} fails at its first steps: export it again.") from error


def _stepped(
    path: Path, ports: Ports, threads: int, device: Device, *, trust_shapes: bool
) -> Decoder:
    session = open_session(path, threads=threads, device=device, trust_shapes=trust_shapes)
    try:
        decoder = Decoder(session, ports)
    except Unusable as error:
        raise Unusable(f"{path}: {error}") from error
    decoder.prove()
    return decoder


def _check_inputs(session: Session, ports: Ports, caches: set[str]) -> dict[str, str]:
    """The integer types of the inputs that are no caches."""
    names = session.inputs.keys() - caches
    if missing := {ports.input_ids, ports.attention_mask} - names:
        raise Unusable(f"the graph lacks the input {min(missing)}: export it with its KV cache.")
    if strange := sorted(names - {ports.input_ids, ports.attention_mask, ports.position_ids}):
        raise Unusable(
            f"the graph wants the unknown input {strange[0]}: export it as the hub does."
        )
    if ports.logits not in session.outputs:
        raise Unusable(
            f"the graph has no output {ports.logits}: export it for causal language modelling."
        )
    for name in sorted(names):
        if session.inputs[name].type not in _INTEGERS:
            raise Unusable(f"the input {name} must be of int64 or int32: export it again.")
    return {name: _INTEGERS[session.inputs[name].type] for name in names}


def _present_names(session: Session, ports: Ports) -> dict[str, str]:
    """Which output becomes which input of the next step."""
    pairs = {}
    for past, present in zip(ports.past, ports.present, strict=True):
        before, _, after = past.partition("%d")
        pattern = re.compile(rf"{re.escape(before)}(\d+){re.escape(after)}")
        for name in session.inputs:
            if layer := pattern.fullmatch(name):
                pairs[name] = present.replace("%d", layer[1])
    if not pairs:
        first = ports.past[0].replace("%d", "0")
        raise Unusable(f"the graph has no input {first}: export it with its KV cache.")
    for successor in pairs.values():
        if successor not in session.outputs:
            raise Unusable(f"the graph has no output {successor}: export it with its KV cache.")
    return pairs


def _empty_past(session: Session, ports: Ports, name: str) -> Array:
    port = session.inputs[name]
    heads, size = (port.shape[1], port.shape[3]) if len(port.shape) == _CACHE_AXES else (None, None)
    heads = heads if isinstance(heads, int) else ports.kv_heads
    size = size if isinstance(size, int) else ports.head_size
    if port.type not in _FLOATS or len(port.shape) != _CACHE_AXES or not (heads and size):
        raise Unusable(
            f"the input {name} must be float [batch, heads, past, size]: export it again."
        )
    empty: Array = np.zeros((1, heads, 0, size), dtype=_FLOATS[port.type])
    return empty
