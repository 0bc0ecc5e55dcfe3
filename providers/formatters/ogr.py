"""Files that GDAL writes whole before they can be sent: GeoPackage and Shapefile.

A few features are written in this process; many in a process of their own, to which they go as an Arrow stream. GDAL holds the
interpreter's lock while it builds an index (0.5 s for 500,000 features), and nobody else shall wait for that.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa

from providers.errors import AnswerTooLarge, StoreError

_HERE_ROWS = 20_000
_HERE_BYTES = 32 << 20
_CHILD = "providers.formatters.ogr_child"
_MOST_MESSAGE = 2000


@dataclass(frozen=True)
class OgrFile:
    """What to write: a driver of GDAL, the layer, its geometry (None: a table without), the CRS as WKT, creation options."""

    driver: str
    path: str
    layer: str
    geometry_name: str | None
    geometry_type: str | None
    crs: str | None
    options: Mapping[str, str] = field(default_factory=dict)


def write_file(file: OgrFile, schema: Any, batches: Iterator[Any]) -> None:
    """Write record batches. Raises AnswerTooLarge where the format has no room for them, StoreError where GDAL fails."""
    first, is_all = _beginning(batches)
    if is_all:
        _write_here(file, schema, first)
    else:
        _write_beside(file, schema, chain(first, batches))


def _beginning(batches: Iterator[Any]) -> tuple[list[Any], bool]:
    """So many batches as are written here, and whether these are all."""
    first: list[Any] = []
    rows = size = 0
    for batch in batches:
        first.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows > _HERE_ROWS or size > _HERE_BYTES:
            return first, False
    return first, True


def write_arrow_to(file: OgrFile, reader: Any) -> None:
    """Give a record batch reader to GDAL."""
    from pyogrio.raw import write_arrow

    write_arrow(
        reader,
        file.path,
        layer=file.layer,
        driver=file.driver,
        geometry_name=file.geometry_name,
        geometry_type=file.geometry_type,
        crs=file.crs,
        **file.options,
    )


def _write_here(file: OgrFile, schema: Any, batches: list[Any]) -> None:
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

    try:
        write_arrow_to(file, pa.RecordBatchReader.from_batches(schema, batches))
    except (DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError, RuntimeError) as error:
        raise _failure(file, str(error)) from error


def _write_beside(file: OgrFile, schema: Any, batches: Iterator[Any]) -> None:
    with tempfile.TemporaryFile() as messages, _child(file, messages) as child:
        broken = False
        assert child.stdin is not None  # it is a pipe
        try:
            with child.stdin as pipe, pa.ipc.new_stream(pipe, schema) as stream:
                for batch in batches:
                    stream.write_batch(batch)
        except BrokenPipeError:
            broken = True  # why, it has told
        if child.wait() or broken:
            messages.seek(0)
            raise _failure(file, messages.read()[-_MOST_MESSAGE:].decode(errors="replace"))


@contextlib.contextmanager
def _child(file: OgrFile, messages: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process that writes; it never outlives the block."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen(
        [sys.executable, "-m", _CHILD, orjson.dumps(asdict(file)).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=messages,
        env=environment,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def _failure(file: OgrFile, message: str) -> Exception:
    if "2GB" in message or "2 GB" in message:
        return AnswerTooLarge(
            f"These features do not fit into a {file.driver} file: none of its parts may pass 2 GB; "
            "ask for less (bbox, filter, properties), or for another format such as gpkg"
        )
    return StoreError(f"GDAL could not write {file.driver}: {message.strip()[-500:]}")
