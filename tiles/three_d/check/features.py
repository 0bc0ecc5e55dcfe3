"""Feature ids: EXT_mesh_features, EXT_instance_features, and what EXT_structural_metadata refers to."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiles.three_d.check.accessors import Values
from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.glb import Gltf, integer, is_index, object_of
from tiles.three_d.check.metadata_schema import Classes, check_schema
from tiles.three_d.check.property_table import Table, Views, check_tables


def check_metadata(gltf: Gltf, findings: FileFindings) -> list[Table]:
    """The schema and the property tables of a glTF asset."""
    extension = gltf.extension("EXT_structural_metadata")
    if not extension:
        return []
    uri = extension.get("schemaUri")
    if "schema" in extension or not isinstance(uri, str):
        classes = check_schema(extension.get("schema"), findings)
    else:
        import orjson

        content = gltf.resolve(uri)
        try:
            classes = check_schema(None if content is None else orjson.loads(content), findings)
        except orjson.JSONDecodeError as error:
            findings.add("metadata-schema", f"{uri}: {error}")
            classes = {}
    tables = check_tables(
        extension.get("propertyTables", []), classes, Views(gltf.view, gltf.view_start), findings
    )
    _check_others(gltf, extension, classes, findings)
    findings.count("features", sum(table.count for table in tables))
    return tables


def _check_others(gltf: Gltf, extension: dict[str, Any], classes: Classes, findings: FileFindings) -> None:
    """Property textures and property attributes: their class, its properties, and the textures."""
    for kind in ("propertyTextures", "propertyAttributes"):
        for number, entry in enumerate(extension.get(kind, [])):
            known = classes.get(str(entry.get("class")))
            if known is None:
                findings.add("metadata-class", f"{kind} {number}: class {entry.get('class')!r}")
                continue
            for name, stored in object_of(entry, "properties").items():
                findings.require(
                    name in known, "metadata-property", f"{kind} {number} has {name!r}, which its class lacks"
                )
                if kind == "propertyTextures":
                    texture = stored.get("index") if isinstance(stored, dict) else None
                    there = is_index(texture, len(gltf.list_of("textures")))
                    findings.require(
                        there, "metadata-texture", f"{kind} {number}, {name}: texture {texture!r}"
                    )


def check_feature_ids(
    gltf: Gltf,
    primitive: dict[str, Any],
    attributes: Mapping[str, Values],
    tables: list[Table],
    findings: FileFindings,
) -> None:
    """Feature ids of a primitive's vertices or texels (EXT_mesh_features)."""
    vertices = len(attributes["POSITION"].values)
    extension = object_of(object_of(primitive, "extensions"), "EXT_mesh_features")
    for number, entry in enumerate(extension.get("featureIds", [])):
        where = f"feature id set {number}"
        if "texture" in entry:
            ids = _texture_ids(gltf, object_of(entry, "texture"), where, findings)
        else:
            ids = _ids(entry, attributes, vertices, where, findings)
        if ids is not None:
            _check_ids(entry, ids, tables, where, findings)
    metadata = object_of(object_of(primitive, "extensions"), "EXT_structural_metadata")
    for kind in ("propertyTextures", "propertyAttributes"):
        known = len(gltf.extension("EXT_structural_metadata").get(kind, []))
        for one in metadata.get(kind, []):
            findings.require(
                is_index(one, known), "metadata-texture", f"a primitive points to {kind} {one!r}"
            )


def check_instance_ids(
    node: dict[str, Any],
    attributes: Mapping[str, Values],
    tables: list[Table],
    findings: FileFindings,
) -> None:
    """Feature ids of a node's instances (EXT_instance_features)."""
    extension = object_of(object_of(node, "extensions"), "EXT_instance_features")
    count = len(next(iter(attributes.values())).values)
    for number, entry in enumerate(extension.get("featureIds", [])):
        where = f"instance feature id set {number}"
        ids = _ids(entry, attributes, count, where, findings)
        if ids is not None:
            _check_ids(entry, ids, tables, where, findings)


def _ids(
    entry: dict[str, Any],
    attributes: Mapping[str, Values],
    count: int,
    where: str,
    findings: FileFindings,
) -> NDArray[np.int64] | None:
    """The distinct ids of an attribute; of each vertex or instance its own number, where none is named."""
    if "attribute" not in entry:
        return np.arange(count)
    values = attributes.get(f"_FEATURE_ID_{entry['attribute']}")
    if values is None:
        findings.add("features-attribute", f"{where}: there is no _FEATURE_ID_{entry['attribute']}")
        return None
    stored = values.stored[:, 0]
    whole = bool((stored == np.floor(stored)).all())
    if not findings.require(whole, "features-range", f"{where}: an id is no whole number"):
        return None
    return np.unique(stored).astype(np.int64)


def _texture_ids(
    gltf: Gltf, texture: dict[str, Any], where: str, findings: FileFindings
) -> NDArray[np.int64] | None:
    """The distinct ids in the channels of a texture."""
    found = gltf.entry("textures", texture.get("index"))
    image = None if found is None else gltf.entry("images", found.get("source"))
    if image is None:
        findings.add("features-texture", f"{where}: texture {texture.get('index')!r}")
        return None
    uri = image.get("uri")
    content = gltf.resolve(uri) if isinstance(uri, str) else gltf.view(image.get("bufferView"))
    channels = texture.get("channels", [0])
    if content is None:
        return None  # found with the images
    try:
        with Image.open(io.BytesIO(content)) as picture:
            pixels = np.atleast_3d(np.asarray(picture)).astype(np.int64)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None  # found with the images
    right = all(is_index(channel, pixels.shape[2]) for channel in channels)
    if not findings.require(right, "features-texture", f"{where}: channels {channels} of {pixels.shape[2]}"):
        return None
    ids = sum(pixels[:, :, channel] << (8 * place) for place, channel in enumerate(channels))
    return np.unique(np.asarray(ids))


def _check_ids(
    entry: dict[str, Any], ids: NDArray[np.int64], tables: list[Table], where: str, findings: FileFindings
) -> None:
    """Ids lie below the rows of their table, and there are as many features as stated at most."""
    missing, count = entry.get("nullFeatureId"), integer(entry.get("featureCount"))
    used = ids if missing is None else ids[ids != missing]
    findings.require(count >= 1, "features-count", f"{where}: featureCount {entry.get('featureCount')!r}")
    findings.require(
        len(used) <= max(count, 0), "features-range", f"{where}: {len(used)} features, featureCount {count}"
    )
    table = entry.get("propertyTable")
    if table is None:
        rows = None
    elif findings.require(
        is_index(table, len(tables)), "features-table", f"{where} points to property table {table!r}"
    ):
        rows = tables[table].count
        findings.require(count <= rows, "features-table", f"{where}: {count} features, {rows} table rows")
    else:
        return
    if len(used):
        low, high = int(used[0]), int(used[-1])
        inside = low >= 0 and (rows is None or high < rows)
        findings.require(inside, "features-range", f"{where}: ids {low} to {high}, of {rows} rows")
