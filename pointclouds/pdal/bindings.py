"""PDAL by its Python module, as a program of its own that answers like the command line:

    python -I bindings.py describe          print {"version", "stages"}
    python -I bindings.py pipeline FILE     run the pipeline in FILE

It is run in a child only, where the `pdal` command is absent and `import pdal` works.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """The status to exit with: 0 done, 1 refused by PDAL, whose words are on the standard error."""
    # Only where it is installed, and only in a child: it brings PDAL's own libraries.
    pdal = importlib.import_module("pdal")

    if arguments[0] == "describe":
        drivers = pdal.libpdalpython.getDrivers()
        json.dump({"version": pdal.info.version, "stages": [one["name"] for one in drivers]}, sys.stdout)
        return 0
    pipeline = pdal.Pipeline(Path(arguments[1]).read_text())
    try:
        pipeline.execute()
    except RuntimeError as error:
        print(f"PDAL: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
