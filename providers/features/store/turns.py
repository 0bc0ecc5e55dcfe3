"""Lets an edit through where many threads of its process read.

An edit takes the interpreter's lock some fifty times. Among 64 threads that read without a pause each time means to wait for
all of them, and a process writes two edits a second; when few read at once, it writes thirty, and answers as many pages. So
while an edit is under way only a few threads begin to read; each of the others waits for its turn, a moment at most.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

READERS = 4
"""Threads that read beside an edit of their process."""
_PATIENCE = 0.1  # seconds; then a thread reads all the same: slow queries may have all the turns

_turns: queue.SimpleQueue[None] = queue.SimpleQueue()
for _ in range(READERS):
    _turns.put(None)
_lock = threading.Lock()
edits = 0
"""Edits under way in this process."""


@contextmanager
def edit_under_way() -> Iterator[None]:
    """While the block runs, readers take turns."""
    global edits
    with _lock:
        edits += 1
    try:
        yield
    finally:
        with _lock:
            edits -= 1


def wait_for_turn() -> bool:
    """Wait, while an edit is under way; whether the thread has a turn now, to give back by `end_turn`."""
    try:
        _turns.get(timeout=_PATIENCE)
    except queue.Empty:
        return False
    return True


def end_turn() -> None:
    """Give a turn back."""
    _turns.put(None)
