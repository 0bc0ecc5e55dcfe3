"""Asking one map service for images: within a time budget, from what is kept where that is young enough or all there is."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from providers.errors import AnswerTooLarge
from providers.maps.errors import RemoteMapRefused, RemoteMapUnavailable
from providers.maps.remote.kept import KeptAnswer, KeptAnswers
from providers.maps.remote.pixels import EXCEPTIONS, IMAGES, read_image, refusal
from providers.outgoing import Answer, Client, RemoteBusy, RemoteUnavailable
from providers.outgoing.client import MEBIBYTE
from tiles.maps.source import Pixels

MAXIMUM_BYTES = 16 * MEBIBYTE
_WAITING = 8
_PAUSE = 0.03
_NOT_THERE = (204, 404, 410)


@dataclass(slots=True)
class Budget:
    """What one image may take: `deadline` in the time of time.monotonic. `failure` is the first one; nobody is asked after it."""

    deadline: float
    failure: RemoteMapUnavailable | None = None
    used_old: bool = False
    without: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.deadline - time.monotonic()


class Upstream:
    """One service as images are asked of it. Safe to use from many threads; made after the fork."""

    def __init__(self, client: Client, kept: KeptAnswers, max_age: int) -> None:
        self.client = client
        self.kept = kept
        self.max_age = max_age
        self._waiting = threading.BoundedSemaphore(_WAITING)

    def budget(self) -> Budget:
        """The budget of one image: the service's timeout for all its requests together."""
        return Budget(time.monotonic() + self.client.timeout)

    def image(
        self, url: str, params: Mapping[str, str], budget: Budget, *, tile: bool = False
    ) -> Pixels | None:
        """The image; None where a tile does not exist, or nothing of it is known and `budget.failure` says why.

        `tile`: the service has a fixed set of images, so what it answers is kept; else only what carries a validator is.
        """
        key = f"{url}?{sorted(params.items())}"
        kept = self.kept.get(key)
        if kept is not None and kept.age < self.max_age:
            found = self._read_kept(kept)
            if found is not None or not kept.body:
                return found
            kept = None
        if budget.failure is None:
            try:
                return self._asked(url, params, key, kept, budget, tile)
            except RemoteMapUnavailable as error:
                budget.failure = error
        if kept is None:
            budget.without.append(key)
            return None
        budget.used_old = True
        return self._read_kept(kept)

    def _asked(
        self,
        url: str,
        params: Mapping[str, str],
        key: str,
        kept: KeptAnswer | None,
        budget: Budget,
        tile: bool,
    ) -> Pixels | None:
        answer = self.get(url, params, (*IMAGES, *EXCEPTIONS), budget.left, kept)
        if answer.status == 304 and kept is not None:
            found = self._read_kept(kept)
            if found is not None or not kept.body:
                self.kept.confirm(key, kept)
                return found
            answer = self.get(url, params, (*IMAGES, *EXCEPTIONS), budget.left)  # what was kept is damaged
        if tile and answer.status in _NOT_THERE:
            self.kept.put(key, b"")
            return None
        if answer.status != 200:
            words = refusal(answer.body, self.client.name)
            raise RemoteMapRefused(f"{self.client.name} answers {answer.status}: {words}")
        pixels = read_image(answer.body, self.client.name)
        if tile or "etag" in answer.headers or "last-modified" in answer.headers:
            self.kept.put(key, answer.body, dict(answer.headers))
        return pixels

    def _read_kept(self, kept: KeptAnswer) -> Pixels | None:
        """The image of a kept answer; None where it stands for none, or is damaged."""
        if not kept.body:
            return None
        try:
            return read_image(kept.body, self.client.name)
        except RemoteMapUnavailable:
            return None

    def get(
        self,
        url: str,
        params: Mapping[str, str],
        accept: tuple[str, ...],
        seconds: float,
        kept: KeptAnswer | None = None,
    ) -> Answer:
        """One answer, waiting for a place with the host as long as there is time. Raises RemoteMapUnavailable."""
        if not self._waiting.acquire(blocking=False):
            raise RemoteMapUnavailable(
                f"{self.client.name} is slow, and as many maps as may wait for it are waiting", 1.0
            )
        deadline = time.monotonic() + seconds
        try:
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise RemoteMapUnavailable(f"{self.client.name} does not answer: it took too long", 1.0)
                try:
                    return self.client.get(
                        url,
                        params,
                        accept=accept,
                        limit=MAXIMUM_BYTES,
                        timeout=left,
                        conditions=kept.conditions if kept is not None else {},
                    )
                except RemoteBusy:
                    time.sleep(_PAUSE)
        except RemoteUnavailable as error:
            raise RemoteMapUnavailable(str(error), error.retry_after) from error
        except AnswerTooLarge as error:
            raise RemoteMapUnavailable(str(error)) from error
        finally:
            self._waiting.release()
