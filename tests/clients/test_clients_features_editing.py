"""The life of a feature over HTTP, on every store; and edits made beside the server, by GDAL and QGIS at the source."""

import json
import shutil

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]  # the first test builds the city

STORES = ("embedded", "postgis", "parquet", "ogr", "features", "wfs", "arcgis")
EDITABLE = ("embedded", "postgis")
READ_ONLY = tuple(name for name in STORES if name not in EDITABLE)
GEOJSON = {"Content-Type": "application/geo+json"}
OF_OUR_OWN_FILE = ("may only be partially supported", "Non-conformant content")
# The file in place is GeoPackage 1.4, of which GDAL 3.6 warns.
MERGE = {"Content-Type": "application/merge-patch+json"}
SHAPE = {"type": "Polygon", "coordinates": [[[114, 22.7], [114.001, 22.7], [114.001, 22.701], [114, 22.7]]]}
NEW_BOX = "113.9995,22.6995,114.0015,22.7015"


def new(key, **properties):
    return {
        "type": "Feature",
        "geometry": SHAPE,
        "properties": {"name": "新楼", "height": 12.5, "floors": 4, "secret": key} | properties,
    }


@pytest.fixture
def operator(every_store):
    """A session with the operator's token."""
    with requests.Session() as session:
        session.headers.update(every_store.bearer)
        yield session


@pytest.fixture
def feature(every_store, operator, request):
    """`feature("postgis")`: the address of a new feature, which is gone after the test."""
    made = []

    def create(name):
        key = f"s-{request.node.name}"
        reply = operator.post(every_store.items(name), json=new(key), headers=GEOJSON)
        assert reply.status_code == 201, reply.text
        made.append(reply.headers["Location"])
        return made[-1]

    yield create
    for address in made:
        operator.delete(address, headers={"If-Match": "*"})


@pytest.mark.parametrize("name", EDITABLE)
def test_a_feature_is_born_changes_and_is_gone(every_store, operator, name):
    items = every_store.items(name)
    before = operator.get(items, params={"limit": "1", "resulttype": "hits"}).json()["numberMatched"]
    born = operator.post(items, json=new("s-life"), headers=GEOJSON)
    assert born.status_code == 201, born.text
    address, version = born.headers["Location"], born.headers["ETag"]

    read = operator.get(address)
    assert read.json()["properties"]["secret"] == "s-life"
    assert read.json()["geometry"]["type"] == "Polygon"
    assert operator.get(address, headers={"If-None-Match": read.headers["ETag"]}).status_code == 304
    boxed = operator.get(items, params={"bbox": NEW_BOX}).json()
    assert [one["properties"]["secret"] for one in boxed["features"]] == ["s-life"]

    replaced = operator.put(
        address, json=new("s-life", floors=9, height=None), headers=GEOJSON | {"If-Match": version}
    )
    assert replaced.status_code == 204, replaced.text
    assert replaced.headers["ETag"] != version
    stale = operator.patch(address, json={"properties": {"floors": 1}}, headers=MERGE | {"If-Match": version})
    assert stale.status_code == 412
    patched = operator.patch(
        address,
        json={"properties": {"name": "改名"}},
        headers=MERGE | {"If-Match": replaced.headers["ETag"], "Prefer": "return=representation"},
    )
    assert patched.status_code == 200, patched.text
    shown = patched.json()["properties"]
    assert (shown["name"], shown["floors"], shown["height"]) == ("改名", 9, None)
    assert operator.get(address, headers={"If-None-Match": read.headers["ETag"]}).status_code == 200

    assert operator.delete(address).status_code == 428
    assert operator.delete(address, headers={"If-Match": version}).status_code == 412
    gone = operator.delete(address, headers={"If-Match": patched.headers["ETag"]})
    assert gone.status_code in (200, 204)
    assert operator.get(address).status_code == 404
    after = operator.get(items, params={"limit": "1", "resulttype": "hits"}).json()["numberMatched"]
    assert after == before


@pytest.mark.parametrize("name", EDITABLE)
def test_both_workers_see_an_edit_at_once(every_store, operator, feature, name):
    address = feature(name)
    version = operator.get(address).headers["ETag"]
    for floors in range(1, 15):
        reply = operator.patch(
            address, json={"properties": {"floors": floors}}, headers=MERGE | {"If-Match": version}
        )
        assert reply.status_code == 204, reply.text
        version = reply.headers["ETag"]
        # Each on a connection of its own: they spread over the workers.
        for _ in range(3):
            seen = requests.get(address, timeout=30)
            assert seen.json()["properties"]["floors"] == floors


