"""Where a tileset's files come from: a folder, or something that answers requests."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urljoin, urlsplit

_PARTS = {".glb", ".gltf", ".b3dm", ".i3dm", ".cmpt", ".pnts", ".subtree", ".json"}


class TilesetFiles(Protocol):
    """The files of one tileset by their path relative to its root, with "/" between names."""

    def locate(self, uri: str, file: str) -> str | None:
        """The path of what `uri` in `file` refers to (RFC 3986); None where that is on another server or above the root."""
        ...

    def read(self, path: str) -> bytes | None:
        """The bytes of a file, None where there is none."""
        ...

    def compressed(self, path: str) -> bytes | None:
        """The bytes of its sibling `PATH.gz`, None where there is none."""
        ...

    def paths(self) -> Iterable[str]:
        """Every file that is part of a tileset by its name; empty where that cannot be known."""
        ...


class FolderFiles:
    """A tileset in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def locate(self, uri: str, file: str) -> str | None:
        """As TilesetFiles. A query is left out: files have none."""
        parts = urlsplit(uri)
        if parts.scheme or parts.netloc or parts.path.startswith("/"):
            return None
        path = posixpath.normpath(posixpath.join(posixpath.dirname(file), unquote(parts.path)))
        return None if path.startswith("..") or path == "." else path

    def read(self, path: str) -> bytes | None:
        """As TilesetFiles. A path out of the folder is none."""
        file = (self._folder / path).resolve()
        return file.read_bytes() if file.is_relative_to(self._folder) and file.is_file() else None

    def compressed(self, path: str) -> bytes | None:
        """As TilesetFiles."""
        return self.read(f"{path}.gz")

    def paths(self) -> Iterable[str]:
        """As TilesetFiles; siblings that are compressed count too."""
        for file in sorted(self._folder.rglob("*")):
            plain = file.with_suffix("") if file.suffix == ".gz" else file
            if plain.suffix in _PARTS and file.is_file():
                yield file.relative_to(self._folder).as_posix()


class CallFiles:
    """A tileset that is asked for file by file: `fetch` gives the bytes of a path, None where there is nothing."""

    def __init__(self, fetch: Callable[[str], bytes | None]) -> None:
        self._fetch = fetch

    def locate(self, uri: str, file: str) -> str | None:
        """As TilesetFiles. Paths start at the server's root, and keep their query."""
        parts = urlsplit(urljoin(f"//server/{file}", uri))
        if parts.scheme or parts.netloc != "server":
            return None
        path = unquote(parts.path).lstrip("/")
        return f"{path}?{parts.query}" if parts.query else path

    def read(self, path: str) -> bytes | None:
        """As TilesetFiles."""
        return self._fetch(path)

    def compressed(self, path: str) -> bytes | None:
        """None: what is sent compressed is the transport's matter."""
        return None

    def paths(self) -> Iterable[str]:
        """Nothing: what is not asked for cannot be known."""
        return ()
