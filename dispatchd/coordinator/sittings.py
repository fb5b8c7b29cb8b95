"""Who sits at other coordinators over the same store, found without looking at each."""

from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import TypeVar

from dispatchd.core.job import JobType, Lane
from dispatchd.core.neighbour import Changes, Sitting

_Place = tuple[str, str]
"""A coordinator, and a worker there."""
_K = TypeVar("_K")


class Sittings:
    """The workers of other coordinators; a worker that moves may be at two for a moment."""

    def __init__(self) -> None:
        self._at: dict[str, dict[str, Sitting]] = {}
        self._by_worker: dict[str, dict[str, Sitting]] = {}
        self._by_type: dict[JobType, dict[_Place, Sitting]] = {kind: {} for kind in JobType}
        self._by_user: dict[str, dict[_Place, Sitting]] = {}
        self._models: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._at.values()))

    def __iter__(self) -> Iterator[Sitting]:
        return (sitting for there in self._at.values() for sitting in there.values())

    def change(self, coordinator_key: str, changes: Changes) -> list[Sitting]:
        """Takes in what has changed at a coordinator; what was so before and is so no longer."""
        there = self._at.setdefault(coordinator_key, {})
        came = {sitting.key: sitting for sitting in changes.came}
        gone = (there.keys() if changes.whole else set(changes.gone)) - came.keys()
        others = {key: new for key, new in came.items() if there.get(key) != new}
        ended = [there.pop(key) for key in {*gone, *others} if key in there]
        for sitting in ended:
            self._remove(coordinator_key, sitting)
        for sitting in others.values():
            there[sitting.key] = sitting
            self._add(coordinator_key, sitting)
        return ended

    def forget(self, coordinator_key: str) -> list[Sitting]:
        """A coordinator has gone; who sat there."""
        ended = self.change(coordinator_key, Changes(whole=True))
        del self._at[coordinator_key]
        return ended

    @property
    def keys(self) -> AbstractSet[str]:
        """The workers' public keys."""
        return self._by_worker.keys()

    def place_of(self, worker_key: str) -> Sitting | None:
        """A worker where it sits now: where it has proven its key, or where it came last."""
        there = self.with_key(worker_key).values()
        return max(there, key=lambda each: (each.proven, each.since), default=None)

    def with_key(self, worker_key: str) -> dict[str, Sitting]:
        """Where a worker sits, by coordinator."""
        return self._by_worker.get(worker_key, {})

    def for_lane(self, lane: Lane) -> Iterable[Sitting]:
        """Those among whom is everybody who could do jobs of a lane."""
        if lane.user_id is None:
            return self._by_type[lane.job_type].values()
        return self._by_user.get(lane.user_id, {}).values()

    @property
    def models(self) -> AbstractSet[str]:
        """The models of workers that know the field `model`."""
        return self._models.keys()

    def _add(self, coordinator_key: str, sitting: Sitting) -> None:
        place = (coordinator_key, sitting.key)
        self._by_worker.setdefault(sitting.key, {})[coordinator_key] = sitting
        for kind in sitting.card.capabilities:
            self._by_type[kind][place] = sitting
        for user_id in sitting.users:
            self._by_user.setdefault(user_id, {})[place] = sitting
        self._models.update(_models_of(sitting))

    def _remove(self, coordinator_key: str, sitting: Sitting) -> None:
        place = (coordinator_key, sitting.key)
        _take_out(self._by_worker, sitting.key, coordinator_key)
        for kind in sitting.card.capabilities:
            del self._by_type[kind][place]
        for user_id in sitting.users:
            _take_out(self._by_user, user_id, place)
        self._models.subtract(_models_of(sitting))
        for name in _models_of(sitting):
            if not self._models[name]:
                del self._models[name]


def _take_out(found: dict[str, dict[_K, Sitting]], name: str, place: _K) -> None:
    del found[name][place]
    if not found[name]:
        del found[name]


def _models_of(sitting: Sitting) -> tuple[str, ...]:
    card = sitting.card
    knows = card.version is not None and JobType.LLM_INFER in card.capabilities
    return tuple(set(card.models)) if knows else ()
