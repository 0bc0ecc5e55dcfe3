"""I3S scene layers of a collection's 3D tileset, for ArcGIS: `/collections/{id}/i3s/SceneServer` with objects, `i3s-mesh` as one mesh.

Everything is made of the tileset as the client may see it, so it follows edits, and takes the same conditions. What is made is kept
with the tiles of the collection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson
from flask import Blueprint, Response

from server.http.answer import Answer, gunzip_bytes, gzip_bytes
from server.http.context import RequestContext, context, respond
from server.http.errors import NotFound
from server.http.features import state_etag
from server.http.ogc.geovolumes import I3S_JSON
from server.http.three_d_parts import TilesetParts
from server.http.three_d_request import TilesetRequest
from server.http.tiles import cache_control
from server.registry.catalogue import RepresentationKind
from tiles.cache import TileName, Tileset

if TYPE_CHECKING:
    from tiles.three_d.facts import DerivedFacts
    from tiles.three_d.i3s import LayerField, NodeContent, NodeTree
    from tiles.three_d.plan import Refinement

_OBJECTS, _MESH = "i3s", "i3s-mesh"
# Two services of one layer each: products of Esri expect layer 0, and a client that is given a service draws all its layers.
_BASE = f"/ogc/collections/<public_id>/<any('{_OBJECTS}', '{_MESH}'):form>/SceneServer"
_JSON = "application/json"
_BINARY = "application/octet-stream"
_GRID = "i3s"


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    layer = f"{_BASE}/layers/0"
    blueprint.add_url_rule(_BASE, "i3s_service", service)
    blueprint.add_url_rule(layer, "i3s_layer", layer_document)
    blueprint.add_url_rule(f"{layer}/nodepages/<int:page>", "i3s_page", node_page)
    blueprint.add_url_rule(f"{layer}/nodepages/<int:page>/", "i3s_page_slash", node_page)
    blueprint.add_url_rule(f"{layer}/nodes/<int:node>/geometries/0", "i3s_geometry", geometry)
    blueprint.add_url_rule(f"{layer}/nodes/<int:node>/textures/0", "i3s_texture", texture)
    blueprint.add_url_rule(f"{layer}/nodes/<int:node>/attributes/<key>/0", "i3s_attribute", attribute)


@dataclass(frozen=True)
class _Layer:
    """What a request asks about: the tileset behind a layer."""

    here: RequestContext
    request: TilesetRequest

    @cached_property
    def parts(self) -> TilesetParts:
        return TilesetParts(self.here.services, self.request)

    @cached_property
    def _state(self) -> tuple[DerivedFacts, Refinement, int]:
        moment = self.parts.moment
        if moment is not None:
            if moment.derived is None:
                raise NotFound("nothing is left in this tileset")
            return moment.derived, moment.plan.refinement, moment.revision
        from tiles.three_d.facts import TileFacts
        from tiles.three_d.plan import TilePlan

        private = self.parts.folder.parent / "scene"
        if not (private / "facts.npy").is_file():
            raise NotFound(
                f"the 3D tileset of {self.request.collection.id!r} was not built by this server, so there is no scene layer of it"
            )
        plan = TilePlan.open(private / "plan")
        return TileFacts.open(private / "facts.npy").derived(plan), plan.refinement, 0

    @cached_property
    def tree(self) -> NodeTree:
        from tiles.three_d.i3s import NodeTree

        facts, refinement, _ = self._state
        return NodeTree(facts, refinement)

    @property
    def revision(self) -> str:
        """Another one after each edit."""
        return f"{self.request.collection.generation}.{self._state[2]}"

    def glb(self, code: int) -> bytes:
        """The glb of a tile as the client may see it."""
        from tiles.three_d.live_overlay import address_of

        tile = address_of(code)
        part = self.parts.part(f"content/{tile.level}/{tile.x}/{tile.y}.glb")
        return part.file.read_bytes() if part.file is not None else gunzip_bytes(part.packed)

    def content(self, code: int) -> NodeContent | None:
        from tiles.three_d.i3s import node_content

        resource = 1 + int(self.tree.facts.codes.searchsorted(code))
        return node_content(self.glb(code), self.tree.centre(code), resource)

    def fields(self) -> list[LayerField]:
        """The attributes, by the tile nearest to the root that has any."""
        from tiles.three_d.i3s import layer_fields
        from tiles.three_d.subset import property_rows

        facts = self.tree.facts
        for code in facts.codes[facts.has_content].tolist()[:8]:
            table = property_rows(self.glb(code))
            if table is not None:
                return layer_fields(table)
        return []

    def etag(self, *names: str) -> str:
        request = self.request
        return state_etag(
            request.collection, 0, request.decision, "i3s", self.revision, request.digest, *names
        )

    def kept(self, form: str, number: int, made: Callable[[], bytes]) -> bytes:
        """What `made` gives, kept under all that it depends on."""
        collection = self.request.collection
        tileset = Tileset(
            collection.tenant,
            collection.id,
            collection.generation,
            f"i3s-{form}-{self.request.digest or 'all'}-{self._state[2]:x}",
            _GRID,
            _GRID,
        )
        return self.here.services.tiles.made(TileName(tileset, 0, number, 0), collection, made).body


def _layer(public_id: str) -> _Layer:
    here = context()
    collection, decision = here.having(public_id, RepresentationKind.TILESET_3D)
    return _Layer(here, TilesetRequest(collection, decision, tuple(here.parameters)))


def _send(layer: _Layer, body: bytes, media_type: str, *names: str, gzipped: bool = False) -> Response:
    request = layer.request
    answer = Answer(
        body,
        media_type,
        etag=layer.etag(*names),
        cache_control="no-cache" if request.private else cache_control(layer.here.services.settings),
        vary="Accept, Accept-Encoding, Accept-Language, Authorization",
        private=request.private,
        gzipped=gzipped,
    )
    return respond(answer)


def _document(layer: _Layer, form: str) -> dict[str, Any]:
    from tiles.three_d.i3s import mesh_layer, scene_layer

    collection, here = layer.request.collection, layer.here
    facts = layer.tree.facts
    west, south, east, north = (float(value) for value in facts.regions[0])
    document = scene_layer(
        name=collection.title(here.language),
        description=collection.descriptions.get(here.language, ""),
        attribution=collection.attribution,
        bbox=(west, south, float(facts.bottoms[0]), east, north, float(facts.tops[0])),
        fields=layer.fields(),
        revision=layer.revision,
    )
    return mesh_layer(document) if form == _MESH else document


def service(public_id: str, form: str) -> Response:
    """The service with its one layer."""
    from tiles.three_d.i3s import scene_server

    layer = _layer(public_id)
    document = _document(layer, form)
    body = orjson.dumps(scene_server(document["name"], document))
    return _send(layer, body, _JSON, f"{form} service", layer.here.language)


def layer_document(public_id: str, form: str) -> Response:
    """The layer: objects, or the same as one mesh."""
    layer = _layer(public_id)
    accept = layer.here.environ.get("HTTP_ACCEPT", "")
    media_type = next((one for one in I3S_JSON if one in accept), _JSON)
    body = orjson.dumps(_document(layer, form))
    return _send(layer, body, media_type, f"{form} layer", layer.here.language, media_type)


def node_page(public_id: str, form: str, page: int) -> Response:
    """Sixty-four nodes."""
    layer = _layer(public_id)
    tree = layer.tree
    if page >= tree.pages:
        raise NotFound(f"there is no node page {page}; the last one is {tree.pages - 1}")

    def made() -> bytes:
        meshes = {}
        for code in tree.codes_on(page):
            content = layer.content(code)
            if content is not None:
                meshes[code] = content.mesh
        return gzip_bytes(orjson.dumps(tree.page(page, meshes, attributes=form != _MESH)))

    name = "mesh" if form == _MESH else "page"
    return _send(layer, layer.kept(name, page, made), _JSON, f"{name}{page}", gzipped=True)


def _content(layer: _Layer, node: int) -> NodeContent:
    code = layer.tree.code_of(node)
    content = None if code is None else layer.content(code)
    if content is None:
        raise NotFound(f"node {node} has no mesh")
    return content


def geometry(public_id: str, form: str, node: int) -> Response:
    """The geometry buffer of a node."""
    layer = _layer(public_id)
    if layer.tree.code_of(node) is None:
        raise NotFound(f"node {node} has no mesh")

    def made() -> bytes:
        from tiles.three_d.files import compress

        return compress(_content(layer, node).geometry)

    return _send(layer, layer.kept("geometry", node, made), _BINARY, f"geometry{node}", gzipped=True)


def texture(public_id: str, form: str, node: int) -> Response:
    """The texture of a node."""
    layer = _layer(public_id)
    found = _content(layer, node).texture
    if found is None:
        raise NotFound(f"node {node} has no texture")
    return _send(layer, found.content, found.media_type, f"texture{node}")


def attribute(public_id: str, form: str, node: int, key: str) -> Response:
    """The values of an attribute (`f_0` are the object ids) of a node's features."""
    layer = _layer(public_id)
    if form == _MESH:
        raise NotFound("a mesh has no attributes; the objects below i3s/SceneServer have")
    column = int(key[2:]) if key.startswith("f_") and key[2:].isascii() and key[2:].isdigit() else -1
    fields = layer.fields()
    if not 0 <= column <= len(fields):
        raise NotFound(f"there is no attribute {key[:40]!r}; the attributes are f_0 to f_{len(fields)}")
    content = _content(layer, node)
    if column == 0:
        body = content.object_ids()
    else:
        field = fields[column - 1]
        body = content.attribute(field.identifier, numeric=field.numeric)
    return _send(layer, body, _BINARY, f"attribute{node}", key)
