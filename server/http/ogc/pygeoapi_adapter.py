"""pygeoapi behind one seam: an `API` of its own for each collection, called with requests we have parsed already.

One small `API` a collection, and not one for all, because pygeoapi walks over all its resources in every request. Its
HTML (templates from three CDNs) is never used: it is always asked for JSON, and our pages render that.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pygeoapi.api

from server.http.errors import RequestError
from server.http.features import source_description
from server.http.ogc.documents import extent_of, supported_crs
from server.http.scope import Scope
from server.registry.catalogue import Collection, RepresentationKind

Kind = RepresentationKind
Resource = dict[str, Any]
ApiFunction = Callable[..., tuple[dict[str, str], int, "str | bytes"]]

FEATURE_PROVIDER = "providers.features.provider.ChengtuFeatureProvider"
COVERAGE_PROVIDER = "providers.coverages.provider.ChengtuCoverageProvider"
EDR_PROVIDER = "providers.sensors.edr.ChengtuEDRProvider"
RECORD_PROVIDER = "providers.records.provider.ChengtuRecordProvider"
PROCESS_MANAGER = "providers.processes.manager.ChengtuProcessManager"

_KEPT_APIS = 128


class PygeoapiError(RequestError):
    """pygeoapi refused the request; `status` is the HTTP status it gave."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """What pygeoapi reads of a request: names and shapes are those of Flask's request."""

    args: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes = b""
    path_info: str = ""


@dataclass(frozen=True, slots=True)
class PygeoapiAnswer:
    """Status, headers and body as pygeoapi made them."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.content)


def _providers(collection: Collection) -> list[Resource]:
    """The plugins pygeoapi is asked for. Tiles and maps are not among them: their routes call the stores directly."""
    representations = collection.representations
    result: list[Resource] = []
    if Kind.FEATURES in representations:
        properties = representations[Kind.FEATURES].properties
        result.append(
            {
                "type": "feature",
                "name": FEATURE_PROVIDER,
                "data": str(collection.path_of(Kind.FEATURES)),
                "source": source_description(collection),
                "id_field": "id",
                "time_field": properties.get("time_field"),
                "storage_crs": collection.storage_crs,
                "crs": supported_crs(collection),
                "generation": collection.generation,
            }
        )
    if Kind.COVERAGE in representations:
        geotiff = {"name": "GTiff", "mimetype": "image/tiff; application=geotiff"}
        coverage = str(collection.path_of(Kind.COVERAGE))
        result.append({"type": "coverage", "name": COVERAGE_PROVIDER, "data": coverage, "format": geotiff})
    if Kind.SERIES in representations:
        result.append({"type": "edr", "name": EDR_PROVIDER, "data": str(collection.path_of(Kind.SERIES))})
    return result


def collection_resource(collection: Collection) -> Resource:
    """A pygeoapi resource for a collection."""
    extents = extent_of(collection)
    # pygeoapi would check `datetime` against it with a parser that raises what it does not catch; our providers check.
    extents.pop("temporal", None)
    return {
        "type": "collection",
        "title": dict(collection.titles),
        "description": collection.descriptions.get("en", ""),
        "keywords": list(collection.keywords),
        "links": [],
        "extents": extents,
        "providers": _providers(collection),
    }


def _configuration(
    root: str, resources: Mapping[str, Resource], limits: Mapping[str, int], language: str
) -> Resource:
    languages = ["zh-CN", "en-US"] if language == "zh" else ["en-US", "zh-CN"]
    return {
        "server": {
            "bind": {"host": "127.0.0.1", "port": 0},
            "url": root,
            "mimetype": "application/json; charset=UTF-8",
            "encoding": "utf-8",
            "gzip": False,
            "languages": languages,
            "pretty_print": False,
            "limits": {"default_items": limits["default"], "max_items": limits["maximum"]},
            "map": {"url": "", "attribution": ""},
            "manager": {"name": PROCESS_MANAGER},
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {"title": "Chengtu", "description": "", "keywords": [], "url": root},
            "license": {"name": ""},
            "provider": {"name": "", "url": root},
            "contact": {},
        },
        "resources": dict(resources),
    }


class PygeoapiAdapter:
    """Calls pygeoapi's API functions; keeps the last `API` objects, each for one set of resources and one root URL."""

    def __init__(self, default_limit: int, maximum_limit: int) -> None:
        self._limits = {"default": default_limit, "maximum": maximum_limit}
        self._apis: OrderedDict[object, pygeoapi.api.API] = OrderedDict()
        self._lock = threading.Lock()

    def _api(
        self, key: object, root: str, resources: Callable[[], Mapping[str, Resource]], language: str
    ) -> pygeoapi.api.API:
        key = (key, root, language)
        with self._lock:
            known = self._apis.get(key)
            if known is not None:
                self._apis.move_to_end(key)
                return known
        made = pygeoapi.api.API(_configuration(root, resources(), self._limits, language), {})
        with self._lock:
            self._apis[key] = made
            while len(self._apis) > _KEPT_APIS:
                self._apis.popitem(last=False)
        return made

    def for_collection(self, scope: Scope, collection: Collection, root: str, language: str) -> Caller:
        """Calls on one collection in its present generation; `root` is the URL of the view's OGC API."""
        public_id = scope.public_id(collection)
        key = (public_id, collection.tenant, collection.generation, collection.updated)
        api = self._api(key, root, lambda: {public_id: collection_resource(collection)}, language)
        return Caller(api)

    def for_resources(
        self, key: str, resources: Callable[[], Mapping[str, Resource]], root: str, language: str
    ) -> Caller:
        """Calls on resources that are not collections of the registry: records and processes."""
        return Caller(self._api(key, root, resources, language))


@dataclass(frozen=True, slots=True)
class Caller:
    """One pygeoapi `API`, ready to be called."""

    api: pygeoapi.api.API

    def call(
        self, function: ApiFunction, request: PlainRequest, *arguments: Any, format_: str = "json"
    ) -> PygeoapiAnswer:
        """Call an API function in `format_`. Raises PygeoapiError with what pygeoapi says."""
        api_request = pygeoapi.api.APIRequest.from_flask(request, self.api.locales)
        # Formats are negotiated before; "html" must never reach pygeoapi's templates.
        api_request._format = format_
        headers, status, content = function(self.api, api_request, *arguments)
        body = content.encode() if isinstance(content, str) else bytes(content or b"")
        if status >= 400:
            raise PygeoapiError(int(status), _description(body))
        return PygeoapiAnswer(int(status), headers, body)


def item_functions() -> Any:
    """pygeoapi's API functions of features and records, imported when first asked for.

    The module builds a parser for CQL2 while it is imported, a quarter of a worker's start, and the hot lane needs none.
    """
    import pygeoapi.api.itemtypes

    return pygeoapi.api.itemtypes


def _description(body: bytes) -> str:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace")[:500]
    text = document.get("description") or document.get("detail") or "the request was refused"
    return str(text)


def resolve_plugins() -> None:
    """Import every plugin this server names: a wrong name fails at start, not in a request (pygeoapi looks late)."""
    for kind, name in (
        ("provider", FEATURE_PROVIDER),
        ("provider", COVERAGE_PROVIDER),
        ("provider", EDR_PROVIDER),
        ("provider", RECORD_PROVIDER),
        ("process_manager", PROCESS_MANAGER),
    ):
        module, _, attribute = name.rpartition(".")
        if not hasattr(__import__(module, fromlist=[attribute]), attribute):
            raise ImportError(f"{kind} plugin {name} does not exist")
