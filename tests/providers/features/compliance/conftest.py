"""One small collection of known content, in every store that has a module in `stores/`.

A module `stores/<kind>_store.py` defines `NAME: str` and `build(sample, folder, request) -> FeatureSource`: the sample written
into a store of its own in `folder` (or in a service a fixture gives: `request.getfixturevalue("postgresql_server")`), opened as
publishing would open it. Remote kinds whose service may lack single functions are named in `MAY_REFUSE = {kind}`. Built once a session; what has to be closed is closed by `request.addfinalizer`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import orjson
import pytest
import shapely
from numpy.typing import NDArray

from providers.errors import UnsupportedQuery
from providers.features.parser import QueryLimits, parse_item_query
from providers.features.query import ItemQuery
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import FeatureColumns, FeatureSource, asked_abilities, refuse_what_it_cannot

HIDDEN = frozenset({"secret"})
FIELDS = (
    FieldDefinition("name", "string"),
    FieldDefinition("kind", "string"),
    FieldDefinition("floors", "integer"),
    FieldDefinition("height", "number"),
    FieldDefinition("listed", "boolean"),
    FieldDefinition("built", "string", "date"),
    FieldDefinition("updated", "string", "date-time"),
    FieldDefinition("tags", "string"),
    FieldDefinition("secret", "string"),
)
TIME_FIELD = "updated"

# id | geometry | name | kind | floors | height | listed | built | updated | tags; secret is "s-" and the id
_ROWS = r"""
a1 | POINT (114.00 22.50) | 楼一 | tower | 30 | 99.5 | true | 1999-12-31 | 2024-01-01T00:00:00Z | ["a"]
a2 | POINT (114.10 22.50) | 楼二 | tower | 12 | 40 | false | 2000-01-01 | 2024-01-01T12:00:00Z | ["a","b"]
a3 | POINT (114.20 22.50) | 深圳湾公园 | park | | 0 | | 2000-02-29 | 2024-01-01T23:59:59.999Z | []
a4 | POINT (114.00 22.60) | Café | shop | 1 | 4.25 | true | 2010-06-15 | 2024-01-02T00:00:00Z | ["b","a"]
a5 | POINT (114.10 22.60) | CAFE | shop | 2 | 8.5 | false | 2010-06-15 | 2024-02-29T08:30:00Z | ["a","b","c"]
a6 | POINT (114.20 22.60) | café noir | shop | 2 | | | | | not json
l1 | LINESTRING (114.00 22.50, 114.20 22.50) | Straße | road | | 0 | false | 1950-01-01 | 2023-12-31T23:59:59Z |
l2 | LINESTRING (114.05 22.45, 114.05 22.65) | STRASSE | road | 0 | -1.5 | false | 1950-01-01 | 2023-12-31T16:00:00Z | ["road"]
l3 | MULTILINESTRING ((114.30 22.50, 114.30 22.55), (114.35 22.50, 114.35 22.55)) | 50% off | road | | | | | |
l4 | LINESTRING (114.40 22.50, 114.45 22.50, 114.45 22.55, 114.40 22.50) | 50 percent off | road | -3 | 0.001 | true | 1899-12-31 | 1970-01-01T00:00:00Z | [1,2]
p1 | POLYGON ((113.95 22.45, 114.15 22.45, 114.15 22.55, 113.95 22.55, 113.95 22.45)) | a_b | block | 5 | 15.5 | true | 1985-05-05 | 2020-05-05T05:05:05.005Z | ["x y"]
p2 | POLYGON ((113.9 22.4, 114.3 22.4, 114.3 22.7, 113.9 22.7, 113.9 22.4), (114.02 22.52, 114.18 22.52, 114.18 22.58, 114.02 22.58, 114.02 22.52)) | axb | block | 5 | 15.5 | false | 1985-05-05 | 2020-05-05T05:05:05.006Z | ["x","y"]
p3 | POLYGON ((114.15 22.45, 114.25 22.45, 114.25 22.55, 114.15 22.55, 114.15 22.45)) | a\b | block | 6 | 15.5 | true | 1985-05-06 | 2020-05-05T05:05:05Z | [1.5,true]
p4 | POLYGON ((114.15 22.55, 113.95 22.55, 113.95 22.45, 114.15 22.45, 114.15 22.55)) | O'Hara | block | 7 | 21 | | 1985-05-07 | 2020-05-06T00:00:00Z | ["it's"]
p5 | POLYGON ((114.10 22.50, 114.20 22.50, 114.20 22.60, 114.10 22.60, 114.10 22.50)) | "quoted" | block | 8 | 24 | true | 1985-05-08 | 2020-05-07T00:00:00Z | ["\"q\""]
p6 | POLYGON ((114.06 22.54, 114.08 22.54, 114.08 22.56, 114.06 22.56, 114.06 22.54)) | naïve | block | 9 | 27 | false | 1985-05-09 | 2020-05-08T00:00:00Z | ["ï"]
m1 | MULTIPOINT ((114.00 22.50), (114.20 22.60)) | NAIVE | tree | 0 | 3 | | 2015-03-01 | 2021-03-01T00:00:00Z | ["tree","old"]
m2 | MULTIPOLYGON (((115 23, 115.1 23, 115.1 23.1, 115 23.1, 115 23)), ((116 23, 116.1 23, 116.1 23.1, 116 23.1, 116 23))) | 公园 | park | | 0 | true | 2015-03-02 | 2021-03-02T00:00:00Z | ["公园"]
n1 | | no place | none | 100 | 1e300 | true | 2030-01-01 | 2024-06-01T00:00:00Z | ["a"]
n2 | | | | | | | | |
d1 | POINT (179.5 -17) | Taveuni west | island | 1 | 1 | true | 2001-01-01 | 2022-01-01T00:00:00Z | ["fiji"]
d2 | POINT (-179.5 -17) | Taveuni east | island | 1 | 2 | false | 2001-01-02 | 2022-01-02T00:00:00Z | ["fiji"]
d3 | MULTIPOLYGON (((179 -18, 180 -18, 180 -16, 179 -16, 179 -18)), ((-180 -18, -179 -18, -179 -16, -180 -16, -180 -18))) | Fiji | island | 1 | 3 | | 2001-01-03 | 2022-01-03T00:00:00Z | ["fiji","both"]
d4 | LINESTRING (178 10, 180 10) | date line | line | | | | | 2022-01-04T00:00:00Z |
d5 | POINT (-180 10) | date line | line | | | | | 2022-01-05T00:00:00Z |
q1 | POINT (0 90) | North Pole | pole | 0 | 0 | true | 1909-04-06 | 2022-03-01T00:00:00Z | ["pole"]
q2 | POLYGON ((-180 80, 180 80, 180 90, -180 90, -180 80)) | Arctic | pole | | | | | |
q3 | POINT (45 -89.9) | South Pole | pole | 0 | 2835 | false | 1911-12-14 | 2022-03-02T00:00:00Z | ["pole"]
z1 | POINT (0 0) | Null Island | buoy | 0 | 0 | false | 1970-01-01 | 1970-01-01T00:00:00Z | ["zero"]
z2 | POLYGON ((-1 -1, 1 -1, 1 1, -1 1, -1 -1)) | box | area | 0 | 0.1 | true | 1969-12-31 | 1969-12-31T23:59:59.999Z | ["zero"]
z3 | LINESTRING (-2 0, 2 0) | equator | line | 0 | 0.2 | | 1970-01-02 | 1970-01-01T00:00:00.001Z |
e1 | POINT (2.35 48.85) | Île-de-France | region | 3 | 33.3 | true | 1989-07-14 | 2019-04-15T18:20:00Z | ["Été"]
e2 | POINT (13.4 52.5) | Zürich? Berlin! | region | 4 | 44.4 | false | 1989-11-09 | 2019-11-09T17:00:00Z | ["ete"]
e3 | POINT (-0.1 51.5) | ILE DE FRANCE | region | 3 | 33.25 | | 1989-07-15 | 2019-04-15T18:20:00.001Z | ["ÉTÉ"]
s1 | POINT (121.5 31.2) |  | empty | 63 | 632 | true | 2015-01-01 | 2024-12-31T23:59:59Z | ["上海"]
s2 | POINT (121.51 31.21) | % | sign | 1 | 1 | true | 2015-01-01 | 2024-12-31T23:59:59Z | ["%"]
s3 | POINT (121.52 31.22) | _ | sign | 1 | 1 | true | 2015-01-01 | 2024-12-31T23:59:59Z | ["_"]
s4 | POINT (121.53 31.23) | a%b_c\d | sign | 1 | 1 | true | 2015-01-01 | 2024-12-31T23:59:59Z |
s5 | POINT (121.54 31.24) | 1; DROP TABLE x -- | sign | 9007199254740993 | 1e-7 | false | 2015-01-01 | 2024-12-31T23:59:59Z | ["'"]
s6 | POINT (121.55 31.25) | 🏙 tower | sign | -9 | -1e-7 | false | 2015-01-01 | 2024-12-31T23:59:59Z | ["🏙"]
"""


@dataclass(frozen=True)
class ComplianceSample:
    """The collection: `geometries` in CRS84 (None where there is none), `columns` of JSON values by field name."""

    ids: list[str]
    geometries: NDArray[np.object_]
    columns: dict[str, list[Any]]
    fields: tuple[FieldDefinition, ...] = FIELDS
    time_field: str = TIME_FIELD

    @property
    def schema(self) -> CollectionSchema:
        """The fields as queries see them."""
        return CollectionSchema(self.fields, time_field=self.time_field)

    @property
    def as_columns(self) -> FeatureColumns:
        """The same as a store would give it."""
        return FeatureColumns(list(range(len(self.ids))), self.ids, self.geometries, self.columns)


def _value(field: FieldDefinition, text: str) -> Any:
    if not text:
        return None
    if field.type == "number":
        return float(text)
    return orjson.loads(text) if field.type != "string" else text


def _read_rows() -> ComplianceSample:
    names = [field.name for field in FIELDS]
    ids: list[str] = []
    shapes: list[Any] = []
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for line in _ROWS.strip("\n").splitlines():
        feature_id, shape, *texts = (part.strip() for part in line.split("|"))
        ids.append(feature_id)
        shapes.append(shapely.from_wkt(shape) if shape else None)
        for field, text in zip(FIELDS, [*texts, f"s-{feature_id}"], strict=True):
            columns[field.name].append(_value(field, text))
    columns["name"][ids.index("s1")] = ""  # an empty text is none that is missing
    return ComplianceSample(ids, np.array(shapes, dtype=object), columns)


SAMPLE = _read_rows()


def _store_modules() -> dict[str, ModuleType]:
    found: dict[str, ModuleType] = {}
    for path in sorted(Path(__file__).parent.joinpath("stores").glob("*_store.py")):
        spec = importlib.util.spec_from_file_location(f"compliance_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.NAME not in found, f"two stores are called {module.NAME}"
        found[module.NAME] = module
    return found


STORES = _store_modules()
MAY_REFUSE: frozenset[str] = frozenset().union(
    *(getattr(module, "MAY_REFUSE", ()) for module in STORES.values())
)
"""Kinds of source (by their modules' MAY_REFUSE) that may answer single filters and sort orders with UnsupportedQuery."""


@pytest.fixture(scope="session")
def sample() -> ComplianceSample:
    """The collection as it was given to every store."""
    return SAMPLE


@pytest.fixture(scope="session", params=sorted(STORES))
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    """The collection in one of the stores."""
    folder = tmp_path_factory.mktemp(f"compliance_{request.param}")
    built: FeatureSource = STORES[request.param].build(SAMPLE, folder, request)
    return built


@pytest.fixture(scope="session")
def parse() -> Callable[..., ItemQuery]:
    """A query from parameters: `parse({"filter": "..."})`; up to 1,000 features, `secret` is hidden."""

    def read(parameters: dict[str, str]) -> ItemQuery:
        given = {"limit": "1000", **parameters}
        return parse_item_query(given, SAMPLE.schema, QueryLimits(maximum=1000), 1, HIDDEN)

    return read


def _refused(source: FeatureSource, query: ItemQuery) -> bool:
    """Whether the source lacks an ability the query needs; if so, it has to say so, and never answer a part."""
    if set(asked_abilities(query)) <= source.abilities:
        return False
    with pytest.raises(UnsupportedQuery):
        refuse_what_it_cannot(query, source)
    return True


@pytest.fixture(scope="session")
def refused() -> Callable[[FeatureSource, ItemQuery], bool]:
    """Whether a source cannot answer a query, which it has then refused in so many words."""
    return _refused


def _all_ids(source: FeatureSource, query: ItemQuery) -> list[str]:
    """The ids of all pages, which may be short before the last."""
    ids: list[str] = []
    for _ in range(2000):
        page = source.page(query, HIDDEN)
        assert len(page.bodies) <= query.limit
        ids += [orjson.loads(body)["id"] for body in page.bodies]
        if page.cursor is None:
            return ids
        query = replace(query, cursor=page.cursor, offset=0)
    raise AssertionError("the pages do not end")


@pytest.fixture(scope="session")
def found() -> Callable[[FeatureSource, ItemQuery], list[str] | None]:
    """The ids that answer a query, in order and over all pages; None where the source refuses it as it should."""

    def ask(source: FeatureSource, query: ItemQuery) -> list[str] | None:
        if _refused(source, query):
            return None
        try:
            return _all_ids(source, query)
        except UnsupportedQuery:
            if source.kind in MAY_REFUSE:
                return None
            raise

    return ask
