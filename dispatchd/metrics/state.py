"""How the networks of a node stand at the moment somebody asks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.seats import Seat, Seats
from dispatchd.core.job import JobType

WorkerState = Literal["idle", "busy", "full"]
WORKER_STATES: tuple[WorkerState, ...] = ("idle", "busy", "full")


class Scene(Struct, frozen=True):
    """What can be seen of one network."""

    network: str
    seats: Seats
    matching: Matching


class StateCollector(Collector):
    """Reads the scenes; between two readings they cost nothing."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._scenes = scenes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families, read now."""
        queue = GaugeMetricFamily("dispatchd_queue_jobs", "Jobs that wait.", labels=["network"])
        running = GaugeMetricFamily(
            "dispatchd_running_jobs", "Jobs that workers have.", labels=["network", "job_type"]
        )
        workers = GaugeMetricFamily(
            "dispatchd_workers",
            "Workers that are connected: with no job, with some, or with all that they take.",
            labels=["network", "state"],
        )
        for scene in self._scenes:
            queue.add_metric([scene.network], scene.matching.queued)
            kinds = Counter(held.job.job_type for held in scene.seats.under_way.values())
            for kind in JobType:
                running.add_metric([scene.network, kind], kinds[kind])
            states = Counter(map(_state, scene.seats))
            for state in WORKER_STATES:
                workers.add_metric([scene.network, state], states[state])
        yield from (queue, running, workers)


def _state(seat: Seat) -> WorkerState:
    if not seat.held:
        return "idle"
    places = seat.card.places
    return "full" if len(seat.held) >= places else "busy"
