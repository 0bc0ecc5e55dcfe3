"""glTF, OBJ, PLY and STL by trimesh: an object for each mesh of the scene, its materials and textures kept.

glTF's y axis points up and its z axis forward to the viewer; the others are taken as z up. Files that a model names beside itself are read only
from its own folder.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.city_models.classes import object_class
from tiles.three_d.city_models.images import ImageLimits, has_alpha
from tiles.three_d.city_models.model import CityBatch, TextureImage
from tiles.three_d.errors import CityModelError, PlacementError
from tiles.three_d.placed_models.placement import ModelPlacement
from tiles.three_d.placed_models.triangles import Colour, Piece, Solid, batch_of
from tiles.three_d.report import ProblemLog

SUFFIXES = {".glb": "glb", ".gltf": "gltf", ".obj": "obj", ".ply": "ply", ".stl": "stl"}
MOST_TRIANGLES = 10_000_000
MOST_OBJECTS = 200_000
"""Meshes, and nodes, of one model."""
MOST_BYTES = 512 << 20
MOST_TEXT_BYTES = 128 << 20
"""Bytes of a model, and of one that is text: it takes up to ten times as much memory."""
_MOST_NUMBERS = 100_000_000
"""What the accessors of a glTF may hold together."""
_OBJECTS_A_BATCH = 200
_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_MOST_ATTRIBUTES = 60


class MeshFile:
    """One model (a `CityModelFile`)."""

    north_first = False

    def __init__(self, path: Path, placement: ModelPlacement | None, workspace: Path) -> None:
        """`workspace`: a folder beside the model where textures may be unpacked. Raises PlacementError without a placement."""
        if placement is None:
            raise PlacementError(
                f"{path.name} does not say where on the globe it stands; give its place (longitude, latitude and height)"
            )
        self.path = path
        self.fraction = 0.0
        self.reference_system: str | None = placement.crs().to_wkt()
        self._placement = placement
        self.image_folder = workspace / f"textures-{path.stem[:80]}"
        # Pillow's images, which meshes share, and what became of them.
        self._images: dict[int, tuple[Any, TextureImage | None]] = {}

    def batches(self, log: ProblemLog) -> Iterator[CityBatch]:
        """All meshes. Raises CityModelError where the file is broken, PlacementError where it reaches too far."""
        scene = _loaded(self.path)
        nodes = sorted(scene.graph.nodes_geometry)
        if len(nodes) > MOST_OBJECTS:
            raise _too_many(self.path.name, "meshes", len(nodes), MOST_OBJECTS)
        total = sum(len(getattr(mesh, "faces", ())) for mesh in scene.geometry.values())
        if total > MOST_TRIANGLES:
            raise _too_many(self.path.name, "triangles", total, MOST_TRIANGLES)
        used: set[str] = set()
        for first in range(0, len(nodes), _OBJECTS_A_BATCH):
            solids = []
            for name in nodes[first : first + _OBJECTS_A_BATCH]:
                solid = self._solid(scene, str(name), used, log)
                if solid is not None:
                    solids.append(solid)
            self.fraction = min(1.0, (first + _OBJECTS_A_BATCH) / len(nodes))
            if solids:
                yield batch_of(solids)

    def _solid(self, scene: Any, node: str, used: set[str], log: ProblemLog) -> Solid | None:
        matrix, key = scene.graph.get(node)
        mesh = scene.geometry[key]
        # trimesh calls a mesh without a name after the file, with all of its path.
        identifier = _free(node.replace(str(self.path), self.path.stem), used)
        faces = np.asarray(getattr(mesh, "faces", np.empty((0, 3))), dtype=np.int64)
        if not len(faces):
            log.add(identifier, "it has no triangles", "skipped")
            return None
        points = np.asarray(mesh.vertices, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
        if self.path.suffix.lower() in (".glb", ".gltf"):
            points = points @ _Y_UP.T
        if not np.isfinite(points).all():
            log.add(identifier, "a coordinate is not a number", "skipped")
            return None
        if not 0 <= int(faces.min()) <= int(faces.max()) < len(points):
            log.add(
                identifier, f"a triangle has a corner that is none of its {len(points)} vertices", "skipped"
            )
            return None
        corners = self._placement.placed(points)[faces]
        if np.linalg.det(matrix[:3, :3]) < 0.0:
            corners = corners[:, ::-1]
        name = str(key).replace(str(self.path), self.path.stem)
        attributes = {"name": name, **_extras(mesh.metadata)}
        piece = self._piece(mesh, corners, faces, identifier, log)
        return Solid(identifier, "GenericCityObject", attributes, (piece,))

    def _piece(
        self,
        mesh: Any,
        corners: NDArray[np.float64],
        faces: NDArray[np.int64],
        identifier: str,
        log: ProblemLog,
    ) -> Piece:
        material = getattr(mesh.visual, "material", None)
        texture = self._texture(material, identifier, log)
        coordinates = None
        uv = getattr(mesh.visual, "uv", None)
        if texture is not None and uv is not None and len(uv) == len(mesh.vertices):
            # trimesh counts v from below.
            coordinates = np.column_stack((uv[:, 0], 1.0 - uv[:, 1])).astype(np.float32)[faces]
        return Piece(
            corners,
            object_class("GenericCityObject"),
            _colour(mesh, material),
            texture if coordinates is not None else None,
            coordinates,
            bool(mesh.is_watertight),
        )

    def _texture(self, material: Any, identifier: str, log: ProblemLog) -> TextureImage | None:
        """The base colour texture, unpacked once, no larger than it will be drawn."""
        image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        if image is None:
            return None
        if id(image) not in self._images:
            try:
                self._images[id(image)] = image, self._unpacked(image)
            except (OSError, ValueError, SyntaxError, MemoryError) as error:
                # Pillow finds only here that an image is cut off.
                self._images[id(image)] = image, None
                log.add(identifier, f"its texture cannot be read ({error})", "repaired")
            image.close()  # its pixels; the scene keeps the image itself
        return self._images[id(image)][1]

    def _unpacked(self, image: Any) -> TextureImage:
        limits = ImageLimits()
        if image.width * image.height > limits.pixels:
            raise ValueError(f"it has more than {limits.pixels:,} pixels")
        image.draft("RGB", (limits.side, limits.side))
        shown = image.convert("RGBA" if has_alpha(image) else "RGB")
        shown.thumbnail((limits.side, limits.side))
        self.image_folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.blake2b(shown.tobytes(), digest_size=12).hexdigest()
        file = self.image_folder / f"{digest}.png"
        if not file.is_file():
            shown.save(file, "PNG")
        return TextureImage(file, repeats=True)


def _too_many(name: str, what: str, count: int, most: int) -> CityModelError:
    return CityModelError(f"{name} has {count:,} {what}; at most {most:,} are read: divide the model")


def _free(name: str, used: set[str]) -> str:
    """The name, with a number where it was there before."""
    base = name[:200] or "mesh"
    found, number = base, 1
    while found in used:
        number += 1
        found = f"{base}-{number}"
    used.add(found)
    return found


def _extras(metadata: Any) -> dict[str, Any]:
    """Plain values that the model's author has given."""
    if not isinstance(metadata, dict):
        return {}
    plain = {
        str(name): value
        for name, value in metadata.items()
        if isinstance(value, str | int | float | bool)
        and name not in ("name", "file_path", "file_name", "node", "units")
    }
    return {
        name: value for name, value in list(plain.items())[:_MOST_ATTRIBUTES]
        if not isinstance(value, float) or math.isfinite(value)
    }  # fmt: skip


