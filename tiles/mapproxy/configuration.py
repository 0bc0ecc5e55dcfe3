"""MapProxy's configuration dictionary for a list of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tiles.grids import Grid, grid, grid_ids
from tiles.mapproxy.layer import MapLayer, ServiceMetadata
from tiles.mapproxy.source_plugin import SOURCE_TYPE

MAXIMUM_ZOOM = 22
IMAGE_FORMATS = ("image/png", "image/jpeg", "image/webp")
MAXIMUM_OUTPUT_PIXELS = 4096 * 4096
_ALWAYS_OFFERED_CRS = ("EPSG:3857", "EPSG:4326", "CRS:84", "EPSG:4490")
_BLOCK = 4
"""Tiles are drawn in blocks of 4 x 4: labels fit together within a block, and reading is shared."""


def offered_crs(layers: Iterable[MapLayer]) -> tuple[str, ...]:
    """The CRS codes of the WMS: those of every service, then the storage CRS of the layers."""
    stored = {layer.crs.upper() for layer in layers if layer.crs.upper().startswith("EPSG:")}
    return (*_ALWAYS_OFFERED_CRS, *sorted(stored - set(_ALWAYS_OFFERED_CRS)))


def mapproxy_configuration(
    layers: Mapping[str, MapLayer], cache_dir: Path, metadata: ServiceMetadata
) -> dict[str, Any]:
    """WMS, WMTS and TMS of the layers (keyed by source key), with file caches below `cache_dir`."""
    sources, caches, tree = {}, {}, []
    for key, layer in layers.items():
        sources[key] = {"type": SOURCE_TYPE, "key": key}
        names = []
        for tms_id in grid_ids():
            names.append(f"{key}_{tms_id}")
            caches[names[-1]] = _cache(key, layer, tms_id, cache_dir)
        tree.append(_layer(key, layer, names))
    description = _description(metadata)
    return {
        "globals": _globals(cache_dir),
        "grids": {tms_id: _grid(grid(tms_id)) for tms_id in grid_ids()},
        "sources": sources,
        "caches": caches,
        # A root without a name: what it holds is offered, it cannot be asked for itself.
        "layers": {"title": metadata.title, "layers": tree},
        "services": {
            "wms": {
                "md": description,
                "versions": ["1.1.1", "1.3.0"],
                "srs": list(offered_crs(layers.values())),
                "image_formats": list(IMAGE_FORMATS),
                # Names MapProxy has for text/plain, text/html and application/json: `feature_info` answers these.
                "featureinfo_types": ["text", "html", "json"],
                "max_output_pixels": [4096, 4096],
            },
            "wmts": {
                "md": description,
                "kvp": True,
                "restful": True,
                "restful_template": "/1.0.0/{Layer}/default/{TileMatrixSet}/{TileMatrix}/{TileRow}/{TileCol}.{Format}",
            },
            "tms": {"md": description, "use_grid_names": True},
        },
    }


def _globals(cache_dir: Path) -> dict[str, Any]:
    return {
        "cache": {
            "base_dir": str(cache_dir),
            "lock_dir": str(cache_dir / ".locks"),
            "tile_lock_dir": str(cache_dir / ".tile_locks"),
            "meta_size": [_BLOCK, _BLOCK],
            # Our sources draw what reaches over the edge of an image themselves.
            "meta_buffer": 0,
            "concurrent_tile_creators": 1,
        },
        "image": {"paletted": True, "resampling_method": "bilinear", "jpeg": {"quality": 85}},
        "tiles": {"expires_hours": 0},
        "http": {"access_control_allow_origin": ""},
    }


def _grid(pyramid: Grid) -> dict[str, Any]:
    left, top = pyramid.origin
    columns, rows = pyramid.matrix_size(0)
    # MapProxy reads boxes longitude first, and writes EPSG:4326 in the axis order of each service's version.
    return {
        "srs": "CRS:84" if pyramid.authority_code == "OGC:CRS84" else pyramid.authority_code,
        "bbox": [left, top - rows * pyramid.tile_span, left + columns * pyramid.tile_span, top],
        "origin": "nw",
        "res": [pyramid.cell_size(zoom) for zoom in range(MAXIMUM_ZOOM + 1)],
    }


def _cache(key: str, layer: MapLayer, tms_id: str, cache_dir: Path) -> dict[str, Any]:
    return {
        "grids": [tms_id],
        "sources": [key],
        "format": layer.tile_format,
        "image": {"transparent": layer.tile_format != "image/jpeg"},
        "cache": {
            "type": "file",
            "directory": str(cache_dir / layer.cache_key / tms_id),
            "directory_layout": "tms",
        },
    }


def _layer(key: str, layer: MapLayer, caches: list[str]) -> dict[str, Any]:
    details: dict[str, Any] = {"abstract": layer.abstract}
    if layer.attribution:
        details["attribution"] = {"title": layer.attribution, "url": layer.attribution_url or "about:blank"}
    if layer.keywords:
        details["keyword_list"] = [{"keywords": list(layer.keywords)}]
    # WMS draws afresh, so that text is sharp at every scale; only the tile services use the cache.
    return {
        "name": layer.name,
        "title": layer.title,
        "sources": [key],
        "tile_sources": caches,
        "md": details,
    }


def _description(metadata: ServiceMetadata) -> dict[str, Any]:
    description: dict[str, Any] = {
        "title": metadata.title,
        "abstract": metadata.abstract,
        "fees": metadata.fees,
        "access_constraints": metadata.access_constraints,
    }
    if metadata.url:
        description["online_resource"] = metadata.url
    if metadata.keywords:
        description["keyword_list"] = [{"keywords": list(metadata.keywords)}]
    if metadata.organisation or metadata.contact_name or metadata.email:
        description["contact"] = {
            "organization": metadata.organisation,
            "person": metadata.contact_name,
            "email": metadata.email,
        }
    return description
