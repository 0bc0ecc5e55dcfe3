"""Files the pages load: looked up inside one folder, typed, and with the caching their address deserves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "public, no-cache"

# Fixed here: the table of the operating system differs from machine to machine, and module scripts need the exact type.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".cur": "image/x-icon",
    ".gif": "image/gif",
    ".glb": "model/gltf-binary",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".ktx2": "image/ktx2",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
_COMPRESSIBLE = {".css", ".js", ".json", ".mjs", ".svg", ".wasm", ".xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file to send: `etag` is a quoted strong entity tag, `size` in bytes; gzip pays where `compressible`."""

    file: Path
    media_type: str
    etag: str
    cache_control: str
    size: int
    compressible: bool


def find_asset(folder: Path, path: str, *, immutable: bool) -> Asset | None:
    """The file `path` (slashes, relative) below `folder`.

    None where it does not exist, is not a file, leaves the folder (also by a symbolic link), has a hidden part, or is
    of a type that no page loads.
    """
    pure = PurePosixPath(path)
    if (
        not path
        or "\\" in path
        or "\0" in path
        or pure.is_absolute()
        or any(p.startswith(".") for p in pure.parts)
    ):
        return None
    media_type = MEDIA_TYPES.get(pure.suffix.lower())
    if media_type is None:
        return None
    root = folder.resolve()
    file = (root / pure).resolve()
    if not file.is_relative_to(root) or not file.is_file():
        return None
    status = file.stat()
    tag = hashlib.sha256(f"{path}:{status.st_size}:{status.st_mtime_ns}".encode()).hexdigest()[:24]
    return Asset(
        file=file,
        media_type=media_type,
        etag=f'"{tag}"',
        cache_control=IMMUTABLE if immutable else REVALIDATE,
        size=status.st_size,
        compressible=pure.suffix.lower() in _COMPRESSIBLE,
    )


@dataclass(frozen=True, slots=True)
class StaticFiles:
    """Our own scripts, styles and images. Addresses carry `digest`, a hash of all of them, and so never go stale."""

    folder: Path
    digest: str

    @classmethod
    def of(cls, folder: Path) -> StaticFiles:
        """Read the folder once and name its state."""
        digest = hashlib.sha256()
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(file.relative_to(folder).as_posix().encode())
            digest.update(file.read_bytes())
        return cls(folder, digest.hexdigest()[:12])

    def find(self, path: str) -> Asset | None:
        """The asset at `{digest}/js/portal.js` (immutable) or `js/portal.js` (revalidated)."""
        first, _, rest = path.partition("/")
        if first == self.digest:
            return find_asset(self.folder, rest, immutable=True)
        return find_asset(self.folder, path, immutable=False)
