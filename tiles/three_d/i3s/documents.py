"""The documents of a scene service: the service, and its one layer.

OGC 17-014r9 (I3S 1.3 of OGC, 1.8 of its maker): profile 3DObject with node pages, WGS 84, heights above the ellipsoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tiles.three_d.attributes import PropertyTable
from tiles.three_d.i3s.nodes import NODES_PER_PAGE

VERSION = "1.8"
_WGS84 = {"wkid": 4326, "latestWkid": 4326, "vcsWkid": 115700, "latestVcsWkid": 115700}
_NUMBERS = {"type": "UInt32"}
_TEXTURES = ("jpg", "png")


@dataclass(frozen=True, slots=True)
class LayerField:
    """An attribute: `identifier` of the tileset's column, `name` as people know it, `alias` its title."""

    identifier: str
    name: str
    alias: str
    numeric: bool


def layer_fields(table: PropertyTable | None) -> list[LayerField]:
    """The attributes of a layer by a table of one of its tiles."""
    columns = () if table is None else table.columns
    result: list[LayerField] = []
    names = {"OBJECTID"}
    for column in columns:
        name = column.name
        while name.upper() in {one.upper() for one in names}:
            name += "_"
        names.add(name)
        numeric = column.offsets is None and column.values.dtype.kind in "iuf"
        result.append(LayerField(column.id, name, str(column.schema.get("name", name)), numeric))
    return result


def mesh_layer(layer: dict[str, Any]) -> dict[str, Any]:
    """The same tiles as a layer of type IntegratedMesh (`i3s-mesh/SceneServer/layers/0`): one surface, without features and attributes."""
    left_out = ("fields", "attributeStorageInfo", "disablePopup")
    mesh = {name: value for name, value in layer.items() if name not in left_out}
    store = {**layer["store"], "resourcePattern": ["3dNodeIndexDocument", "Geometry", "Texture"]}
    return mesh | {"layerType": "IntegratedMesh", "capabilities": ["View"], "store": store}


def scene_server(name: str, layer: dict[str, Any]) -> dict[str, Any]:
    """The service (`.../SceneServer`) with its one layer."""
    return {"serviceItemId": "", "serviceName": name, "name": name, "currentVersion": 11.0, "serviceVersion": VERSION,
            "supportedBindings": ["REST"], "layers": [{**layer, "href": "./layers/0"}]}  # fmt: skip


def scene_layer(
    *,
    name: str,
    description: str,
    attribution: str,
    bbox: tuple[float, float, float, float, float, float],
    fields: Sequence[LayerField],
    revision: str,
) -> dict[str, Any]:
    """The layer (`.../SceneServer/layers/0`). `bbox`: west, south, bottom, east, north, top (degrees, m). `revision` changes with the
    data, so that clients do not mix states."""
    west, south, bottom, east, north, top = bbox
    attributes = [_object_ids(), *(_attribute(number, field) for number, field in enumerate(fields, 1))]
    return {
        "id": 0,
        "version": revision,
        "name": name,
        "alias": name,
        "description": description,
        "copyrightText": attribution,
        "layerType": "3DObject",
        "capabilities": ["View", "Query"],
        "spatialReference": _WGS84,
        "heightModelInfo": {"heightModel": "ellipsoidal", "vertCRS": "WGS_1984", "heightUnit": "meter"},
        "fullExtent": {
            "xmin": west, "ymin": south, "zmin": bottom, "xmax": east, "ymax": north, "zmax": top,
            "spatialReference": _WGS84,
        },
        "disablePopup": False,
        "fields": [
            {"name": "OBJECTID", "alias": "OBJECTID", "type": "esriFieldTypeOID"},
            *(
                {
                    "name": field.name,
                    "alias": field.alias,
                    "type": "esriFieldTypeDouble" if field.numeric else "esriFieldTypeString",
                }
                for field in fields
            ),
        ],
        "attributeStorageInfo": attributes,
        "store": _store(west, south, east, north),
        "nodePages": {"nodesPerPage": NODES_PER_PAGE, "rootIndex": 0, "lodSelectionMetricType": "maxScreenThresholdSQ"},
        # In the order that `NodeContent.mesh` counts: without a texture, JPEG, PNG; then the same for what is seen through.
        "materialDefinitions": [_material(texture, translucent) for translucent in (False, True) for texture in (None, 0, 1)],
        "textureSetDefinitions": [
            {"formats": [{"name": "0", "format": form}], "atlas": False} for form in _TEXTURES
        ],
        "geometryDefinitions": [{"geometryBuffers": [_buffer()]}],
    }  # fmt: skip