def _colour(mesh: Any, material: Any) -> Colour | None:
    """Linear red, green, blue, alpha: the material's factor, else the mean of vertex or face colours."""
    factor = getattr(material, "baseColorFactor", None)
    if factor is not None:
        value = np.asarray(factor, dtype=np.float64) / (
            255.0 if np.asarray(factor).dtype.kind in "iu" else 1.0
        )
        return (float(value[0]), float(value[1]), float(value[2]), float(value[3]) if len(value) > 3 else 1.0)
    diffuse = getattr(material, "diffuse", None)
    if diffuse is None and mesh.visual.kind in ("vertex", "face"):
        colours = mesh.visual.vertex_colors if mesh.visual.kind == "vertex" else mesh.visual.face_colors
        diffuse = np.asarray(colours).mean(axis=0)
    if diffuse is None:
        return None
    shown = np.asarray(diffuse, dtype=np.float64)[:4] / 255.0
    light = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    return (float(light[0]), float(light[1]), float(light[2]), float(shown[3]) if len(shown) > 3 else 1.0)


def _loaded(path: Path) -> Any:
    """The file as a scene of trimesh. Raises CityModelError."""
    import trimesh

    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise CityModelError(f"{path.name} is no model; its ending has to be one of {', '.join(SUFFIXES)}")
    most = MOST_TEXT_BYTES if _is_text(path, kind) else MOST_BYTES
    if path.stat().st_size > most:
        raise _too_many(path.name, "bytes", path.stat().st_size, most)
    if kind in ("glb", "gltf"):
        check_gltf(path)
    try:
        with path.open("rb") as file:
            return trimesh.load_scene(file, file_type=kind, resolver=_Beside(path.parent), process=False)
    except PlacementError:
        raise
    # trimesh parses whatever it is given: a broken model ends in an error of any of these kinds.
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, RecursionError, ArithmeticError,
            ImportError, NotImplementedError, AssertionError, MemoryError, NameError) as error:  # fmt: skip
        raise CityModelError(
            f"{path.name} cannot be read as a model ({type(error).__name__}: {error})"
        ) from error


