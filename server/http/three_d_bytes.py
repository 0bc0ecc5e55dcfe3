"""Files of a tileset that are in memory as gzip, over HTTP: validators, byte ranges, either coding."""

from __future__ import annotations

from collections.abc import Iterable

from server.http.answer import (
    COMMON_HEADERS,
    Environ,
    Header,
    StartResponse,
    accepts_gzip,
    gunzip_bytes,
    identity_etag,
    not_modified,
)
from server.http.files import parse_range

VARY = "Accept-Encoding, Authorization"
GLB = "model/gltf-binary"
SUBTREE = "application/octet-stream"
JSON = "application/json"
TILES_JSON = ("application/3dtiles+json", "application/json+3dtiles")
"""The media types of a tileset in the draft of OGC API - 3D GeoVolumes (22-029): clauses "3D Tiles" and "Core"."""


def media_type_of(name: str, accept: str = "") -> str:
    """The media type of a file of a tileset, for a client that accepts these."""
    if name.endswith(".glb"):
        return GLB
    if name.endswith(".json"):
        named = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
        return next((kind for kind in named if kind in (*TILES_JSON, JSON)), JSON)
    return SUBTREE


def send_packed(
    body: bytes,
    environ: Environ,
    start_response: StartResponse,
    *,
    etag: str,
    media_type: str,
    private: bool,
    cache_control: str,
    vary: str = VARY,
) -> Iterable[bytes]:
    """Answer with a gzip member, what it packs, a range of that, or 304. `etag` is strong, of the packed form.

    Raises RangeNotSatisfiable.
    """
    headers: list[Header] = [
        *COMMON_HEADERS,
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", f"{'private' if private else 'public'}, {cache_control}"),
        ("Vary", vary),
    ]
    wanted = environ.get("HTTP_RANGE")
    packed = wanted is None and accepts_gzip(environ)
    tag = etag if packed else identity_etag(etag)
    headers.append(("ETag", tag))
    if not_modified(environ, tag):
        start_response("304 Not Modified", headers)
        return []
    headers.append(("Content-Type", media_type))
    status = "200 OK"
    if packed:
        headers.append(("Content-Encoding", "gzip"))
    else:
        body = gunzip_bytes(body)
        part = parse_range(wanted, len(body))
        if part is not None:
            start, end = part
            headers.append(("Content-Range", f"bytes {start}-{end}/{len(body)}"))
            body, status = body[start : end + 1], "206 Partial Content"
    headers.append(("Content-Length", str(len(body))))
    start_response(status, headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
