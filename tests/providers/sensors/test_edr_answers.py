"""EDR answers: locations, series as CoverageJSON and CSV, the datetime parameter, and the pygeoapi plugin."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from shapely.geometry import LineString, Point

from providers.errors import AnswerTooLarge, InvalidParameter, ItemNotFound
from providers.features.query import BBox
from providers.sensors.answers import (
    SeriesQuery,
    latest_values,
    list_locations,
    location_series,
    locations_by_distance,
    nearest_location,
    stream_series_csv,
)
from providers.sensors.edr import ChengtuEDRProvider
from providers.sensors.store import Location, Parameter, Span, write_series
from providers.sensors.times import parse_span

DAY = 86_400


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("series") / "series.sqlite"
    places = [
        Location("a", "Place A", 24.90, 60.10),
        Location("b", "Place B", 24.95, 60.10),
        Location("fiji", "Far away", 179.9, -17.0),
    ]
    parameters = [
        Parameter("count", "Pedestrians", "1", "count"),
        Parameter("temp", "Temperature", "Cel", "temp"),
    ]
    rows: list[tuple[str, str, int, float | None]] = [
        ("a", "count", hour * 3600, float(hour)) for hour in range(48)
    ]
    rows += [
        ("a", "temp", 0, 1.5),
        ("a", "temp", 1800, 2.5),
        ("b", "count", 0, None),
        ("b", "count", 3600, 4.0),
    ]
    write_series(path, places, parameters, rows)
    return path


def test_locations_are_geojson_points(store: Path) -> None:
    answer = list_locations(store)
    assert answer["numberMatched"] == answer["numberReturned"] == 3
    first = answer["features"][0]
    assert first["id"] == "a"
    assert first["geometry"] == {"type": "Point", "coordinates": [24.9, 60.1]}
    assert first["properties"]["parameter-name"] == ["count", "temp"]
    assert first["properties"]["datetime"] == "1970-01-01T00:00:00Z/1970-01-02T23:00:00Z"


@pytest.mark.parametrize(
    ("box", "ids"),
    [
        (BBox(24.9, 60.0, 24.92, 60.2), ["a"]),
        (BBox(24.0, 60.1, 25.0, 60.1), ["a", "b"]),
        (BBox(179.0, -20.0, -179.0, 0.0), ["fiji"]),
        (BBox(0, 0, 1, 1), []),
    ],
)
def test_locations_in_a_box(store: Path, box: BBox, ids: list[str]) -> None:
    assert [one["id"] for one in list_locations(store, box)["features"]] == ids


def test_locations_limit_says_how_many_match(store: Path) -> None:
    answer = list_locations(store, limit=2)
    assert (len(answer["features"]), answer["numberMatched"], answer["numberReturned"]) == (2, 3, 2)


def test_a_series_is_a_point_series_coverage(store: Path) -> None:
    coverage = location_series(store, ["a"], SeriesQuery(Span(0, 3600)))
    assert coverage["type"] == "Coverage"
    assert coverage["domain"]["domainType"] == "PointSeries"
    axes = coverage["domain"]["axes"]
    assert axes["t"]["values"] == ["1970-01-01T00:00:00Z", "1970-01-01T00:30:00Z", "1970-01-01T01:00:00Z"]
    assert (axes["x"]["values"], axes["y"]["values"]) == ([24.9], [60.1])
    # Parameters observed at other times share one time axis: what was not observed is null.
    assert coverage["ranges"]["count"]["values"] == [0.0, None, 1.0]
    assert coverage["ranges"]["temp"]["values"] == [1.5, 2.5, None]
    assert coverage["ranges"]["temp"]["shape"] == [3]
    assert coverage["parameters"]["temp"]["unit"]["symbol"]["value"] == "Cel"


def test_several_locations_are_a_collection(store: Path) -> None:
    answer = location_series(store, ["a", "b"], SeriesQuery(parameters=("count",)))
    assert answer["type"] == "CoverageCollection"
    assert [one["id"] for one in answer["coverages"]] == ["a", "b"]
    assert answer["coverages"][1]["ranges"]["count"]["values"] == [None, 4.0]
    assert set(answer["parameters"]) == {"count"}


def test_budget_at_the_limit_and_one_below(store: Path) -> None:
    exact = SeriesQuery(parameters=("count",), maximum_values=48)
    assert len(location_series(store, ["a"], exact)["ranges"]["count"]["values"]) == 48
    with pytest.raises(AnswerTooLarge, match="47"):
        location_series(store, ["a"], SeriesQuery(parameters=("count",), maximum_values=47))
    with pytest.raises(AnswerTooLarge):
        location_series(store, ["a", "b"], SeriesQuery(parameters=("count",), maximum_values=49))


def test_unknown_names_are_refused(store: Path) -> None:
    with pytest.raises(ItemNotFound):
        location_series(store, ["zz"], SeriesQuery())
    with pytest.raises(InvalidParameter, match="wind"):
        location_series(store, ["a"], SeriesQuery(parameters=("wind",)))


def test_an_empty_time_gives_an_empty_series(store: Path) -> None:
    coverage = location_series(store, ["a"], SeriesQuery(Span(10 * DAY, 11 * DAY)))
    assert coverage["domain"]["axes"]["t"]["values"] == []
    assert coverage["ranges"]["count"]["shape"] == [0]


def test_csv_has_the_same_values(store: Path) -> None:
    text = b"".join(stream_series_csv(store, ["a", "b"], Span(0, 3600))).decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == ["location", "longitude", "latitude", "time", "count", "temp"]
    assert rows[1] == ["a", "24.9", "60.1", "1970-01-01T00:00:00Z", "0.0", "1.5"]
    assert rows[4] == ["b", "24.95", "60.1", "1970-01-01T00:00:00Z", "", ""]
    assert rows[2:4] == [
        ["a", "24.9", "60.1", "1970-01-01T00:30:00Z", "", "2.5"],
        [*rows[1][:3], "1970-01-01T01:00:00Z", "1.0", ""],
    ]
    assert len(rows) == 6
    assert text.count("\r\n") == 6
    one = b"".join(stream_series_csv(store, ["b"], parameters=["temp"]))
    assert one == b"location,longitude,latitude,time,temp\r\n"


@pytest.mark.parametrize("length", [1, 2, 3, 47, 48, 49, 1000])
def test_csv_is_the_same_in_slices_of_any_length(
    store: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    whole = b"".join(stream_series_csv(store, ["a", "b", "fiji"]))
    monkeypatch.setattr("providers.sensors.store._SLICE_VALUES", 2 * length)  # two parameters
    parts = list(stream_series_csv(store, ["a", "b", "fiji"]))
    assert b"".join(parts) == whole
    assert whole.count(b"\r\n") == 1 + 49 + 2
    # Two series of at most `length` rows each meet in one slice.
    assert max(part.count(b"\r\n") for part in parts) <= 2 * length


def test_csv_says_what_is_wrong_before_the_first_bytes(store: Path) -> None:
    with pytest.raises(ItemNotFound):
        stream_series_csv(store, ["zz"])
    with pytest.raises(InvalidParameter, match="wind"):
        stream_series_csv(store, ["a"], parameters=["wind"])


def test_latest_and_nearest(store: Path) -> None:
    assert latest_values(store)["b"] == {"count": {"time": "1970-01-01T01:00:00Z", "value": 4.0}}
    assert nearest_location(store, 24.93, 60.1) == "b"
    assert nearest_location(store, -179.9, -17.0) == "fiji"  # across the antimeridian
    near = locations_by_distance(store, 24.90, 60.10, 3000)
    assert [place for _, place in near] == ["a", "b"]
    assert near[1][0] == pytest.approx(2_781, abs=10)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        (None, Span(None, None)),
        ("1970-01-01T01:00:00Z", Span(3600, 3600)),
        ("1970-01-01T01:00:00+01:00", Span(0, 0)),
        ("1970-01-02", Span(DAY, 2 * DAY - 1)),
        ("1970-01-01/1970-01-02", Span(0, 2 * DAY - 1)),
        ("../1970-01-01T00:00:10Z", Span(None, 10)),
        ("1970-01-01T00:00:10Z/", Span(10, None)),
        ("../..", Span(None, None)),
    ],
)
def test_datetime_is_read(text: str | None, span: Span) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "1970",
        "1970-13-01",
        "1970-01-01T25:00:00Z",
        "1970-01-01T00:00:00",
        "a/b",
        "1/2/3",
        "1970-01-02/1970-01-01",
    ],
)
def test_bad_datetime_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_span(text)


@pytest.fixture
def plugin(store: Path) -> ChengtuEDRProvider:
    return ChengtuEDRProvider({"name": "edr", "type": "edr", "data": str(store)})


def test_plugin_names_its_queries_and_fields(plugin: ChengtuEDRProvider) -> None:
    assert set(plugin.get_query_types()) == {"locations", "position", "radius"}
    assert plugin.fields["temp"] == {"type": "number", "title": "Temperature", "x-ogc-unit": "Cel"}


def test_plugin_answers_each_query(plugin: ChengtuEDRProvider) -> None:
    listed = plugin.query(query_type="locations", bbox=[24.0, 60.0, 24.91, 61.0], limit=10)
    assert [one["id"] for one in listed["features"]] == ["a"]
    one = plugin.query(
        query_type="locations", location_id="b", datetime_="1970-01-01", select_properties=["count"]
    )
    assert one["ranges"]["count"]["values"] == [None, 4.0]
    assert plugin.query(query_type="position", wkt=Point(24.94, 60.1))["id"] == "b"
    both = plugin.query(query_type="radius", wkt=Point(24.9, 60.1), within="3", within_units="km")
    assert [coverage["id"] for coverage in both["coverages"]] == ["a", "b"]


@pytest.mark.parametrize(
    "bad",
    [
        {"query_type": "position", "wkt": LineString([(0, 0), (1, 1)])},
        {"query_type": "position", "wkt": None},
        {"query_type": "position", "wkt": Point(200, 0)},
        {"query_type": "radius", "wkt": Point(24.9, 60.1), "within": "-1"},
        {"query_type": "radius", "wkt": Point(24.9, 60.1), "within": "far"},
        {"query_type": "radius", "wkt": Point(24.9, 60.1), "within": "1", "within_units": "furlong"},
        {"query_type": "locations", "location_id": "a", "datetime_": "soon"},
    ],
)
def test_plugin_refuses(plugin: ChengtuEDRProvider, bad: dict[str, object]) -> None:
    with pytest.raises(InvalidParameter):
        plugin.query(**bad)


def test_radius_without_any_location_is_not_found(plugin: ChengtuEDRProvider) -> None:
    with pytest.raises(ItemNotFound):
        plugin.query(query_type="radius", wkt=Point(0, 0), within="10")
