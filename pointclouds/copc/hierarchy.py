"""Hierarchy pages of COPC 1.0 (section 3.2): writing a tree as pages, and reading it back without trusting it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pointclouds.errors import InvalidCopcError
from pointclouds.las.structures import HIERARCHY_ENTRY

PAGE_LEVELS: Final = 4
SINGLE_PAGE_NODES: Final = 1_000
"""Up to this many nodes (32 kB) one page is read faster than several."""
MAXIMUM_LEVEL: Final = 30
MAXIMUM_NODES: Final = 20_000_000

Entries = npt.NDArray[np.void]
Key = tuple[int, int, int, int]


def pack_pages(entries: Entries, start: int) -> tuple[bytes, int]:
    """Lay a tree out as pages.

    Args:
        entries: all nodes (HIERARCHY_ENTRY), parents before children.
        start: byte of the file at which the pages begin.

    Returns:
        The bytes of all pages, root page first, and the root page's size.
    """
    if len(entries) <= SINGLE_PAGE_NODES:
        return entries.tobytes(), entries.nbytes
    pages: dict[Key, list[int]] = {}
    for index in range(len(entries)):
        pages.setdefault(_page_of(_key(entries[index])), []).append(index)
    # A page may only point at a page whose place is known, so places are dealt out first: own nodes + one
    # reference for each page that begins right below.
    references: dict[Key, list[Key]] = {key: [] for key in pages}
    for key in pages:
        if key[0] > 0:
            references[_page_of(_parent(key))].append(key)
    sizes = {key: (len(pages[key]) + len(references[key])) * HIERARCHY_ENTRY.itemsize for key in pages}
    places, position = {}, start
    for key in pages:
        places[key] = position
        position += sizes[key]
    parts = []
    for key, own in pages.items():
        parts.append(entries[own].tobytes())
        links = [(*below, places[below], sizes[below], -1) for below in references[key]]
        parts.append(np.array(links, HIERARCHY_ENTRY).tobytes())
    return b"".join(parts), sizes[next(iter(pages))]


def _key(entry: np.void) -> Key:
    return int(entry["level"]), int(entry["x"]), int(entry["y"]), int(entry["z"])


def _parent(key: Key) -> Key:
    return key[0] - 1, key[1] >> 1, key[2] >> 1, key[3] >> 1


def _page_of(key: Key) -> Key:
    """The node at which the page of a node begins: its ancestor at a multiple of PAGE_LEVELS."""
    up = key[0] % PAGE_LEVELS
    return key[0] - up, key[1] >> up, key[2] >> up, key[3] >> up


@dataclass(frozen=True)
class PageProblem:
    """Something wrong with a page; `where` names byte or node."""

    where: str
    message: str


def read_pages(
    read: Callable[[int, int], bytes], root_offset: int, root_size: int, file_size: int
) -> tuple[Entries, list[PageProblem]]:
    """Walk all pages from the root page.

    Every page is read once, and all together are no larger than the file: a loop, pages that overlap or a page outside the file are
    problems in the list, never an endless walk or more memory than the file has bytes.
    """
    problems: list[PageProblem] = []
    visited: set[int] = set()
    found: list[Entries] = []
    queue = [(root_offset, root_size)]
    total = 0
    while queue:
        offset, size = queue.pop()
        where = f"hierarchy page at byte {offset}"
        if offset in visited:
            problems.append(PageProblem(where, "is reached twice: the pages form a loop"))
            continue
        visited.add(offset)
        if size <= 0 or size % HIERARCHY_ENTRY.itemsize or offset < 0 or offset + size > file_size:
            problems.append(PageProblem(where, f"has {size} bytes, the file ends at {file_size}"))
            continue
        total += size // HIERARCHY_ENTRY.itemsize
        if total * HIERARCHY_ENTRY.itemsize > file_size:
            problems.append(
                PageProblem(where, "overlaps other pages: together they are larger than the file")
            )
            break
        data = read(offset, size)
        if len(data) != size:
            problems.append(PageProblem(where, f"has {size} bytes, {len(data)} could be read"))
            continue
        page = np.frombuffer(data, HIERARCHY_ENTRY)
        if total > MAXIMUM_NODES:
            problems.append(PageProblem(where, f"brings the tree above {MAXIMUM_NODES} nodes"))
            break
        links = page["point_count"] == -1
        queue.extend((int(entry["offset"]), int(entry["byte_size"])) for entry in page[links])
        found.append(page[~links])
    return (np.concatenate(found) if found else np.empty(0, HIERARCHY_ENTRY)), problems


def valid_keys(entries: Entries) -> npt.NDArray[np.bool_]:
    """Which entries have a key that exists: level 0-30, and x, y, z below 2 to the level."""
    level = entries["level"].astype(np.int64)
    sound: npt.NDArray[np.bool_] = (level >= 0) & (level <= MAXIMUM_LEVEL)
    width = np.int64(1) << np.clip(level, 0, MAXIMUM_LEVEL)
    for axis in "xyz":
        sound &= (entries[axis] >= 0) & (entries[axis] < width)
    return sound


def repeated_keys(entries: Entries) -> int:
    """How many entries have the key of another before them; the keys have to be valid."""
    across = entries["x"].astype(np.int64) | entries["y"].astype(np.int64) << 31
    upright = entries["z"].astype(np.int64) | entries["level"].astype(np.int64) << 31
    order = np.lexsort((across, upright))
    same = (np.diff(across[order]) == 0) & (np.diff(upright[order]) == 0)
    return int(same.sum())


def require_walkable(entries: Entries, problems: list[PageProblem], name: str) -> None:
    """Raise InvalidCopcError for the first problem, or if there is no node, a key that cannot exist, or one that appears twice."""
    if problems:
        raise InvalidCopcError(f"{name}: {problems[0].where} {problems[0].message}; the file is corrupt")
    if len(entries) == 0 or not valid_keys(entries).all():
        raise InvalidCopcError(
            f"{name}: the hierarchy has no nodes, or nodes outside the octree; the file is corrupt"
        )
    repeated = repeated_keys(entries)
    if repeated:
        raise InvalidCopcError(f"{name}: {repeated} nodes appear more than once; the file is corrupt")
