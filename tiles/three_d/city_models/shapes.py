"""Stored surfaces of city objects as the parts of a tile: triangles, coloured by class or colour, or textured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.city_models.atlas import Atlas
from tiles.three_d.city_models.classes import PALETTE
from tiles.three_d.city_models.model import NO_COLOUR, NO_IMAGE
from tiles.three_d.city_models.soup import Numbers
from tiles.three_d.city_models.store import ModelStore, StoredSurfaces
from tiles.three_d.mesh import Mesh
from tiles.three_d.objects import Material, MeshPart
from tiles.three_d.placement import LocalFrame, Positions
from tiles.three_d.surfaces import PolygonSoup, surface_normals, triangulate

SURFACE_MATERIAL = Material(colour=(1.0, 1.0, 1.0, 1.0), double_sided=True)
"""Of surfaces coloured by their class: the vertices carry the colour. City models show surfaces from both sides."""


class ModelTriangles:
    """The triangles of stored surfaces in a tile's frame. `rows` (n,) are the feature ids of the objects asked for, `origins` (n, 3) their
    origins in ECEF."""

    def __init__(self, stored: StoredSurfaces, rows: Numbers, origins: Positions, frame: LocalFrame) -> None:
        self._stored = stored
        owner = np.repeat(stored.owner, np.diff(stored.levels_at))
        soup = PolygonSoup(stored.corners, stored.rings, stored.surfaces)
        sizes = np.diff(soup.surface_limits())
        self._positions = frame.rotate(stored.corners) + np.repeat(
            frame.to_local(origins)[owner], sizes, axis=0
        )
        normals, _ = surface_normals(soup)
        self._triangles, self._surface = triangulate(soup, normals, stored.fans)
        self._normals = frame.rotate(normals)
        self._feature = rows[owner]

    def parts(self, store: ModelStore) -> list[MeshPart]:
        """A part by class, one for each colour, and those with textures."""
        images, colours = self._stored.images[self._surface], self._stored.colours[self._surface]
        textured = images != NO_IMAGE
        coloured = ~textured & (colours != NO_COLOUR)
        plain = ~textured & ~coloured
        parts = []
        if plain.any():
            parts.append(MeshPart(self._mesh(np.flatnonzero(plain), classed=True), SURFACE_MATERIAL))
        if coloured.any():
            parts += self._coloured(store, coloured, colours)
        if textured.any():
            parts += self._textured(store, textured, images)
        return parts

    def _mesh(self, chosen: NDArray[np.intp], *, classed: bool) -> Mesh:
        corners = self._triangles[chosen].ravel()
        surface = self._surface[chosen]
        return Mesh(
            positions=self._positions[corners],
            normals=np.repeat(self._normals[surface], 3, axis=0),
            feature_ids=np.repeat(self._feature[surface], 3),
            triangles=np.arange(len(corners), dtype=np.int64).reshape(-1, 3),
            classes=np.repeat(self._stored.classes[surface], 3) if classed else None,
            palette=PALETTE if classed else (),
        )

    def _coloured(self, store: ModelStore, coloured: NDArray[np.bool_], colours: Numbers) -> list[MeshPart]:
        shades = store.shades()
        return [
            MeshPart(
                self._mesh(np.flatnonzero(coloured & (colours == shade)), classed=False),
                Material(colour=shades[shade], double_sided=True),
            )
            for shade in np.unique(colours[coloured]).tolist()
        ]

    def _textured(self, store: ModelStore, textured: NDArray[np.bool_], images: Numbers) -> list[MeshPart]:
        chosen = np.flatnonzero(textured)
        assert self._stored.coordinates is not None  # surfaces with an image have them
        places = self._stored.coordinates[self._triangles[chosen].ravel()].astype(np.float64)
        atlas = Atlas.of(store, np.repeat(images[chosen], 3), places)
        parts = []
        for sheet in atlas.sheets:
            mine = sheet.corners.reshape(-1, 3)[:, 0]
            part = chosen[mine]
            parts.append(
                MeshPart(
                    self._mesh(part, classed=False),
                    Material(colour=(1.0, 1.0, 1.0, 1.0), double_sided=True, texture=sheet.texture),
                    sheet.coordinates,
                )
            )
        return parts
