"""What things cost, in seconds of CPU: what was measured, and what the simulation takes."""

from typing import Self

from msgspec import Struct


class Cost(Struct, frozen=True):
    """Seconds of CPU of a coordinator and of the database."""

    coordinator: float
    database: float

    def __add__(self, other: Self) -> "Cost":
        return Cost(self.coordinator + other.coordinator, self.database + other.database)

    def __mul__(self, count: float) -> "Cost":
        return Cost(self.coordinator * count, self.database * count)


class Grown(Struct, frozen=True):
    """Something that costs so much at all, and so much more for each row of it."""

    once: Cost
    each: Cost

    def of(self, rows: float) -> Cost:
        """What so many rows cost together."""
        return self.once + self.each * rows

    @classmethod
    def through(cls, few: tuple[float, Cost], many: tuple[float, Cost]) -> Self:
        """From what it cost with few rows and with many; noise makes nothing negative."""
        return cls(*_line(few, many))


def _line(few: tuple[float, Cost], many: tuple[float, Cost]) -> tuple[Cost, Cost]:
    (less, cost_of_few), (more, cost_of_many) = few, many
    growth = [
        max(0.0, (many_cost - few_cost) / (more - less))
        for few_cost, many_cost in (
            (cost_of_few.coordinator, cost_of_many.coordinator),
            (cost_of_few.database, cost_of_many.database),
        )
    ]
    each = Cost(*growth)
    once = Cost(
        max(0.0, cost_of_few.coordinator - each.coordinator * less),
        max(0.0, cost_of_few.database - each.database * less),
    )
    return once, each


class Costs(Struct, frozen=True, kw_only=True):
    """Everything that the simulation is told.

    Rows: of `commit`, `claim`, `finish`, `renew` and `seal` the jobs in one transaction, of
    `states` the jobs asked for, of `announce` the workers that sit at a coordinator where one has
    changed, of `meet` the coordinators, of `learn` the workers that have changed elsewhere.
    """

    serve: float = 0.0
    """A coordinator's CPU for a job, its HTTP and its worker's socket, without the store."""
    commit: Grown
    claim: Grown
    finish: Grown
    renew: Grown
    seal: Grown
    get: Cost
    lanes: Cost
    count: Cost
    states: Grown
    announce: Grown
    meet: Grown
    learn: Grown
    ring: Cost
    """A bell that nobody hears; only one can be rung at a time on the whole server."""
    hear: Cost
    """A bell at one listener."""
    flush_seconds: float
    """A transaction's wait for the disk at its end."""
