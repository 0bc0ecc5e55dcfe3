"""The body of a request, read within bounds of size and time.

A client that announces a body and does not send it would hold a thread for as long as it likes, and a worker has few.
So the reading is done by a thread of its own, of which there are only so many: slow senders can take those, and then
bodies are refused, but never the threads that answer everything else.
"""

from __future__ import annotations

import threading
from typing import Protocol

from server.http.errors import Overloaded, PayloadTooLarge, RequestTimeout

_CHUNK = 1 << 16


class Readable(Protocol):
    """What a body is read from (`wsgi.input`)."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""
        ...


class _Reading:
    """One body on its way."""

    def __init__(self, source: Readable, most: int) -> None:
        self._source = source
        self._most = most
        self._given_up = False
        self.parts: list[bytes] = []
        self.size = 0
        self.failure: OSError | None = None

    def run(self) -> None:
        """Read to the end, or one byte past the most that is allowed."""
        try:
            while not self._given_up and self.size <= self._most:
                part = self._source.read(min(_CHUNK, self._most + 1 - self.size))
                if not part:
                    return
                self.parts.append(part)
                self.size += len(part)
        except OSError as error:
            self.failure = error

    def give_up(self) -> None:
        """Stop after the part that is being waited for, and keep nothing."""
        self._given_up = True
        self.parts = []


class BodyReader:
    """Reads bodies of at most `most` bytes within `seconds`; `places` of them at once in this process."""

    def __init__(self, most: int, seconds: float = 10.0, places: int = 8) -> None:
        self._most = most
        self._seconds = seconds
        self._places = threading.BoundedSemaphore(places)

    def read(self, source: Readable, announced: int | None) -> bytes:
        """The whole body; `announced` is its Content-Length, None where there is none.

        Raises PayloadTooLarge, RequestTimeout, and Overloaded where too many clients are still sending.
        """
        if announced is not None and announced > self._most:
            raise self._too_large()
        if not self._places.acquire(blocking=False):
            raise Overloaded("too many request bodies are on their way at once; try again in a moment")
        reading, done = _Reading(source, self._most), threading.Event()

        def run() -> None:
            try:
                reading.run()
            finally:
                self._places.release()
                done.set()

        threading.Thread(target=run, name="chengtu-body", daemon=True).start()
        if not done.wait(self._seconds):
            reading.give_up()
            raise RequestTimeout(
                f"the request body did not arrive within {self._seconds:g} seconds; send all of it at once"
            )
        if reading.failure is not None or (announced is not None and reading.size < announced):
            raise RequestTimeout("the request body ended before it was complete; send all of it")
        if reading.size > self._most:
            raise self._too_large()
        return b"".join(reading.parts)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"the request body has more than {self._most} bytes, which is the most allowed"
        )
