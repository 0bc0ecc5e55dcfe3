"""The child's side of `guarded`: `python -m pointclouds.formats.guarded_child BYTES`, the call on standard input."""

from __future__ import annotations

import ctypes
import importlib
import os
import pickle
import resource
import signal
import sys
from typing import IO, Any, Final

_DEATH_SIGNAL: Final = 1
"""PR_SET_PDEATHSIG of prctl."""


def main() -> None:
    """Bound the memory, take the call, run it, send the outcome."""
    limit = int(sys.argv[1])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _die_with_parent()
    # What libraries print must not end up between the messages.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    module, name, arguments, reports = pickle.load(sys.stdin.buffer)  # noqa: S301  # our own parent wrote it
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        options = {"report": lambda stage, part: _send(channel, "progress", (stage, part))} if reports else {}
        _send(channel, "result", function(*arguments, **options))
    except Exception as error:  # noqa: BLE001  # whatever it is, the parent raises it
        _send_error(channel, error)


def _die_with_parent() -> None:
    """Linux: when the thread that waits for us is gone, so are we."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_DEATH_SIGNAL, signal.SIGKILL)


def _send(channel: IO[bytes], kind: str, value: Any) -> None:
    message = pickle.dumps((kind, value))
    channel.write(len(message).to_bytes(8, "little") + message)
    channel.flush()


def _send_error(channel: IO[bytes], error: Exception) -> None:
    if isinstance(error, MemoryError):
        error = MemoryError(str(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # only to see that the parent can
    except Exception:  # noqa: BLE001  # an error of a class that does not pickle still has its words
        error = RuntimeError(f"{type(error).__name__}: {error}")
    _send(channel, "error", error)


if __name__ == "__main__":
    main()
