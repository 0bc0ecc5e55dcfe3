"""Excavations in the terrain of a collection: volumes, the hole for a client's clipping, and the pit as 3D Tiles and glTF."""

from __future__ import annotations

import hashlib
import math
import re
from collections import OrderedDict
from threading import Lock
from typing import Any
from urllib.parse import urlencode

import orjson
import shapely
from flask import Blueprint, Response, request
from shapely.geometry import shape

from server.http.answer import Answer
from server.http.context import RequestContext, context, json_answer, respond
from server.http.errors import InvalidParameter, UnsupportedMediaType
from server.http.features import state_etag
from server.http.ogc.terrain_sources import terrain_of
from server.http.tile_changes import change_log
from server.registry.catalogue import RepresentationKind
from tiles.terrain.errors import ExcavationError
from tiles.terrain.excavation import UPRIGHT, Excavation, Pit, excavate, excavation_of
from tiles.terrain.excavation_glb import pit_bbox, pit_glb, pit_tileset
from tiles.terrain.terrain_tiles import TerrainTiles
from tiles.three_d.errors import PlacementError

_GLB, _JSON, _TILESET = "model/gltf-binary", "application/json", "application/json+3dtiles"
_FORMS = ("json", "glb", "3dtiles")
_PARAMETERS = ("polygon", "crs", "floor", "depth", "slope")
_MOST_TEXT = 200_000
_MOST_ADDRESS = 6_000
_KEPT_PITS = 32
_CRS_CODE = re.compile(
    r"|CRS84|[A-Za-z]{2,10}:[A-Za-z0-9]{1,10}|https?://www\.opengis\.net/def/crs/[A-Za-z]{2,10}/[0-9.]{1,8}/[A-Za-z0-9]{1,10}",
    re.ASCII,
)

_pits: OrderedDict[str, Pit] = OrderedDict()
_lock = Lock()


def register(blueprint: Blueprint) -> None:
    """Add the route."""
    blueprint.add_url_rule(
        "/ogc/collections/<public_id>/terrain/excavation",
        "terrain_excavation",
        excavation,
        methods=["GET", "POST"],
    )


def excavation(public_id: str) -> Response:
    """A pit: `polygon` (WKT, or GeoJSON in a body) and `floor` or `depth`, `slope`, `crs`. `f`: json, glb, 3dtiles.

    A client fetches the JSON, clips the globe by `clipping`, and adds the tileset that it links to.
    """
    here = context()
    form, given = _given(here)
    collection, decision = here.having(public_id, RepresentationKind.TERRAIN)
    asked = _parsed(given)
    change = change_log(collection).change()
    words = (asked.polygon.wkt, repr((asked.floor, asked.depth, asked.slope)))
    etag = state_etag(collection, change, decision, "excavation", form, here.root, *words)
    terrain = terrain_of(collection)
    pit = _dug(here, terrain, asked, state_etag(collection, change, decision, *words))
    private = decision.key != "public"
    url = f"{here.url_of(public_id)}/terrain/excavation"
    if form == "glb":
        return respond(Answer(pit_glb(pit, terrain), _GLB, etag=etag, private=private))
    if form == "3dtiles":
        # Relative to the address asked: its parameters are the pit.
        document = pit_tileset(pit, terrain, f"excavation?{_query(asked, 'glb')}")
        return respond(json_answer(document, _TILESET, etag=etag, private=private))
    return respond(json_answer(_document(pit, terrain, asked, url), etag=etag, private=private))


def _given(here: RequestContext) -> tuple[str, dict[str, Any]]:
    """The form of the answer, and the parameters of the query or of a JSON body."""
    query = here.only(*_PARAMETERS, "v")  # Cesium adds the version of a tileset to the address of its content
    form = query.get("f", "json")
    if form not in _FORMS:
        words = ", ".join(_FORMS)
        raise InvalidParameter(f"f={form[:200]!r}; allowed: {words}", "f", form, words)
    if request.method != "POST":
        return form, {name: query[name] for name in _PARAMETERS if name in query}
    if request.mimetype != _JSON:
        raise UnsupportedMediaType(f"a body of {request.mimetype[:100]!r} was sent; taken is {_JSON}")
    body = here.services.bodies.read(request.stream, request.content_length)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidParameter(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict) or not set(document) <= set(_PARAMETERS):
        raise InvalidParameter(f"the body is a JSON object with {', '.join(_PARAMETERS)}, and nothing else")
    return form, document