@pytest.mark.parametrize("name", EDITABLE)
def test_coordinates_of_a_cgcs2000_zone_are_taken(every_store, operator, name):
    """Northing before easting, as EPSG:4547 has it."""
    shape = {
        "type": "Polygon",
        "coordinates": [[[2511000, 500000], [2511000, 500100], [2511100, 500100], [2511000, 500000]]],
    }
    crs = "http://www.opengis.net/def/crs/EPSG/0/4547"
    born = operator.post(
        every_store.items(name),
        json=new("s-grid") | {"geometry": shape},
        headers=GEOJSON | {"Content-Crs": f"<{crs}>"},
    )
    assert born.status_code == 201, born.text
    read = operator.get(born.headers["Location"], params={"crs": crs})
    assert read.headers["Content-Crs"] == f"<{crs}>"
    ring = read.json()["geometry"]["coordinates"][0]
    for corner in shape["coordinates"][0]:
        assert any(corner == pytest.approx(point, abs=0.02) for point in ring), ring
    longitude = operator.get(born.headers["Location"]).json()["geometry"]["coordinates"][0][0][0]
    assert longitude == pytest.approx(114.0, abs=0.01)
    operator.delete(born.headers["Location"], headers={"If-Match": "*"})


@pytest.mark.parametrize("name", EDITABLE)
def test_a_batch_is_made_whole_or_not_at_all(every_store, operator, name):
    address = f"{every_store.ogc}collections/{name}/transactions"
    edits = [{"action": "create", "feature": new(f"s-batch-{number}")} for number in range(3)]
    refused = operator.post(
        address, json={"transaction": [*edits, {"action": "delete", "id": "nobody", "version": 1}]}
    )
    assert refused.status_code in (404, 412)
    assert refused.json()["edit"] == 3
    assert operator.get(every_store.items(name), params={"bbox": NEW_BOX}).json()["features"] == []
    assert operator.post(address, json={"transaction": edits}).status_code == 200
    made = operator.get(every_store.items(name), params={"bbox": NEW_BOX}).json()["features"]
    assert len(made) == 3
    gone = [
        {"action": "delete", "id": one["id"], "version": _version(operator, every_store, name, one)}
        for one in made
    ]
    assert operator.post(address, json={"transaction": gone}).status_code == 200
    assert operator.get(every_store.items(name), params={"bbox": NEW_BOX}).json()["features"] == []


def _version(operator, every_store, name, feature):
    return operator.get(f"{every_store.items(name)}/{feature['id']}").headers["ETag"]


@pytest.mark.parametrize("name", EDITABLE)
def test_what_does_not_fit_is_told_with_its_field(every_store, operator, name):
    reply = operator.post(every_store.items(name), json=new("s-bad", floors="many"), headers=GEOJSON)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"].endswith("/properties/floors")


def test_a_constraint_of_the_table_is_told(every_store, operator):
    reply = operator.post(every_store.items("postgis"), json=new("s-bad", floors=500), headers=GEOJSON)
    assert reply.status_code == 422, reply.text
    assert "floors" in json.dumps(reply.json()["errors"])


@pytest.mark.parametrize("name", READ_ONLY)
def test_a_store_that_is_only_read(every_store, operator, name):
    items = every_store.items(name)
    one = operator.get(items, params={"limit": "1"}).json()["features"][0]["id"]
    answers = [
        operator.post(items, json=new("s-no"), headers=GEOJSON),
        operator.put(f"{items}/{one}", json=new("s-no"), headers=GEOJSON | {"If-Match": "*"}),
        operator.patch(f"{items}/{one}", json={"properties": {}}, headers=MERGE | {"If-Match": "*"}),
        operator.delete(f"{items}/{one}", headers={"If-Match": "*"}),
    ]
    for reply in answers:
        assert reply.status_code == 405, reply.text
        assert reply.headers["Content-Type"] == "application/problem+json"
        assert "GET" in reply.headers["Allow"]
        assert "PUT" not in reply.headers["Allow"]
    can = operator.options(f"{items}/{one}")
    assert can.status_code in (200, 204)
    assert not {"PUT", "PATCH", "DELETE"} & set(can.headers["Allow"].split(", "))


@pytest.mark.parametrize("name", EDITABLE)
def test_curl_edits_as_the_how_to_says(every_store, run, feature, name):
    address = feature(name)
    head = run("curl", "-sI", address)
    etag = next(line.partition(": ")[2] for line in head.splitlines() if line.lower().startswith("etag"))
    run(
        *("curl", "-sf", "-X", "PATCH", "-H", f"Authorization: Bearer {every_store.token}"),
        *("-H", f"If-Match: {etag}", "-H", "Content-Type: application/merge-patch+json"),
        *("-d", '{"properties": {"height": 21.0, "name": null}}', address),
    )
    shown = json.loads(run("curl", "-sf", address))["properties"]
    assert (shown["height"], shown["name"]) == (21.0, None)


