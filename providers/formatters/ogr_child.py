"""The process in which GDAL writes a large file: `python -m providers.formatters.ogr_child JSON`, an Arrow stream on its input."""

from __future__ import annotations

import json
import sys

import pyarrow as pa
import pyogrio

from providers.formatters.ogr import OgrFile, write_arrow_to

_INDEX_BYTES = 32 << 20  # of a spatial index that are built in memory; the rest of it goes through the file


def main() -> None:
    """Write what comes in; a failure is told on the error output, and by the exit status."""
    file = OgrFile(**json.loads(sys.argv[1]))
    pyogrio.set_gdal_config_options({"OGR_GPKG_MAX_RAM_USAGE_RTREE": str(_INDEX_BYTES)})
    with pa.ipc.open_stream(sys.stdin.buffer) as reader:
        write_arrow_to(file, reader)


if __name__ == "__main__":
    main()
