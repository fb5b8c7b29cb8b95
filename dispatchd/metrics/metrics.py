"""All metrics of one node, in a registry of its own."""

import platform
from collections.abc import Callable
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from dispatchd import __version__
from dispatchd.core.clock import Clock
from dispatchd.core.errors import StoreUnavailable
from dispatchd.metrics.engine import EngineMetrics
from dispatchd.metrics.jobs import JobFamilies, JobMetrics
from dispatchd.metrics.lag import watch_lag
from dispatchd.metrics.state import Scene, StateCollector
from dispatchd.store import PaymentStore

_PREFIX = "dispatchd"
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_FLUSH_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_GROUP_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """What the parts of a node tell, and how it stands when somebody asks.

    Whatever is a state is read when it is asked for; only events are counted as they happen.
    """

    def __init__(self) -> None:
        # Else there is a time beside every number.
        disable_created_metrics()  # type: ignore[no-untyped-call] # it lacks an annotation
        self._registry = CollectorRegistry()
        ProcessCollector(namespace=_PREFIX, registry=self._registry)
        build = Info(f"{_PREFIX}_build", "What runs here.", registry=self._registry)
        self.engine = EngineMetrics(self._registry, partial(_told, build))
        _told(build)
        self._jobs = JobFamilies(self._registry)
        self._scenes: list[Scene] = []
        self._sellers: dict[str, PaymentStore] = {}
        self._registry.register(StateCollector(self._scenes))
        self._payments = Gauge(
            f"{_PREFIX}_payments",
            "Payments in the store, by state.",
            ("network", "state"),
            registry=self._registry,
        )
        self._lag = Histogram(
            f"{_PREFIX}_event_loop_lag_seconds",
            "How late the event loop was where it was to wake.",
            buckets=_LAG_BUCKETS,
            registry=self._registry,
        )
        self._flush = Histogram(
            f"{_PREFIX}_store_group_seconds",
            "From the beginning of a group of writes until it is on disk.",
            ("network",),
            buckets=_FLUSH_BUCKETS,
            registry=self._registry,
        )
        self._group = Histogram(
            f"{_PREFIX}_store_group_writes",
            "Writes that shared one transaction.",
            ("network",),
            buckets=_GROUP_BUCKETS,
            registry=self._registry,
        )

    def jobs_of(self, network: str, clock: Clock) -> JobMetrics:
        """The journal of one network's jobs."""
        return JobMetrics(self._jobs, network, clock)

    def commits_of(self, network: str) -> Callable[[int, float], None]:
        """Who is told how many writes a network's store has flushed together, and in what time."""
        return partial(_committed, self._group.labels(network), self._flush.labels(network))

    def show(self, scene: Scene, payments: PaymentStore | None) -> None:
        """From now on the state of that network is shown, and its payments where it sells jobs."""
        self._scenes.append(scene)
        if payments is not None:
            self._sellers[scene.network] = payments

    async def watch_loop(self) -> None:
        """Measures the event loop for as long as this runs."""
        await watch_lag(self._lag.observe)

    def families(self) -> list[Metric]:
        """All metrics as they are now."""
        return list(self._registry.collect())

    async def text(self, accept: str) -> tuple[str, bytes]:
        """All of it and its content type: Prometheus' text format, or OpenMetrics if asked for."""
        for network, payments in self._sellers.items():
            try:
                counts = await payments.count()
            except StoreUnavailable:
                continue  # what was true when last asked; the node says elsewhere what is wrong
            for state, count in counts.items():
                self._payments.labels(network, state).set(count)
        encode, kind = choose_encoder(accept)
        return kind, encode(self._registry)


def _told(build: Info, runtime: str | None = None) -> None:
    about = {"version": __version__, "python": platform.python_version()}
    build.info(about if runtime is None else about | {"runtime": runtime})


def _committed(group: Histogram, flush: Histogram, writes: int, seconds: float) -> None:
    group.observe(writes)
    flush.observe(seconds)