def _parsed(given: dict[str, Any]) -> Excavation:
    """Raises InvalidParameter for anything that cannot be dug."""
    slope = _number(given, "slope")
    crs = given.get("crs", "OGC:CRS84")
    # No PROJ strings: they may name files.
    if not isinstance(crs, str) or not _CRS_CODE.fullmatch(crs):
        raise InvalidParameter(
            f"crs={str(crs)[:100]!r}; allowed: a code such as EPSG:4547 or OGC:CRS84", "crs"
        )
    try:
        return excavation_of(
            _polygon(given.get("polygon")),
            "OGC:CRS84" if crs in ("CRS84", "") else crs,
            floor=_number(given, "floor"),
            depth=_number(given, "depth"),
            slope=UPRIGHT if slope is None else slope,
        )
    except (ExcavationError, PlacementError) as error:
        raise InvalidParameter(str(error)) from error


def _number(given: dict[str, Any], name: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidParameter(f"{name}={str(value)[:80]!r}; allowed: a number", name, str(value), "a number")
    return number


def _polygon(given: Any) -> Any:
    """A shapely geometry of WKT or GeoJSON. Raises InvalidParameter."""
    if isinstance(given, str) and 0 < len(given) <= _MOST_TEXT:
        try:
            return shapely.from_wkt(given)
        except shapely.errors.ShapelyError as error:
            raise InvalidParameter(f"polygon is not WKT: {str(error)[:200]}", "polygon") from error
    if isinstance(given, dict) and given.get("type") == "Polygon":
        try:
            return shape(given)
        except (
            shapely.errors.ShapelyError,
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            AttributeError,
        ) as error:
            raise InvalidParameter("polygon is not a GeoJSON Polygon", "polygon") from error
    raise InvalidParameter(
        f"polygon is needed: WKT of at most {_MOST_TEXT} letters, or a GeoJSON Polygon in a body", "polygon"
    )


def _dug(here: RequestContext, terrain: TerrainTiles, asked: Excavation, key: str) -> Pit:
    """The pit, kept for the requests that follow the first one. Raises InvalidParameter, Overloaded."""
    digest = hashlib.blake2s(key.encode()).hexdigest()
    with _lock:
        found = _pits.get(digest)
    if found is not None:
        return found
    with here.services.heavy.taken():
        try:
            pit = excavate(terrain, asked)
        except ExcavationError as error:
            raise InvalidParameter(str(error)) from error
    with _lock:
        _pits[digest] = pit
        while len(_pits) > _KEPT_PITS:
            _pits.popitem(last=False)
    return pit


def _query(asked: Excavation, form: str) -> str:
    """The parameters of the same pit in another form."""
    numbers = {"floor": asked.floor, "depth": asked.depth, "slope": asked.slope}
    return urlencode(
        {
            "polygon": shapely.to_wkt(asked.polygon, rounding_precision=8),
            **{name: repr(value) for name, value in numbers.items() if value is not None},
            "f": form,
        }
    )


def _document(pit: Pit, terrain: TerrainTiles, asked: Excavation, url: str) -> dict[str, Any]:
    bbox = pit_bbox(pit, terrain)
    links = [
        {"rel": "item", "type": media_type, "title": title, "href": f"{url}?{query}"}
        for form, media_type, title in (
            ("3dtiles", _TILESET, "The pit as a 3D Tiles tileset"),
            ("glb", _GLB, "The pit as glTF"),
        )
        # An address has room for so much; who posts a longer polygon posts for its other forms too.
        if len(query := _query(asked, form)) <= _MOST_ADDRESS
    ]
    return {
        "area": round(pit.area, 3),
        "floorArea": round(pit.floor_area, 3),
        "cut": round(pit.cut, 3),
        "fill": round(pit.fill, 3),
        "floor": round(pit.floor, 4),
        "floorEllipsoidal": round(bbox[2], 4),
        "slope": asked.slope,
        "ground": {"lowest": round(pit.lowest, 3), "highest": round(pit.highest, 3)},
        "sampleSpacing": round(pit.spacing, 4),
        "heightReference": terrain.recipe.height_reference,
        "clipping": [[round(x, 9), round(y, 9)] for x, y in pit.rim.tolist()],
        "bbox": list(bbox),
        "links": links,
    }
