"""Answers of map services kept on disk, with what proves that they are still current."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

MAXIMUM_BYTES = 512 << 20
_PRUNE_EVERY = 256  # answers
_LONGEST_VALIDATOR = 1_000


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer: its body (empty where there is no such tile), what it may be asked again with, and its age."""

    body: bytes
    etag: str
    modified: str
    asked: float

    @property
    def age(self) -> float:
        """Seconds since the service said that it is current."""
        return max(time.time() - self.asked, 0.0)

    @property
    def conditions(self) -> dict[str, str]:
        """The headers of a conditional request; none where the service gave no validator."""
        pairs = (("If-None-Match", self.etag), ("If-Modified-Since", self.modified))
        return {name: value for name, value in pairs if value}


class KeptAnswers:
    """Answers in a folder, by key; the oldest go when there are too many bytes. Safe in threads and processes.

    A folder that cannot be written costs the keeping, never the answer. None as folder keeps nothing.
    """

    def __init__(self, folder: Path | None, most_bytes: int = MAXIMUM_BYTES) -> None:
        self._folder = folder
        self._most = most_bytes
        self._lock = threading.Lock()
        self._written = 0

    def get(self, key: str) -> KeptAnswer | None:
        """The answer of a key; None where there is none, or what is there is no whole answer."""
        path = self._path(key)
        if path is None:
            return None
        try:
            head, _, body = path.read_bytes().partition(b"\n")
            said = orjson.loads(head)
            if len(body) != said["size"]:
                return None
            return KeptAnswer(body, str(said["etag"]), str(said["modified"]), float(said["asked"]))
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return None

    def put(self, key: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Keep an answer as it came now; `headers` are those of the answer, names in lower case."""
        given = headers or {}
        etag, modified = given.get("etag", ""), given.get("last-modified", "")
        self._write(key, body, etag if _is_sendable(etag) else "", modified if _is_sendable(modified) else "")

    def confirm(self, key: str, kept: KeptAnswer) -> None:
        """The service has said that a kept answer is still current."""
        self._write(key, kept.body, kept.etag, kept.modified)

    def _path(self, key: str) -> Path | None:
        if self._folder is None:
            return None
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return self._folder / name[:2] / name[2:]

    def _write(self, key: str, body: bytes, etag: str, modified: str) -> None:
        path = self._path(key)
        if path is None:
            return
        head = {"etag": etag, "modified": modified, "asked": time.time(), "size": len(body)}
        aside = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".")
            with os.fdopen(handle, "wb") as file:
                file.write(orjson.dumps(head) + b"\n" + body)
            Path(aside).replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                Path(aside).unlink()
            return
        with self._lock:
            self._written += 1
            due = self._written % _PRUNE_EVERY == 1
        if due:
            self.prune()

    def prune(self) -> None:
        """Remove the answers written longest ago until the rest fits."""
        if self._folder is None:
            return
        found: list[tuple[float, int, Path]] = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                with contextlib.suppress(OSError):
                    path = Path(folder, name)
                    stat = path.stat()
                    found.append((stat.st_mtime, stat.st_size, path))
        surplus = sum(size for _, size, _ in found) - self._most
        for _, size, path in sorted(found):
            if surplus <= 0:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                surplus -= size


def _is_sendable(text: str) -> bool:
    """Whether a validator may be sent back as a header."""
    return len(text) <= _LONGEST_VALIDATOR and text.isascii() and text.isprintable()
