"""Reads `/metrics` with Prometheus' own parser, and holds it to Prometheus' rules."""

import re
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.support.node import Node

NAME = re.compile(r"dispatchd_[a-z][a-z0-9]*(_[a-z0-9]+)*")
NOT_BASE_UNITS = re.compile(r"_(ms|millis|milliseconds|minutes|hours|kb|mb|kilobytes|percent)(_|$)")
RESERVED = frozenset({"job", "instance"})


@dataclass(frozen=True)
class Scrape:
    """All samples of a scrape, by name."""

    samples: tuple[Sample, ...]

    def value(self, name: str, /, **labels: str) -> float:
        """The one sample of that name with these labels."""
        found = [each for each in self.named(name) if labels.items() <= each.labels.items()]
        assert len(found) == 1, (name, labels, found)
        return found[0].value

    def named(self, name: str) -> list[Sample]:
        return [each for each in self.samples if each.name == name]

    @property
    def label_values(self) -> set[str]:
        """Every value of every label but a histogram's bounds."""
        return {
            value for each in self.samples for name, value in each.labels.items() if name != "le"
        }


def read(text: str) -> Scrape:
    """Parses a scrape; every family in it must be as `promtool check metrics` wants it."""
    samples: list[Sample] = []
    for family in text_string_to_metric_families(text):
        check(family.name, family.type, family.documentation)
        for sample in family.samples:
            assert not RESERVED & sample.labels.keys(), sample
            samples.append(sample)
    assert samples
    names = [(each.name, tuple(sorted(each.labels.items()))) for each in samples]
    assert len(names) == len(set(names)), "a series is there twice"
    return Scrape(tuple(samples))


def check(name: str, kind: str, about: str) -> None:
    assert NAME.fullmatch(name), name
    assert not NOT_BASE_UNITS.search(name), name
    assert about.endswith("."), name
    if not name.startswith("dispatchd_process_"):  # prometheus_client's own words
        assert kind in {"counter", "gauge", "histogram"}, (name, kind)
    assert kind == "counter" or not name.endswith("_total"), name
    assert not name.endswith(("_count", "_sum", "_bucket")), name


async def scrape(node: Node) -> Scrape:
    """What the node says now."""
    async with node.http.get(f"{node.url}/metrics") as reply:
        assert reply.status == 200
        assert reply.content_type == "text/plain"
        return read(await reply.text())
