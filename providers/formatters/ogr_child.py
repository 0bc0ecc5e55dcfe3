"""The process in which GDAL writes a large file: `python -m providers.formatters.ogr_child JSON`, an Arrow stream on its input."""

from __future__ import annotations

import json
import sys

import pyarrow as pa

from providers.formatters.ogr import OgrFile, write_arrow_to


def main() -> None:
    """Write what comes in; a failure is told on the error output, and by the exit status."""
    file = OgrFile(**json.loads(sys.argv[1]))
    with pa.ipc.open_stream(sys.stdin.buffer) as reader:
        write_arrow_to(file, reader)


if __name__ == "__main__":
    main()
