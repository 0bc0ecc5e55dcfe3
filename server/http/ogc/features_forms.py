"""Items and item in the formats of `providers.formatters.registry`, and items as a page for people."""

from __future__ import annotations

from typing import Any

from providers.errors import ItemNotFound
from providers.features.item_columns import item_columns
from providers.features.query import ItemQuery
from providers.features.source import FeaturePage
from providers.formatters.registry import Batch, ItemFormat, WritingContext, fields_to_write
from server.http.answer import Answer, Header
from server.http.context import RequestContext, html_answer
from server.http.feature_links import link_headers
from server.http.features import (
    FeatureRequest,
    columns_of,
    item_headers,
    items_headers,
    page_links,
    page_of,
    timestamp,
)


def written_page(asked: FeatureRequest, query: ItemQuery, form: ItemFormat, language: str) -> Answer:
    """A page in a format of the registry."""
    batches: list[Batch]
    if form.batches == "bodies":
        page = page_of(asked, query)
        batches = [page.bodies] if page.bodies else []
    else:
        columns = columns_of(asked, query)
        batches = [*columns.slices]
        # Its counts and its cursor, for links and headers.
        page = FeaturePage([b""] * columns.number_returned, columns.cursor, columns.number_matched, query.crs)
    links = page_links(asked, query, page, form.name)
    written = _writing(asked, query, language, links, page.number_matched)
    headers = [*items_headers(page), *link_headers(links, in_body=False), *_file_name(asked, form)]
    return _written(asked, form, written, batches, headers)


def _written(
    asked: FeatureRequest,
    form: ItemFormat,
    written: WritingContext,
    batches: list[Batch],
    headers: list[Header],
) -> Answer:
    body = b"".join(form.load()(written, iter(batches)))
    return Answer(
        body, form.media_type, headers=headers, private=asked.private, compressible=form.compressible
    )


def _writing(
    asked: FeatureRequest,
    query: ItemQuery,
    language: str,
    links: list[dict[str, Any]],
    matched: int | None = None,
    *,
    item: bool = False,
) -> WritingContext:
    collection, source = asked.collection, asked.source
    return WritingContext(
        name=collection.id,
        title=collection.title(language),
        url=asked.url,
        schema=source.schema,
        storage=source.storage,
        query=query,
        fields=fields_to_write(source.schema, query, asked.hidden),
        links=links,
        timestamp=timestamp(),
        number_matched=matched,
        item=item,
    )


def _file_name(asked: FeatureRequest, form: ItemFormat) -> list[Header]:
    if not form.ending:
        return []
    return [("Content-Disposition", f'attachment; filename="{asked.collection.id}.{form.ending}"')]


def items_page(here: RequestContext, asked: FeatureRequest, document: dict[str, Any]) -> Answer:
    """A FeatureCollection as a page for people."""
    page = here.services.pages.items(
        here.page_request(), asked.collection, document, here.tenant, here.siblings(asked.collection)
    )
    return html_answer(page)


def written_item(
    here: RequestContext,
    asked: FeatureRequest,
    query: ItemQuery,
    form: ItemFormat,
    feature_id: str,
    body: bytes,
    links: list[dict[str, Any]],
) -> Answer:
    """One feature in a format of the registry."""
    written = _writing(asked, query, here.language, links, item=True)
    headers = [*item_headers(query), *link_headers(links, in_body=False), *_file_name(asked, form)]
    batch: Batch = [body]
    if form.batches == "columns":
        columns = item_columns(asked.source, feature_id, asked.hidden, query.asof)
        if columns is None:
            raise ItemNotFound(feature_id)
        batch = columns
    return _written(asked, form, written, [batch], headers)