@pytest.fixture
def kept(every_store):
    """Whatever a test does to the sources themselves is undone."""
    folder = every_store.folder / "in_place"
    for name in ("towers.gpkg", "towers.parquet"):
        shutil.copy(folder / name, every_store.folder / f"kept-{name}")
    with psycopg.connect(every_store.database, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS kept")
        connection.execute("CREATE TABLE kept AS SELECT * FROM towers")
        yield
        connection.execute("TRUNCATE towers")
        connection.execute("INSERT INTO towers SELECT * FROM kept")
    for name in ("towers.gpkg", "towers.parquet"):
        (every_store.folder / f"kept-{name}").replace(folder / name)


def seen(every_store, name):
    """Floors by key, as the server shows them now."""
    page = requests.get(every_store.items(name), params={"limit": "100"}, timeout=30).json()
    return {one["properties"]["secret"]: one["properties"]["floors"] for one in page["features"]}


def postgres_source(every_store):
    """The database as `key='value'` pairs, as GDAL and QGIS take them."""
    given = psycopg.conninfo.conninfo_to_dict(every_store.database)
    return " ".join(f"{key}='{value}'" for key, value in given.items())


def test_gdal_edits_at_the_source_and_the_server_shows_it(every_store, run, kept):
    edit = "UPDATE towers SET floors = 88 WHERE secret = 's5'"
    pages = {name: requests.get(every_store.items(name), timeout=30) for name in ("postgis", "ogr")}
    table = f"PG:{postgres_source(every_store)}"
    run("ogrinfo", "-q", table, "-sql", edit)
    file = str(every_store.folder / "in_place" / "towers.gpkg")
    run("ogrinfo", "-q", file, "-sql", edit, allowed=OF_OUR_OWN_FILE)
    for name, page in pages.items():
        assert seen(every_store, name)["s5"] == 88, name
        again = requests.get(page.url, headers={"If-None-Match": page.headers["ETag"]}, timeout=30)
        assert again.status_code == 200, name


def test_a_parquet_file_that_is_replaced_shows_at_once(every_store, kept):
    path = every_store.folder / "in_place" / "towers.parquet"
    assert seen(every_store, "parquet")["s5"] != 88
    table = pq.read_table(path)
    floors = pa.array([88] * len(table), pa.int64())
    changed = table.set_column(table.schema.get_field_index("floors"), "floors", floors)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
    assert set(seen(every_store, "parquet").values()) == {88}


def test_an_edit_at_the_other_server_shows_at_once(every_store):
    """Of a cascaded service nothing is kept: what was edited there is read here."""
    token = (every_store.folder / "far" / "operator.token").read_text().strip()
    bearer = {"Authorization": f"Bearer {token}"}
    address = f"{every_store.far}/t/far/ogc/collections/towers/items/T5"
    floors = requests.get(address, timeout=30).json()["properties"]["floors"]
    for value in (88, floors):
        requests.patch(
            address,
            json={"properties": {"floors": value}},
            headers=bearer | MERGE | {"If-Match": "*"},
            timeout=30,
        ).raise_for_status()
        assert seen(every_store, "features")["s5"] == value


def test_qgis_edits_at_the_source_and_the_server_shows_it(root, every_store, run, kept):
    """QGIS 3.22 edits neither by OGC API - Features nor our WFS; tables and files in place it edits with its own providers."""
    task = {
        "ogc": every_store.ogc,
        "wfs": None,
        "names": [],
        "box": [0, 0, 1, 1],
        "subset": "",
        "postgis": f"{postgres_source(every_store)} key='ident' srid=4547 type=Polygon "
        'table="public"."towers" (geom)',
        "ogr": f"{every_store.folder}/in_place/towers.gpkg|layername=towers",
    }
    script = root / "tests" / "clients" / "qgis_edit_stores.py"
    edited = json.loads(run("/usr/bin/python3", str(script), json.dumps(task), allowed=OF_OUR_OWN_FILE))[
        "edited"
    ]
    assert set(edited) == {"postgis", "ogr"}
    for name, told in edited.items():
        assert told["done"] == [True, True, True, True], told
        floors = seen(every_store, name)
        assert (floors["s2"], floors["s900"], "s3" in floors) == (77, 4, False), name
        boxed = requests.get(every_store.items(name), params={"bbox": NEW_BOX}, timeout=30).json()["features"]
        assert [one["properties"]["secret"] for one in boxed] == ["s900"]
        assert boxed[0]["properties"]["name"] == "新楼"
