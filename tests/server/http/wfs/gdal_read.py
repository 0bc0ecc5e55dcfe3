"""What GDAL's WFS driver reads, as JSON on standard output; in a process of its own, since GDAL waits for the network with
Python's lock held, and the server that answers is a thread of the tests.

    python gdal_read.py SOURCE LAYER [WHERE] [WEST,SOUTH,EAST,NORTH]
"""

import json
import sys

import pyogrio
import shapely


def main(source: str, layer: str, where: str = "", box: str = "") -> None:
    """Print layers, description and features."""
    bbox = tuple(float(part) for part in box.split(",")) if box else None
    info = pyogrio.read_info(source, layer=layer)
    meta, _, shapes, values = pyogrio.raw.read(source, layer=layer, where=where or None, bbox=bbox)
    columns = {
        name: [str(one) for one in column] for name, column in zip(meta["fields"], values, strict=True)
    }
    found = {
        "layers": pyogrio.list_layers(source)[:, 0].tolist(),
        "info": {name: str(info[name]) for name in ("features", "geometry_type", "crs")},
        "columns": columns,
        "shapes": shapely.to_wkt(shapely.from_wkb(shapes), rounding_precision=-1).tolist(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
