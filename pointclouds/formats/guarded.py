"""Work on untrusted files in a process of its own, with bounds of memory and time: a crash there is an error message here.

The child is started anew (no fork: the server's handles and locks stay where they are), bounds its own address space, imports the
function, runs it, and sends progress and the result back through a pipe.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Final, cast

from pointclouds.errors import PointCloudError, UnreadablePointCloudError

Report = Callable[[str, float], None]

_LENGTH: Final = 8
_LARGEST_MESSAGE: Final = 1 << 30
_KEPT_WORDS: Final = 4_000
_PATIENCE: Final = 5.0


@dataclass(frozen=True)
class Limits:
    """What the child may use: bytes of address space (of it and of each process it starts), and seconds on the clock."""

    memory_bytes: int = 4 << 30
    seconds: float = 3_600.0


def run_guarded[Result](
    function: Callable[..., Result],
    *arguments: Any,
    limits: Limits | None = None,
    report: Report | None = None,
    what: str = "the point cloud",
) -> Result:
    """Call a function of a module, in a child process, and give back what it returns.

    Args:
        function: importable by its module and name; with `report` it is called with a keyword argument of that name.
        arguments: picklable.
        limits: None for the usual ones.
        report: gets what the function reports.
        what: names the work in messages, for example the file's name.

    Raises:
        PointCloudError: as the function raised it.
        UnreadablePointCloudError: the child crashed, or had not enough memory or time.
        Exception: any other that the function raised, where it can be pickled.
    """
    bounds = limits or Limits()
    call = pickle.dumps((function.__module__, function.__qualname__, arguments, report is not None))
    with subprocess.Popen(
        [sys.executable, "-m", "pointclouds.formats.guarded_child", str(bounds.memory_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        start_new_session=True,
    ) as child:
        patience = 0.0
        try:
            conversation = _Conversation(child, time.monotonic() + bounds.seconds, report)
            outcome = conversation.hold(call)
            patience = 0.0 if conversation.late else _PATIENCE
        finally:
            _end(child, patience)
    return cast(Result, _judged(outcome, child.returncode, bounds, what, conversation))


class _Conversation:
    """Sends the call, hands on progress, and takes the outcome; reads the child's words for a message, bounded."""

    def __init__(self, child: subprocess.Popen[bytes], deadline: float, report: Report | None) -> None:
        self._child = child
        self._deadline = deadline
        self._report = report
        self.words = b""
        self.late = False

    def hold(self, call: bytes) -> tuple[str, Any] | None:
        """The outcome ("result" or "error", and its value); None where the child ended or took too long before it."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(call)
            self._child.stdin.close()
        buffer = bytearray()
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._child.stdout, selectors.EVENT_READ, "answer")
            waiting.register(self._child.stderr, selectors.EVENT_READ, "words")
            while waiting.get_map():
                left = self._deadline - time.monotonic()
                if left <= 0:
                    self.late = True
                    return None
                for key, _ in waiting.select(left):
                    part = _available(key.fileobj)  # type: ignore[arg-type]  # what was registered: two streams
                    if not part:
                        waiting.unregister(key.fileobj)
                    elif key.data == "words":
                        self.words = (self.words + part)[-_KEPT_WORDS:]
                    else:
                        buffer += part
                        outcome = self._take(buffer)
                        if outcome is not None:
                            return outcome
        return None

    def _take(self, buffer: bytearray) -> tuple[str, Any] | None:
        while len(buffer) >= _LENGTH:
            length = int.from_bytes(buffer[:_LENGTH], "little")
            if length > _LARGEST_MESSAGE:
                return None
            if len(buffer) < _LENGTH + length:
                return None
            kind, value = pickle.loads(bytes(buffer[_LENGTH : _LENGTH + length]))  # noqa: S301  # our own child wrote it
            del buffer[: _LENGTH + length]
            if kind != "progress":
                return kind, value
            if self._report is not None:
                self._report(*value)
        return None


def _available(stream: IO[bytes]) -> bytes:
    return os.read(stream.fileno(), 1 << 16)


def _end(child: subprocess.Popen[bytes], patience: float) -> None:
    """Let the child end by itself for some seconds, then kill what is left of it and of all that it started."""
    until = time.monotonic() + patience
    # Not reaped before the kill: as long as it is a zombie, nobody else can get its group's number.
    while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= until:
            break
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _judged(
    outcome: tuple[str, Any] | None, code: int | None, bounds: Limits, what: str, conversation: _Conversation
) -> Any:
    if outcome is not None:
        kind, value = outcome
        if kind == "result":
            return value
        if isinstance(value, MemoryError):
            raise _out_of_memory(what, bounds)
        raise value
    if conversation.late:
        raise UnreadablePointCloudError(
            f"{what} took longer than {bounds.seconds:g} s to be read and was given up; the file is damaged or too large"
        )
    words = conversation.words.decode("utf-8", "replace").strip().splitlines()
    if any("memory" in line.lower() or "bad_alloc" in line for line in words):
        raise _out_of_memory(what, bounds)
    how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
    last = f": {words[-1][:200]}" if words else ""
    raise UnreadablePointCloudError(
        f"{what} made its reader crash ({how}{last}); the file is damaged, nothing of it was used"
    )


def _out_of_memory(what: str, bounds: Limits) -> PointCloudError:
    return UnreadablePointCloudError(
        f"{what} needs more than the {bounds.memory_bytes / 2**30:.1f} GiB of memory its reading may use; "
        "the file is damaged, or the limit too low for it"
    )
