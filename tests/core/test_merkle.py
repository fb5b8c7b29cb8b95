"""Merkle trees: the golden ones, and any other against the definition written recursively."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchd.core.merkle import Node, grow, leaf_hash, path_nodes, root_by_path, root_of
from tests.support import auditor
from tests.support.vectors import name_of, vectors

FILE = json.loads((Path(__file__).parents[1] / "vectors" / "merkle.json").read_text())
LEAVES = [leaf_hash(bytes.fromhex(text)) for text in FILE["leaves"]]
SIZES = st.integers(1, 70)


def nodes_of(leaves: list[bytes]) -> dict[Node, bytes]:
    """Every node that is kept of a tree, its leaves included."""
    _, completed = grow(0, [], leaves)
    return {Node(0, place): leaf for place, leaf in enumerate(leaves)} | dict(completed)


def path_of(index: int, leaves: list[bytes]) -> list[bytes]:
    nodes = nodes_of(leaves)
    found = path_nodes(index, len(leaves))
    return [root_of([nodes[node] for node in peaks]) for peaks in found]


@pytest.mark.parametrize("vector", vectors("merkle"), ids=name_of)
def test_a_golden_tree(vector: dict[str, Any]) -> None:
    leaves = LEAVES[: len(vector["paths"])]
    peaks, _ = grow(0, [], leaves)
    assert root_of(peaks).hex() == vector["root"]
    paths = [path_of(index, leaves) for index in range(len(leaves))]
    assert [[each.hex() for each in path] for path in paths] == vector["paths"]


@given(SIZES, st.data())
def test_a_tree_is_what_its_definition_says(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path = path_of(index, leaves)
    assert path == auditor.tree_path(index, leaves)
    assert root_by_path(leaves[index], index, size, path) == auditor.tree_hash(leaves)


@given(st.lists(st.integers(0, 40), max_size=8))
def test_a_tree_may_grow_by_any_number_at_once(counts: list[int]) -> None:
    peaks: list[bytes] = []
    nodes: dict[Node, bytes] = {}
    leaves: list[bytes] = []
    for count in counts:
        more = [leaf_hash(bytes([number])) for number in range(count)]
        peaks, completed = grow(len(leaves), peaks, more)
        nodes |= dict(completed)
        leaves += more
    assert root_of(peaks) == auditor.tree_hash(leaves)
    assert nodes == dict(grow(0, [], leaves)[1])


@given(SIZES, st.data())
def test_a_path_proves_nothing_else(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(size)]
    root = auditor.tree_hash(leaves)
    index = data.draw(st.integers(0, size - 1))
    path = path_of(index, leaves)
    other = data.draw(st.integers(-2, size + 2).filter(lambda number: number != index))
    assert root_by_path(leaves[index], other, size, path) != root
    assert root_by_path(leaf_hash(b"other"), index, size, path) != root
    assert root_by_path(leaves[index], index, size, [*path, root]) is None
    if path:
        assert root_by_path(leaves[index], index, size, path[:-1]) is None


def test_a_path_is_short_however_large_the_tree() -> None:
    found = path_nodes(123_456_789, 1_000_000_007)
    assert len(found) <= 30
    assert sum(map(len, found)) <= 60
