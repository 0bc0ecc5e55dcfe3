"""Decoded nodes, kept in the memory of a process: the coarse ones are asked for again and again."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Final

from pointclouds.las.layout import Records

_MEBIBYTE: Final = 1024 * 1024


class NodeCache:
    """Records by file and row, those longest not used dropped. Safe in threads; a forked child begins anew.

    A kept node answers every question that needs no more fields than were decoded for it.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._nodes: OrderedDict[tuple[str, int], tuple[int, Records]] = OrderedDict()
        self._process = os.getpid()

    @property
    def most_bytes(self) -> int:
        """What may be kept."""
        return self._most

    @property
    def bytes(self) -> int:
        """What is kept."""
        return self._bytes

    def limit(self, most_bytes: int) -> None:
        """Keep at most so many bytes from now on; 0 for none."""
        with self._lock:
            self._most = most_bytes
            self._shrink()

    def get(self, path: str, row: int, selection: int) -> Records | None:
        """The node's records if at least the fields of `selection` are decoded in them; never to be changed."""
        with self._lock:
            if self._process != os.getpid():
                self._nodes, self._bytes, self._process = OrderedDict(), 0, os.getpid()
            found = self._nodes.get((path, row))
            if found is None or found[0] & selection != selection:
                return None
            self._nodes.move_to_end((path, row))
            return found[1]

    def put(self, path: str, row: int, selection: int, records: Records) -> None:
        """Keep a node, unless it alone would fill a quarter of the cache."""
        if records.nbytes * 4 > self._most:
            return
        with self._lock:
            before = self._nodes.pop((path, row), None)
            self._bytes += records.nbytes - (before[1].nbytes if before else 0)
            self._nodes[path, row] = (selection, records)
            self._shrink()

    def _shrink(self) -> None:
        while self._bytes > self._most:
            _, (_, records) = self._nodes.popitem(last=False)
            self._bytes -= records.nbytes


NODE_CACHE: Final = NodeCache(64 * _MEBIBYTE)
"""The one of this process; its size comes from the settings."""
