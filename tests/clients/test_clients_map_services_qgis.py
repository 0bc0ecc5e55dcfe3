"""QGIS on WMS and WMTS: styles, times, legends, a grid of CGCS2000."""

import json

import pytest
from owslib.wms import WebMapService

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def seen(root, block, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("qgis_services")
    script = root / "tests" / "clients" / "qgis_map_services.py"
    maps = f"{block}/t/beijing/maps"
    [times] = WebMapService(f"{maps}/service", version="1.3.0")["blocks"].timepositions
    return json.loads(run("/usr/bin/python3", str(script), maps, str(folder), times))


@pytest.mark.parametrize("name", ["polygon", "any", "wmts", "cgcs2000", "time"])
def test_it_draws(seen, name):
    assert seen[name]["valid"]
    assert seen[name]["errors"] == []
    assert seen[name]["dark"] > 50


def test_a_time_shows_one_building_of_three(seen):
    assert seen["time"]["dark"] < 0.6 * seen["polygon"]["dark"]


def test_wmts_shows_what_wms_shows(seen):
    for name in ("wmts", "cgcs2000"):
        assert 0.5 < seen[name]["dark"] / seen["polygon"]["dark"] < 2


def test_the_time_dimension_is_understood(seen):
    assert seen["range"] == [2001, 2003]


def test_the_legend_is_fetched(seen):
    assert min(seen["legend"]) > 10
