"""What the GDAL of the pyogrio wheel reads of a layer, as JSON on standard output: a newer GDAL than Debian's.

    python tests/clients/pyogrio_features.py read SOURCE LAYER OPTIONS
    python tests/clients/pyogrio_features.py append SOURCE LAYER {}

OPTIONS is a JSON object of `pyogrio.raw.read`'s arguments and the driver's open options. A process of its own, because
pyogrio holds the interpreter's lock while it waits for the server, and the recorder of the tests is in theirs.
"""

import json
import sys
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray


def read(source: str, layer: str, options: dict[str, Any]) -> dict[str, Any]:
    """CRS, keys (the field `secret`) and geometries as hexadecimal WKB."""
    if "bbox" in options:
        options["bbox"] = tuple(options["bbox"])
    meta, _, shapes, values = pyogrio.raw.read(source, layer=layer, **options)
    names = list(meta["fields"])
    geometries: NDArray[np.object_] = shapely.from_wkb(shapes)
    return {
        "gdal": pyogrio.__gdal_version_string__,
        "crs": meta["crs"],
        "keys": list(values[names.index("secret")]),
        "shapes": shapely.to_wkb(geometries, hex=True).tolist(),
    }


def append(source: str, layer: str, options: dict[str, Any]) -> dict[str, Any]:
    """Whether one more tower can be written."""
    try:
        pyogrio.raw.write(
            source,
            shapely.to_wkb(np.array([shapely.box(114, 22.7, 114.001, 22.701)])),
            [np.array(["s901"], dtype=object)],
            ["secret"],
            layer=layer,
            append=True,
            geometry_type="Polygon",
            crs="OGC:CRS84",
            **options,
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        return {"written": False, "error": str(error)}
    return {"written": True, "error": ""}


if __name__ == "__main__":
    job = {"read": read, "append": append}[sys.argv[1]]
    print(json.dumps(job(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))))
