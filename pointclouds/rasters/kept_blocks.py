"""Blocks of cells that were made, kept for all clouds of a process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Final

import numpy as np
import numpy.typing as npt

Cells = npt.NDArray[np.float32]

_KEPT_BYTES: Final = 64 << 20
_OVERHEAD: Final = 400
"""Bytes that a block takes beside its values."""


class KeptBlocks:
    """Blocks of all clouds, those longest not used dropped; a forked child begins anew."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[object, ...], Cells] = OrderedDict()
        self._process = os.getpid()

    def get(self, key: tuple[object, ...]) -> Cells | None:
        """A kept block; never to be changed."""
        with self._lock:
            if self._process != os.getpid():
                self._blocks, self._bytes, self._process = OrderedDict(), 0, os.getpid()
            found = self._blocks.get(key)
            if found is not None:
                self._blocks.move_to_end(key)
            return found

    def put(self, key: tuple[object, ...], block: Cells) -> Cells:
        """Keep a block; it is given back."""
        with self._lock:
            if key not in self._blocks:
                self._blocks[key] = block
                self._bytes += block.nbytes + _OVERHEAD
                while self._bytes > self._most:
                    self._bytes -= self._blocks.popitem(last=False)[1].nbytes + _OVERHEAD
            return block

    def clear(self) -> None:
        """Drop all."""
        with self._lock:
            self._blocks.clear()
            self._bytes = 0


KEPT: Final = KeptBlocks(_KEPT_BYTES)


def forget_blocks() -> None:
    """Drop all kept blocks: for measurements of what is made anew."""
    KEPT.clear()
