"""What an HDF5 file or a Zarr store may not do: lead to other files, or have bytes decoded by code that can be told what to run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from server.publish.errors import DamagedFile, OptionError, PathOutside
from server.publish.inputs import Input

CODECS = frozenset(
    {
        "blosc", "zstd", "lz4", "zlib", "gzip", "bz2", "lzma", "shuffle", "delta", "fixedscaleoffset", "quantize", "bitround",
        "packbits", "astype", "bytes", "transpose", "crc32c", "crc32", "adler32", "fletcher32", "sharding_indexed",
        "vlen-utf8", "vlen-bytes", "scale_offset",
    }
)  # fmt: skip
"""Codecs of Zarr that only decode. Others are refused: numcodecs' "pickle" runs what the file says."""
_METADATA = (".zarray", "zarr.json")
_MOST_METADATA_BYTES = 16 * 1024 * 1024


def check_hdf5(item: Input) -> int:
    """Refuse links to other files, storage in them, and virtual datasets; the size of the file.

    Raises PathOutside, DamagedFile.
    """
    import h5py

    try:
        with h5py.File(item.path, "r") as file:
            for name, dataset in _datasets(file, item):
                if dataset.is_virtual or dataset.external:
                    raise PathOutside(
                        f"{name} of {item.name} takes its values from other files. Publish a file of its own."
                    )
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise DamagedFile(
            f"{item.name} cannot be read as HDF5: it is truncated or damaged ({error})."
        ) from error
    return item.path.stat().st_size


def _datasets(group: Any, item: Input, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """All datasets; links are looked at before they are followed. Raises PathOutside, DamagedFile."""
    import h5py

    if depth > 32:
        raise DamagedFile(f"{item.name} has groups within groups more than 32 deep.")
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise PathOutside(f"{name} of {item.name} is a link to another file. Publish a file of its own.")
        if isinstance(link, h5py.SoftLink):
            continue  # leads to what is visited anyway
        held = group.get(name)
        if isinstance(held, h5py.Dataset):
            yield name, held
        elif isinstance(held, h5py.Group):
            yield from _datasets(held, item, depth + 1)


def check_zarr(item: Input) -> int:
    """Refuse codecs beyond `CODECS`; the size of all files of the store. Raises OptionError, DamagedFile."""
    size = 0
    for path in item.path.rglob("*"):
        if not path.is_file():
            continue
        size += path.stat().st_size
        if path.name in _METADATA:
            unknown = sorted(_codecs(_metadata(path, item)) - CODECS)
            if unknown:
                raise OptionError(
                    f"{item.name} is packed by {', '.join(unknown)}, which is not allowed. Allowed: {', '.join(sorted(CODECS))}."
                )
    return size


def _metadata(path: Path, item: Input) -> Any:
    try:
        if path.stat().st_size > _MOST_METADATA_BYTES:
            raise DamagedFile(f"{item.name}: {path.name} is larger than metadata are.")
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise DamagedFile(f"{item.name}: {path.name} is not JSON: {error}.") from error


def _codecs(metadata: Any) -> set[str]:
    """Names of the codecs of an array's metadata, of version 2 or 3, those within shards too."""
    if not isinstance(metadata, dict):
        return set()
    packed = [metadata.get("compressor"), *(metadata.get("filters") or []), *(metadata.get("codecs") or [])]
    inner = metadata.get("consolidated_metadata")
    held = list(inner.get("metadata", {}).values()) if isinstance(inner, dict) else []
    found: set[str] = set()
    for codec in packed:
        if isinstance(codec, dict):
            found.add(str(codec.get("id", codec.get("name"))).removeprefix("numcodecs."))
            configuration = codec.get("configuration")
            if isinstance(configuration, dict):
                found |= _codecs(
                    {
                        "codecs": [
                            *(configuration.get("codecs") or []),
                            *(configuration.get("index_codecs") or []),
                        ]
                    }
                )
    for part in held:
        found |= _codecs(part)
    return found