def _material(texture_set: int | None, translucent: bool) -> dict[str, Any]:
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.9}
    if texture_set is not None:
        surface["baseColorTexture"] = {"textureSetDefinitionId": texture_set, "texCoord": 0}
    material: dict[str, Any] = {
        "alphaMode": "opaque",
        "doubleSided": True,
        "cullFace": "none",
        "pbrMetallicRoughness": surface,
    }
    if translucent:
        material["alphaMode"] = "blend"
    elif texture_set is not None and _TEXTURES[texture_set] == "png":
        material |= {"alphaMode": "mask", "alphaCutoff": 0.5}
    return material


def _buffer() -> dict[str, Any]:
    return {
        "offset": 8,
        "position": {"type": "Float32", "component": 3, "binding": "per-vertex"},
        "normal": {"type": "Float32", "component": 3, "binding": "per-vertex"},
        "uv0": {"type": "Float32", "component": 2, "binding": "per-vertex"},
        "color": {"type": "UInt8", "component": 4, "binding": "per-vertex"},
        "featureId": {"type": "UInt64", "component": 1, "binding": "per-feature"},
        "faceRange": {"type": "UInt32", "component": 2, "binding": "per-feature"},
    }


def _store(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    crs = "http://www.opengis.net/def/crs/EPSG/0/4326"
    return {
        "id": "chengtu",
        "profile": "meshpyramids",
        "version": VERSION,
        "resourcePattern": ["3dNodeIndexDocument", "Attributes", "Geometry", "Texture"],
        "rootNode": "./nodes/root",
        "extent": [west, south, east, north],
        "indexCRS": crs,
        "vertexCRS": crs,
        # Ready for a globe; and the only one that CesiumJS takes normals for.
        "normalReferenceFrame": "earth-centered",
        "nidEncoding": "application/vnd.esri.i3s.json+gzip; version=1.8",
        "attributeEncoding": "application/octet-stream; version=1.8",
        "geometryEncoding": "application/octet-stream; version=1.8",
        "textureEncoding": ["image/jpeg", "image/png"],
        "lodType": "MeshPyramid",
        "lodModel": "node-switching",
        "defaultGeometrySchema": {
            "geometryType": "triangles",
            "topology": "PerAttributeArray",
            "header": [{"property": name, **_NUMBERS} for name in ("vertexCount", "featureCount")],
            "ordering": ["position", "normal", "uv0", "color"],
            "vertexAttributes": {
                name: {"valueType": kind, "valuesPerElement": count}
                for name, kind, count in (
                    ("position", "Float32", 3),
                    ("normal", "Float32", 3),
                    ("uv0", "Float32", 2),
                    ("color", "UInt8", 4),
                )
            },
            "featureAttributeOrder": ["id", "faceRange"],
            "featureAttributes": {
                "id": {"valueType": "UInt64", "valuesPerElement": 1},
                "faceRange": {"valueType": "UInt32", "valuesPerElement": 2},
            },
        },
    }


def _object_ids() -> dict[str, Any]:
    return {
        "key": "f_0",
        "name": "OBJECTID",
        "header": [{"property": "count", "valueType": "UInt32"}],
        "ordering": ["ObjectIds"],
        "objectIds": {"valueType": "Oid32", "valuesPerElement": 1},
        "attributeValues": {"valueType": "Oid32", "valuesPerElement": 1},
    }


def _attribute(number: int, field: LayerField) -> dict[str, Any]:
    if field.numeric:
        return {
            "key": f"f_{number}",
            "name": field.name,
            "header": [{"property": "count", "valueType": "UInt32"}],
            "ordering": ["attributeValues"],
            "attributeValues": {"valueType": "Float64", "valuesPerElement": 1},
        }
    return {
        "key": f"f_{number}",
        "name": field.name,
        "header": [
            {"property": "count", "valueType": "UInt32"},
            {"property": "attributeValuesByteCount", "valueType": "UInt32"},
        ],
        "ordering": ["attributeByteCounts", "attributeValues"],
        "attributeByteCounts": {"valueType": "UInt32", "valuesPerElement": 1},
        "attributeValues": {"valueType": "String", "valuesPerElement": 1, "encoding": "UTF-8"},
    }
