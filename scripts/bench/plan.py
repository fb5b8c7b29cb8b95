"""Which runs a benchmark is made of, and what each is called."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from scripts.bench.load import LLM_INFER, TASK, Kind, Load, Mode

SMALL = 4
_WARM_SHARE = 0.2
_WARM_SECONDS_MAX = 2.0
_LATENCY_SECONDS_MAX = 4.0


class Kept(StrEnum):
    """What is driven."""

    NODE = "node"
    FLOOR = "floor"
    SHARED = "node on PostgreSQL"
    THREE = "three nodes on PostgreSQL"


class Row(Struct, frozen=True, kw_only=True):
    """One measurement: what the clients do, and what else there is meanwhile."""

    kind: Kind
    mode: Mode
    workers: int
    clients: int
    places: int = 1
    burst: int = 0
    idle_workers: int = 0
    idle_capability: str = LLM_INFER
    history: int = 0

    @property
    def name(self) -> str:
        """What the tables call it."""
        return ", ".join(part for part in (self.work, self.condition) if part)

    @property
    def work(self) -> str:
        """What the clients do."""
        across = f"{self.workers}x{self.clients}" + (f"x{self.places}" * (self.places > 1))
        if self.kind is Kind.BURST:
            return f"burst of {self.burst:,} at {across}, {self.mode}"
        if self.kind is Kind.LATENCY:
            return f"one job at a time, {self.mode}"
        return f"{across}, {self.mode}"

    @property
    def condition(self) -> str:
        """What else there is; empty where there is nothing."""
        parts = []
        if self.idle_workers:
            parts.append(f"{self.idle_workers:,} idle {self.idle_capability} workers")
        if self.history:
            parts.append(f"{self.history:,} finished jobs")
        return " and ".join(parts)

    @property
    def plain(self) -> "Row":
        """The same work with nothing else there."""
        return replace(self, idle_workers=0, idle_capability=LLM_INFER, history=0)

    def load(self, seconds: float, reads_per_job: float) -> Load:
        """What the load process is asked for."""
        if self.kind is Kind.LATENCY:
            seconds = min(seconds, _LATENCY_SECONDS_MAX)
        return Load(
            kind=self.kind,
            mode=self.mode,
            workers=self.workers,
            clients=self.clients,
            places=self.places,
            idle_workers=self.idle_workers,
            idle_capability=self.idle_capability,
            burst=self.burst,
            seconds=seconds,
            warm_seconds=min(seconds * _WARM_SHARE, _WARM_SECONDS_MAX),
            reads_per_job=reads_per_job,
        )


Plan = Mapping[Row, Sequence[Kept]]
_BOTH = (Kept.NODE, Kept.FLOOR)


class Sizes(Struct, frozen=True, kw_only=True):
    """How much of everything."""

    modes: Sequence[Mode]
    workers: int
    clients: int
    places: int
    burst: int
    idle_workers: int
    idle_capability: str
    history: int

    def loop(self, mode: Mode) -> Row:
        """The closed loop."""
        return Row(
            kind=Kind.LOOP,
            mode=mode,
            workers=self.workers,
            clients=self.clients,
            places=self.places,
        )

    @property
    def small_loops(self) -> list[Row]:
        """The closed loop with few workers and clients."""
        return [replace(self.loop(mode), workers=SMALL, clients=SMALL) for mode in self.modes]

    @property
    def loops(self) -> list[Row]:
        """The closed loop in every mode."""
        return [self.loop(mode) for mode in self.modes]

    @property
    def burst_row(self) -> Row:
        """The burst; its clients wait where they may."""
        return replace(self.loop(self.modes[-1]), kind=Kind.BURST, burst=self.burst)

    @property
    def latency_row(self) -> Row:
        """One worker and one client."""
        return replace(self.loop(self.modes[-1]), kind=Kind.LATENCY, workers=1, clients=1, places=1)


def full(sizes: Sizes, *, thorough: bool) -> Plan:
    """Everything that the targets need; unless thorough, less of it under each condition.

    What is compared runs side by side, since machines change their speed.
    """
    alone = [*sizes.loops, *sizes.small_loops, sizes.burst_row, sizes.latency_row]
    again = [*sizes.loops, sizes.burst_row] if thorough else sizes.loops[-1:]
    again.append(sizes.latency_row)
    plan: dict[Row, Sequence[Kept]] = {}
    for row in alone:
        plan[row] = _BOTH
        if row in again:
            plan |= dict.fromkeys(_under_conditions(row, sizes), (Kept.NODE,))
    return plan


def shared(sizes: Sizes) -> Plan:
    """What shows how a shared database compares with a file, and that it stays as quick."""
    rows = [*sizes.loops, sizes.burst_row, sizes.latency_row]
    plan: dict[Row, Sequence[Kept]] = dict.fromkeys(rows, (Kept.NODE, Kept.SHARED, Kept.THREE))
    if sizes.history:
        later = (replace(row, history=sizes.history) for row in (rows[-3], rows[-1]))
        plan |= dict.fromkeys(later, (Kept.NODE, Kept.SHARED))
    return plan


def _under_conditions(row: Row, sizes: Sizes) -> Iterator[Row]:
    if sizes.idle_workers:
        for capability in (LLM_INFER, TASK):
            yield replace(row, idle_workers=sizes.idle_workers, idle_capability=capability)
    if sizes.history:
        yield replace(row, history=sizes.history)


def chosen(sizes: Sizes, kinds: Sequence[Kind]) -> Plan:
    """Some measurements, under the conditions that the sizes name."""
    rows = [*sizes.loops] if Kind.LOOP in kinds else []
    rows += [sizes.burst_row] if Kind.BURST in kinds else []
    rows += [sizes.latency_row] if Kind.LATENCY in kinds else []
    idle = {"idle_workers": sizes.idle_workers, "idle_capability": sizes.idle_capability}
    return {replace(row, history=sizes.history, **idle): _BOTH for row in rows}
