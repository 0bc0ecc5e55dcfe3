"""Quantized-mesh tiles with normals by pymartini and quantized-mesh-encoder, run by the peers' Python, which has no Chengtu:

    python three_d_terrain_peer.py MODEL FOLDER LEVEL TILES ERROR

The deepest level only: TILES tiles from the middle of an elevation model, off by ERROR metres at most, written with compressed siblings. Edges of neighbours are
not made to meet. Prints what was made as JSON.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import rasterio
from pymartini import Martini, rescale_positions
from quantized_mesh_encoder import encode
from quantized_mesh_encoder.extensions import VertexNormalsExtension
from rasterio.vrt import WarpedVRT
from rasterio.windows import from_bounds as window_of

GRID = 65


def main(model: str, folder: Path, level: int, tiles: int, error: float) -> None:
    """Write the tiles."""
    side = 180.0 / 2**level
    martini, size, packed, count = Martini(GRID), 0, 0, 0
    with rasterio.open(model) as source, WarpedVRT(source, crs="EPSG:4326") as degrees:
        middle_x, middle_y = (
            (degrees.bounds.left + degrees.bounds.right) / 2,
            (degrees.bounds.bottom + degrees.bounds.top) / 2,
        )
        across = int(tiles**0.5)
        first_x, first_y = (
            int((middle_x + 180) / side) - across // 2,
            int((middle_y + 90) / side) - across // 2,
        )
        for x in range(first_x, first_x + across):
            for y in range(first_y, first_y + across):
                west, south = x * side - 180, y * side - 90
                step = side / (GRID - 1)
                box = (west, south, west + side, south + side)
                around = (west - step / 2, south - step / 2, box[2] + step / 2, box[3] + step / 2)
                heights = degrees.read(
                    1, window=window_of(*around, degrees.transform), out_shape=(GRID, GRID), boundless=False
                ).astype(np.float32)
                vertices, triangles = martini.create_tile(heights).get_mesh(error)
                positions = rescale_positions(vertices, heights, bounds=box)
                path = folder / str(level) / str(x) / f"{y}.terrain"
                path.parent.mkdir(parents=True, exist_ok=True)
                normals = VertexNormalsExtension(indices=triangles, positions=positions)
                with path.open("wb") as out:
                    encode(out, positions, triangles, bounds=box, extensions=(normals,))
                content = path.read_bytes()
                small = gzip.compress(content, 4)
                path.with_suffix(".terrain.gz").write_bytes(small)
                size, packed, count = size + len(content), packed + len(small), count + 1
    print(json.dumps({"count": count, "bytes": size, "gzip_bytes": packed}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