def _is_text(path: Path, kind: str) -> bool:
    """Whether numbers are written out in the file."""
    if kind not in ("ply", "stl"):
        return kind in ("obj", "gltf")
    with path.open("rb") as file:
        return b"\0" not in file.read(1 << 16)


def check_gltf(path: Path) -> None:
    """Refuse what says that it holds more than is read, before any of it is made. Raises CityModelError."""
    with path.open("rb") as file:
        text = file.read()
    if text[:4] == b"glTF":
        text = text[20 : 20 + int.from_bytes(text[12:16], "little")]
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CityModelError(
            f"{path.name} cannot be read as a model: its JSON is broken ({error})"
        ) from error
    if not isinstance(document, dict):
        raise CityModelError(f"{path.name} cannot be read as a model: its JSON is no object")
    for name in ("nodes", "meshes", "accessors", "images"):
        if len(_listed(document.get(name))) > MOST_OBJECTS:
            raise _too_many(path.name, name, len(document[name]), MOST_OBJECTS)
    primitives = sum(
        len(_listed(mesh.get("primitives")))
        for mesh in _listed(document.get("meshes"))
        if isinstance(mesh, dict)
    )
    if primitives > MOST_OBJECTS:
        raise _too_many(path.name, "primitives", primitives, MOST_OBJECTS)
    accessors = [one for one in _listed(document.get("accessors")) if isinstance(one, dict)]
    counts = [one["count"] for one in accessors if isinstance(one.get("count"), int)]
    if sum(counts) > _MOST_NUMBERS or any(count < 0 for count in counts):
        raise _too_many(path.name, "vertices and indices", sum(counts), _MOST_NUMBERS)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


class _Beside:
    """Gives trimesh the files that a model names, from its own folder only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def get(self, name: str) -> bytes:
        """A file's bytes. Raises CityModelError for one elsewhere."""
        from urllib.parse import unquote

        path = (self._folder / unquote(name.strip().replace("\\", "/"))).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise FileNotFoundError(f"{name[:200]!r} is not beside the model")
        return path.read_bytes()

    def __getitem__(self, name: str) -> bytes:
        return self.get(name)

    def namespaced(self, namespace: str) -> _Beside:
        """As trimesh asks for names below a folder."""
        return self

    def keys(self) -> list[str]:
        """No names are told."""
        return []

    def write(self, name: str, data: bytes) -> None:
        """Nothing is written. Raises OSError."""
        raise OSError("nothing is written beside a model")
