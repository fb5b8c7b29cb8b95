"""Merkle trees as RFC 6962 builds them (section 2.1), grown at their right edge.

Node `(level, place)` is over the leaves from `place * 2**level` to before `(place + 1) * 2**level`;
level 0 are the leaves. Only such complete subtrees are worth keeping, since they never change. A
tree of any size is a few of them, its peaks, from the largest on the left to the smallest.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce

from msgspec import Struct

HASH_BYTES = 32


class Node(Struct, frozen=True):
    """Where a complete subtree stands."""

    level: int
    place: int


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of what is over two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def grow(
    size: int, peaks: Sequence[bytes], leaves: Iterable[bytes]
) -> tuple[list[bytes], list[tuple[Node, bytes]]]:
    """The peaks of a tree of `size` leaves once these follow, and the nodes completed by them."""
    grown, completed = list(peaks), []
    for index, leaf in enumerate(leaves, size):
        place, level, top = index, 0, leaf
        while place % 2:
            top = node_hash(grown.pop(), top)
            place, level = place // 2, level + 1
            completed.append((Node(level, place), top))
        grown.append(top)
    return grown, completed


def root_of(peaks: Sequence[bytes]) -> bytes:
    """The root over peaks, the largest first."""
    if not peaks:
        return hashlib.sha256().digest()
    return reduce(lambda right, left: node_hash(left, right), reversed(peaks))


def path_nodes(index: int, size: int) -> list[list[Node]]:
    """What the path of a leaf is made of: each of its hashes is the root over such peaks."""
    return [_peaks(start, end) for start, end, _ in _siblings(index, size)]


def peak_nodes(size: int) -> list[Node]:
    """The peaks of a tree of `size` leaves, the largest first."""
    return _peaks(0, size)


def root_by_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root to which a path leads from a leaf; None where it is no path in such a tree."""
    if not 0 <= index < size:
        return None
    siblings = list(_siblings(index, size))
    if len(siblings) != len(path):
        return None
    top = leaf
    for sibling, (_, _, on_the_left) in zip(path, siblings, strict=True):
        top = node_hash(sibling, top) if on_the_left else node_hash(top, sibling)
    return top


def _siblings(index: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """What stands beside a leaf and beside each node over it, from below: first leaf, end, side."""
    found = []
    start, end = 0, size
    while end - start > 1:
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        if index < middle:
            found.append((middle, end, False))
            end = middle
        else:
            found.append((start, middle, True))
            start = middle
    return reversed(found)


def _peaks(start: int, end: int) -> list[Node]:
    """The complete subtrees over these leaves, where a subtree begins at the first of them."""
    found = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append(Node(level, start >> level))
        start += 1 << level
    return found
