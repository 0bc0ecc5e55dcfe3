"""Addresses of implicit tiles: templates, Morton order, levels (OGC 22-025r4 clause 7.7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class ImplicitTile(NamedTuple):
    """A bit of a subtree, and where it is: `bit` in the subtree, `level` and `place` in the whole tree."""

    bit: int
    level: int
    place: tuple[int, ...]


def is_template(uri: Any, axes: int) -> bool:
    """Whether a URI has a place for each number of a tile's address."""
    needed = ("{level}", "{x}", "{y}", "{z}")[: axes + 1]
    return isinstance(uri, str) and all(part in uri for part in needed)


def filled(template: str, level: int, place: tuple[int, ...]) -> str:
    """The template (clause 7.7.4) with a tile's numbers."""
    text = template.replace("{level}", str(level))
    for name, number in zip("xyz", place, strict=False):
        text = text.replace(f"{{{name}}}", str(number))
    return text


def available(bits: NDArray[np.bool_], depth: int, top: int, root: tuple[int, ...]) -> Iterator[ImplicitTile]:
    """Every set bit of a subtree of `depth` levels whose root is at `root` of level `top`."""
    start = 0
    for below in range(depth):
        size = 2 ** (len(root) * below)
        for index in np.flatnonzero(bits[start : start + size]).tolist():
            yield ImplicitTile(start + index, top + below, cell(index, below, root))
        start += size


def parent(index: int, axes: int) -> int:
    """The bit of the tile above one of the same subtree, -1 of its root."""
    return (index - 1) // 2**axes if index else -1


def cell(index: int, below: int, root: tuple[int, ...]) -> tuple[int, ...]:
    """The place of the Morton index `index`, `below` levels under `root` (x in the lowest bit)."""
    axes = len(root)
    return tuple(
        (above << below) + sum(((index >> (axes * bit + axis)) & 1) << bit for bit in range(below))
        for axis, above in enumerate(root)
    )
