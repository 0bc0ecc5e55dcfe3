"""The features of a GML feature collection (WFS 1.1.0 and 2.0)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from lxml import etree

from providers.features.remote.documents import local_name
from providers.features.remote.gml import GML_31, GML_32, AxisRule, is_geometry, read_geometry
from providers.features.remote.service import Batch, feature_id_of
from providers.features.remote.values import Misfit
from providers.features.schema import FieldDefinition


def gml_batch(
    root: etree._Element, fields: Sequence[FieldDefinition], geometry_field: str, rule: AxisRule
) -> Batch:
    """The features of a GML feature collection. Raises Misfit."""
    if local_name(root) != "FeatureCollection":
        raise Misfit(f"{local_name(root)[:40]!r} instead of a feature collection")
    features = list(_members(root))
    names = {item.column for item in fields}
    rows: list[dict[str, Any]] = []
    geometries = np.empty(len(features), dtype=object)
    ids = []
    for i, feature in enumerate(features):
        ids.append(
            feature_id_of(
                feature.get(f"{{{GML_32}}}id") or feature.get(f"{{{GML_31}}}id") or feature.get("fid")
            )
        )
        row, shape = _properties(feature, names, geometry_field)
        rows.append(row)
        geometries[i] = None if shape is None else read_geometry(shape, rule)
    return Batch(ids, geometries, rows, None, number_in(root.get("numberMatched")))


def _members(root: etree._Element) -> Iterator[etree._Element]:
    for child in root:
        if local_name(child) in ("member", "featureMember", "featureMembers"):
            yield from (item for item in child if isinstance(item.tag, str))


def _properties(
    feature: etree._Element, names: set[str], geometry_field: str
) -> tuple[dict[str, Any], etree._Element | None]:
    """Simple properties as text, and the geometry element."""
    row: dict[str, Any] = {}
    geometry: etree._Element | None = None
    for child in feature:
        name = local_name(child)
        if name == geometry_field or (not geometry_field and len(child) and is_geometry(child[0])):
            geometry = next((item for item in child if is_geometry(item)), geometry)
        elif name in names:
            # An instant may come as a GML object around its position; other nested values are not simple properties.
            value = child if not len(child) else child.find("{*}timePosition")
            if value is not None and value.text is not None:
                row[name] = value.text
    return row, geometry


def number_in(text: str | None) -> int | None:
    """`numberMatched`, which may be "unknown"."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 16 else None
