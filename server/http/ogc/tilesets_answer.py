"""A document of tilesets as JSON or as a page."""

from __future__ import annotations

from typing import Any

from flask import Response

from server.http.context import RequestContext, html_answer, json_answer, respond
from server.registry.catalogue import Collection


def document_answer(here: RequestContext, document: Any, collection: Collection | None = None) -> Response:
    """The document, as JSON or as a page. Raises NotAcceptable."""
    if here.format("json", "html") == "html":
        page = here.services.pages.document(
            here.page_request(), document, here.tenant, collection=collection, kind="tilesets"
        )
        return respond(html_answer(page))
    return respond(json_answer(document))
