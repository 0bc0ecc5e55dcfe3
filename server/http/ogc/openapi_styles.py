"""Paths and parameters of styles in the OpenAPI document: reading, managing, choosing a default, legends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from server.http.ogc.styles import ENCODINGS
from server.http.ogc.styles_editing import ACCEPTED_TYPES, MERGE_PATCH

type Document = dict[str, Any]
type Get = Callable[..., Document]
"""(operation id, tag, summary, formats, *parameter names) -> path item with a get."""

_DOCUMENTS = ("json", "html")
_STYLESHEETS = (*(media_type for _, media_type in ENCODINGS.values()), "html")
_ONE = "/collections/{collectionId}/styles"
_TITLES = ("styleTitle", "styleTitleZh", "styleCollections", "dry-run")


def style_paths(get: Get) -> Document:
    """The paths of all styles of a view, and of those that draw one collection."""
    paths = _reading(get, "/styles", "", ())
    paths |= _reading(get, _ONE, "Collection", ("collectionId",))
    for path, methods in _editing().items():
        paths[path] = paths[path] | methods
    return paths


def _reading(get: Get, base: str, owner: str, ids: Sequence[str]) -> Document:
    one = f"{base}/{{styleId}}"
    of_whom = "a collection" if owner else "the view"
    names = (*ids, "styleId")
    return {
        base: get(f"get{owner}Styles", "Styles", f"Styles of {of_whom}", _DOCUMENTS, *ids),
        one: get(f"get{owner}Style", "Styles", "A stylesheet, as given or converted", _STYLESHEETS, *names),
        f"{one}/metadata": get(
            f"get{owner}StyleMetadata", "Styles", "What a style is for and needs", _DOCUMENTS, *names
        ),
        f"{one}/legend": get(
            f"get{owner}StyleLegend",
            "Styles",
            "The legend of a style",
            ("png", *_DOCUMENTS),
            *(*names, "legendScale"),
        ),
    }


def _editing() -> Document:
    changed = {"204": {"description": "Done; X-Style-Note says what of the style is not drawn as it says"}}
    created = {"201": {"description": "Created; Location is its address, X-Style-Note as for 204"}}
    body: Document = {
        "required": True,
        "content": {
            media_type: {"schema": {"type": "object" if "json" in media_type else "string"}}
            for media_type in ACCEPTED_TYPES
        },
    }
    choice: Document = {
        "required": True,
        "content": {
            media_type: {"schema": {"$ref": "#/components/schemas/DefaultStyle"}}
            for media_type in (MERGE_PATCH, "application/json")
        },
    }
    return {
        "/styles": {
            "post": _operation(
                "createStyle",
                "Add a style; operators only",
                ("styleNewId", "styleTenant", *_TITLES, "styleHandling"),
                created | changed,
                body,
            )
        },
        "/styles/{styleId}": {
            "put": _operation(
                "replaceStyle",
                "Replace a style, or add one of this id; operators only",
                ("styleId", *_TITLES, "If-Match", "If-None-Match", "styleHandling"),
                created | changed,
                body,
            ),
            "delete": _operation(
                "deleteStyle",
                "Remove a style; operators only",
                ("styleId", "If-Match"),
                {"204": {"description": "It is removed"}},
            ),
        },
        _ONE: {
            "patch": _operation(
                "updateDefaultStyle",
                "Choose the style that draws a collection; operators only",
                ("collectionId",),
                {"204": {"description": "It draws the collection from now on"}},
                choice,
            )
        },
    }


def _operation(
    operation: str, summary: str, parameters: Sequence[str], responses: Document, body: Document | None = None
) -> Document:
    result: Document = {
        "operationId": operation,
        "tags": ["Styles"],
        "summary": summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in parameters],
        "responses": {**responses, "default": {"$ref": "#/components/responses/Problem"}},
    }
    return result if body is None else result | {"requestBody": body}


def style_parameters() -> Document:
    """The parameters these paths name and no others do."""
    text = {"type": "string"}
    scale = {"type": "number", "minimum": 0.5, "maximum": 4, "default": 1}
    names = {"type": "array", "items": text}

    def given(name: str, place: str, description: str, schema: Document) -> Document:
        return {
            "name": name,
            "in": place,
            "description": description,
            "required": False,
            "schema": schema,
        }

    return {
        "legendScale": given("scale", "query", "Size of the legend's image", scale),
        "styleNewId": given("id", "query", "Id of the new style; without it one is made of its title", text),
        "styleTenant": given(
            "tenant", "query", "Tenant the style belongs to; needed in the city's view only", text
        ),
        "styleTitle": given("title", "query", "Title in English, instead of the style's own", text),
        "styleTitleZh": given("title_zh", "query", "Title in Chinese", text),
        "styleCollections": given("collections", "query", "Offer it for these collections only", names)
        | {"style": "form", "explode": False},
        "dry-run": given("dry-run", "query", "true: check the style, keep nothing", {"type": "boolean"}),
        "styleHandling": given(
            "Prefer", "header", "handling=strict: refuse what would be drawn otherwise than it says", text
        ),
    }


def style_schemas() -> Document:
    """The schemas these paths name."""
    return {
        "DefaultStyle": {
            "type": "object",
            "required": ["default"],
            "properties": {"default": {"type": "string", "nullable": True}},
        }
    }
