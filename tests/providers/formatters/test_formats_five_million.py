"""Five million features in every format: what this process grows by while they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from providers.features.page_budget import PageBudget, columns_within, page_within
from providers.features.query import ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStoreWriter, open_store
from providers.formatters.registry import DOWNLOAD_FORMATS, Batch

COUNT = 5_000_000
_STEP = 100_000
_MOST_GROWTH = 100.0  # MB
_BUDGET = PageBudget(body_bytes=8 << 20, seconds=2.0)

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("five-million") / "features.gpkg"
    fields = (FieldDefinition("name", "string"), FieldDefinition("n", "integer"))
    with FeatureStoreWriter(path, fields=fields, storage_crs="OGC:CRS84") as writer:
        for start in range(0, COUNT, _STEP):
            numbers = np.arange(start, start + _STEP)
            points = shapely.points(113 + numbers % 2237 / 1000, 21 + numbers // 2237 / 1000)
            writer.add(points, {"name": [f"第{n}" for n in numbers], "n": numbers.tolist()})
        writer.finish()
    return open_store(path)


def own_memory() -> float:
    """MB of memory of this process that no file stands behind."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def batches(store: Any, kind: str, query: ItemQuery) -> Iterator[Batch]:
    while True:
        if kind == "bodies":
            page = page_within(store, query, key="large", budget=_BUDGET)
            yield page.bodies
            cursor = page.cursor
        else:
            columns = columns_within(store, query, key="large", budget=_BUDGET)
            yield from columns.slices
            cursor = columns.cursor
        if cursor is None:
            return
        query = replace(query, cursor=cursor)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("ending", sorted(DOWNLOAD_FORMATS))
def test_memory_stays_what_it_is(store: Any, writing: Any, ending: str) -> None:
    form, query = DOWNLOAD_FORMATS[ending], ItemQuery(limit=2000)
    first = next(batches(store, form.batches, query))
    b"".join(form.load()(writing(store).context(query), iter([first])))  # libraries are loaded
    before = highest = own_memory()
    size = 0
    for chunk in form.load()(writing(store).context(query), batches(store, form.batches, query)):
        size += len(chunk)
        highest = max(highest, own_memory())
    assert size > 10 * COUNT
    assert highest - before < _MOST_GROWTH
