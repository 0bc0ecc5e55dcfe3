"""A served city for real clients: the whole demo, or one small block; and what the registry says of it."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from providers.features.postgis import close_pools
from server.publish import PublishRequest, ReadingOptions, publish
from server.publish.point_cloud_options import PointCloudOptions
from server.publish.registering import RegisterRequest, register
from server.registry.catalogue import Collection
from server.registry.reader import open_catalogue_reader
from server.registry.registry import open_registry
from server.settings import load_settings

BUILT_WITHIN = 420  # seconds for the demo city from nothing, on two busy cores
LEAF_POINTS = 30_000  # of the point clouds
PROGRAM_WITHIN = 180  # seconds for one run of a client's program


@dataclass(frozen=True)
class Served:
    """A running server: its address without a slash at the end, and the data home it serves."""

    address: str
    home: Path | None


def free_port() -> int:
    """A TCP port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until /health/ready answers 200; fails with the end of the server's log."""
    deadline = time.monotonic() + BUILT_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(f"{address}/health/ready", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.3)
    pytest.fail(f"the city did not come up:\n{log.read_text(errors='replace')[-3000:]}")


@contextmanager
def running(command: str, home: Path, *options: str) -> Iterator[Served]:
    """`chengtu COMMAND` on a free port, until left."""
    log, port = home.with_suffix(".log"), free_port()
    arguments = [str(Path(sys.executable).parent / "chengtu"), command, "--home", str(home)]
    arguments += ["--port", str(port), "--workers", "1", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, env=stores.environment(), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log)
            yield Served(f"http://127.0.0.1:{port}", home)
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The demo city, served: CHENGTU_CITY (and its home CHENGTU_CITY_HOME) where one runs already, else our own."""
    given, home = os.environ.get("CHENGTU_CITY"), os.environ.get("CHENGTU_CITY_HOME")
    if given:
        yield Served(given.rstrip("/"), Path(home) if home else None)
        return
    with running("demo", tmp_path_factory.mktemp("city") / "home") as served:
        yield served


@pytest.fixture(scope="session")
def city(demo: Served) -> str:
    """The address of the served demo city."""
    return demo.address


@pytest.fixture(scope="session")
def helsinki(city: str) -> str:
    """The address of the tenant helsinki."""
    return f"{city}/t/helsinki"


@pytest.fixture(scope="session")
def published(demo: Served) -> Mapping[str, Collection]:
    """Collections by their qualified id, as the registry has them."""
    assert demo.home is not None, "say the data home of CHENGTU_CITY in CHENGTU_CITY_HOME"
    reader = open_catalogue_reader(load_settings((), {}, {"data.home": demo.home}))
    try:
        return {one.qualified_id: one for one in reader.current().collections.values()}
    finally:
        reader.close()


@pytest.fixture(scope="session")
def block(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a served city of one collection, `beijing.blocks`: three squares, two of them named in Chinese."""
    home = tmp_path_factory.mktemp("block") / "home"
    settings = load_settings((), {}, {"data.home": home})
    with open_registry(settings) as registry:
        registry.add_tenant("beijing", "Beijing", "北京")
        request = PublishRequest(
            files=(root / "tests" / "data" / "blocks.geojson",),
            tenant="beijing",
            id="blocks",
            titles={"en": "Blocks", "zh": "街区"},
            attribution="© the makers of this test",
            reading=ReadingOptions(time_field="built"),
        )
        publish(request, registry, settings)
    with running("serve", home) as served:
        yield served.address


@pytest.fixture(scope="session")
def http() -> Iterator[requests.Session]:
    """A session that keeps its connections."""
    with requests.Session() as session:
        yield session


type Fetch = Callable[..., Any]


@pytest.fixture(scope="session")
def fetch_json(http: requests.Session) -> Fetch:
    """`fetch_json(url, **parameters)`: the document of an answer that must be 200."""

    def fetch(url: str, **parameters: str) -> Any:
        reply = http.get(url, params=parameters, timeout=60)
        assert reply.status_code == 200, f"{reply.status_code} {reply.url}: {reply.text[:500]}"
        return reply.json()

    return fetch


type Run = Callable[..., str]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`run("ogrinfo", "-q", ...)`: a program's standard output. It must succeed, and its standard error must be empty
    but for what the keyword `allowed` says is known.
    """
    folder = tmp_path_factory.mktemp("programs")
    folder.chmod(0o700)
    homes = dict.fromkeys(
        ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"), str(folder)
    )
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "QT_QPA_PLATFORM": "offscreen",
        "GDAL_PAM_ENABLED": "NO",
        **homes,
    }

    def ran(*command: str, allowed: tuple[str, ...] = ()) -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PROGRAM_WITHIN,
            check=False,
        )
        said = [line for line in done.stderr.splitlines() if line and not any(one in line for one in allowed)]
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout[-2000:]}"
        assert said == [], f"{command}: {said}"
        return done.stdout

    return ran


type Look = Callable[[bytes | Path], Any]


@pytest.fixture(scope="session")
def look() -> Look:
    """The pixels (rows, columns, 4) uint8 of an image, which must not be of one colour."""

    def looked(image: bytes | Path) -> Any:
        source = io.BytesIO(image) if isinstance(image, bytes) else image
        with Image.open(source) as opened:
            pixels = np.asarray(opened.convert("RGBA"))
        colours = np.unique(pixels.reshape(-1, 4), axis=0)
        assert len(colours) > 4, f"an image of {pixels.shape} has only the colours {colours.tolist()}"
        return pixels

    return looked


def _beside(name: str) -> Any:
    """A module of helpers in this folder: tests are no packages."""
    spec = importlib.util.spec_from_file_location(f"clients_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look their names up
    spec.loader.exec_module(module)
    return module


stores = _beside("every_store")
maps = _beside("every_map")
scenes = _beside("every_scene")
clouds = _beside("every_point")
cesium_pages = _beside("cesium_page")


@pytest.fixture(scope="session")
def browser(chromium_flags: list[str]) -> Iterator[Browser]:
    """Chromium, without a screen."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=chromium_flags)
        yield launched
        launched.close()


def _published_scenes(folder: Path, only: tuple[str, ...] = ()) -> tuple[Path, dict[str, Any]]:
    """The collections of `every_scene` (or those of `only`) in a home of their own; the home, and the collections."""
    settings = load_settings((), {}, {"data.home": folder / "home"})
    with open_registry(settings) as registry:
        registry.add_tenant(scenes.TENANT, "Scene", "场景")

        def one(name: str, *files: Path, scene: Any, **reading: Any) -> Any:
            request = PublishRequest(
                files=files,
                tenant=scenes.TENANT,
                id=name,
                titles={"en": name, "zh": name},
                attribution="© the makers of this test",
                reading=ReadingOptions(**reading),
                scene=scene,
            )
            result = publish(request, registry, settings)
            said = [text for text in result.warnings if "not in the 3D tileset" in text]
            assert said == [], name
            return result.collection

        return settings.home, scenes.publish_all(folder, one, only)


@pytest.fixture(scope="session")
def few_scenes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """Some collections of `every_scene`, published and not served."""
    return _published_scenes(tmp_path_factory.mktemp("few_scenes"), ("parts", "pipes", "signs", "city"))[1]


@pytest.fixture(scope="session")
def every_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A `SceneCity`: a three-dimensional collection of every kind, served."""
    home, collections = _published_scenes(tmp_path_factory.mktemp("every_scene"))
    with running("serve", home) as served:
        token = (home / "operator.token").read_text().strip()
        yield scenes.SceneCity(served.address, home, token, collections)


@contextmanager
def _served_clouds(folder: Path, sample: Path | None) -> Iterator[Any]:
    """A `PointCity` of the clouds of `every_point`."""
    # Nodes small enough for a tree in each cloud: of an EPT by HTTP QGIS 3.40 never draws the root.
    settings = load_settings((), {}, {"data.home": folder / "home", "points.leaf_points": LEAF_POINTS})
    with open_registry(settings) as registry:
        registry.add_tenant(clouds.TENANT, "Points", "点云")

        def one(name: str, *files: Path, crs: str | None = None, mosaic: bool | None = None) -> None:
            request = PublishRequest(
                files=files,
                tenant=clouds.TENANT,
                id=name,
                titles={"en": name, "zh": name},
                attribution="© the makers of this test",
                reading=ReadingOptions(crs=crs),
                points=PointCloudOptions(mosaic=mosaic),
            )
            publish(request, registry, settings)

        classes = clouds.publish_all(folder, sample, one)
    with running("serve", folder / "home") as served:
        yield clouds.PointCity(served.address, classes)


@pytest.fixture(scope="session")
def few_clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A `PointCity` of the made scan, as one file and as a mosaic."""
    with _served_clouds(tmp_path_factory.mktemp("few_clouds"), None) as city:
        yield city


@pytest.fixture(scope="session")
def every_cloud(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Any]:
    """A `PointCity` of all, the real ones too where the sample data are here."""
    sample = root.parent / "shared" / "data"
    with _served_clouds(tmp_path_factory.mktemp("clouds"), sample if sample.is_dir() else None) as city:
        yield city


@pytest.fixture(scope="session", name="cesium_pages")
def _cesium_pages() -> Any:
    """The module `cesium_page`."""
    return cesium_pages


@pytest.fixture(scope="session", name="clouds")
def _clouds() -> Any:
    """The module `every_point`."""
    return clouds


@pytest.fixture
def cesium(browser: Browser, every_scene: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A `CesiumPage` on the city of every kind. With CHENGTU_PICTURES its last picture is kept there."""
    with cesium_pages.cesium_page(browser, every_scene.address, scenes.TENANT) as page:
        yield page
        folder = os.environ.get("CHENGTU_PICTURES")
        if folder and page.page.locator("#globe canvas").count():
            page.page.locator("#globe canvas").screenshot(
                path=f"{folder}/{request.node.name.replace('/', '-')}.png"
            )


@pytest.fixture(scope="session")
def every_store(postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An `EveryStore`: the same towers embedded, in PostGIS, in files in place, and behind three kinds of service."""
    folder, services = tmp_path_factory.mktemp("every_store"), stores.remote_services()
    towers = services.City()
    with ExitStack() as ending:
        remotes = _remote_towers(ending, services, towers, folder)
        connection = stores.write_table(towers, postgresql_server)
        places = {
            "postgis": ("postgis:works/public.towers",),
            "parquet": (f"parquet:{folder}/in_place/towers.parquet", "--id-field", "ident"),
            "ogr": (f"ogr:{folder}/in_place/towers.gpkg", "--layer", "towers", "--id-field", "ident"),
            "features": (f"features:{remotes['chengtu']}/t/far/ogc", "--layer", "towers"),
            "wfs": (f"wfs:{remotes['mapserver']}", "--layer", "towers"),
            "arcgis": (f"arcgis:{remotes['arcgis']}/arcgis/rest/services/City/FeatureServer", "--layer", "0"),
        }
        config = stores.settings_file(
            folder / "settings.yml",
            folder / "home",
            connections={"works": connection},
            file_roots=[str(folder / "in_place")],
            allowed_hosts=[stores.host_of(address) for address in remotes.values()],
        )
        stores.publish_towers(config, folder / "towers.geojson", "stores", "embedded")
        for name, (source, *options) in places.items():
            with_time = () if name == "arcgis" else ("--time-field", "updated")
            stores.register_towers(config, name, source, (*options, *with_time))
        names = ("embedded", *places)
        served = _served_stores(ending, config, folder, names, towers, connection)
        yield replace(served, far=remotes["chengtu"])


@pytest.fixture(scope="session")
def two_stores(postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An `EveryStore` of only the two that can be edited, made without a process for each command."""
    folder = tmp_path_factory.mktemp("two_stores")
    towers = stores.remote_services().City()
    connection = stores.write_table(towers, postgresql_server, "chengtu_clients_sample")
    config = stores.settings_file(folder / "settings.yml", folder / "home", connections={"works": connection})
    settings = load_settings((config,), {}, {})
    stores.write_geojson(towers, folder / "towers.geojson")
    common: dict[str, Any] = {"tenant": "stores", "titles": {"en": "Towers", "zh": "楼"}}
    with open_registry(settings) as registry:
        registry.add_tenant("stores", "Stores")
        reading = ReadingOptions(id_field="ident", time_field="updated")
        files = (folder / "towers.geojson",)
        publish(PublishRequest(files=files, id="embedded", reading=reading, **common), registry, settings)
        source = "postgis:works/public.towers"
        register(
            RegisterRequest(source=source, id="postgis", time_field="updated", **common), registry, settings
        )
    close_pools()  # the server opens its own; none of ours outlives the cluster
    with ExitStack() as ending:
        yield _served_stores(ending, config, folder, ("embedded", "postgis"), towers, connection)


def _remote_towers(ending: ExitStack, services: Any, towers: Any, folder: Path) -> dict[str, str]:
    """Starts the other servers; their addresses by name."""
    if shutil.which("mapserv") is None:
        pytest.fail("MapServer is not here; install the packages of scripts/packages.txt")
    stores.write_in_place(towers, folder / "in_place")
    stores.write_geojson(towers, folder / "towers.geojson")
    towers.write(folder / "far.gpkg")
    config = stores.settings_file(folder / "far.yml", folder / "far")
    stores.publish_towers(config, folder / "towers.geojson", "far", "towers")
    far = ending.enter_context(running("serve", folder / "far", "--config", str(config)))
    addresses = {"chengtu": far.address}
    applications = {
        "mapserver": stores.mapserver(folder / "far.gpkg", folder),
        "arcgis": services.ArcgisServer(towers),
    }
    for name, application in applications.items():
        addresses[name], end = services.started(application)
        ending.callback(end)
    return addresses


def _served_stores(
    ending: ExitStack,
    config: Path,
    folder: Path,
    names: tuple[str, ...],
    towers: Any,
    connection: str,
) -> Any:
    served = ending.enter_context(
        running("serve", folder / "home", "--config", str(config), "--workers", "2")
    )
    recorder = stores.Recorder(stores.port_of(served.address))
    ending.callback(recorder.end)
    address = f"http://127.0.0.1:{recorder.server_port}"
    token = (folder / "home" / "operator.token").read_text().strip()
    return stores.EveryStore(address, token, recorder, names, towers, folder, connection)


def _published_maps(config: Path, folder: Path, blocks: Path) -> None:
    """The collections of `every_map`, published in this process."""
    settings = load_settings((config,), {}, {})
    with open_registry(settings) as registry:
        registry.add_tenant(maps.TENANT, "Maps", "地图")

        def one(name: str, *files: Path, title: str, zh: str, **reading: Any) -> None:
            request = PublishRequest(
                files=files,
                tenant=maps.TENANT,
                id=name,
                titles={"en": title, "zh": zh},
                attribution="© the makers of this test",
                reading=ReadingOptions(**reading),
            )
            publish(request, registry, settings)

        maps.publish_city(folder, one, blocks)


def _served_maps(ending: ExitStack, config: Path, home: Path, **others: Any) -> Any:
    served = ending.enter_context(running("serve", home, "--config", str(config)))
    return maps.MapCity(served.address, home, (home / "operator.token").read_text().strip(), **others)


@pytest.fixture(scope="session")
def few_maps(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A `MapCity` of the collections that need no other server."""
    folder = tmp_path_factory.mktemp("few_maps")
    config = stores.settings_file(folder / "settings.yml", folder / "home")
    _published_maps(config, folder, root / "tests" / "data" / "blocks.geojson")
    with ExitStack() as ending:
        yield _served_maps(ending, config, folder / "home")


@pytest.fixture(scope="session")
def every_map(root: Path, postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A `MapCity` with a PostGIS table too, and maps of MapServer (WMS) and of a second Chengtu (WMTS, XYZ)."""
    folder, far_folder = tmp_path_factory.mktemp("every_map"), tmp_path_factory.mktemp("far_maps")
    blocks = root / "tests" / "data" / "blocks.geojson"
    far_config = stores.settings_file(far_folder / "settings.yml", far_folder / "home")
    _published_maps(far_config, far_folder, blocks)
    towers = stores.remote_services().City()
    connection = stores.write_table(towers, postgresql_server, "chengtu_clients_maps")
    with ExitStack() as ending:
        far = _served_maps(ending, far_config, far_folder / "home")
        mapfile = maps.write_mapfile(far_folder / "photo.tif", folder)
        wms, end = stores.remote_services().started(stores.mapserver_of(mapfile, folder))
        ending.callback(end)
        config = stores.settings_file(
            folder / "settings.yml",
            folder / "home",
            connections={"works": connection},
            allowed_hosts=[stores.host_of(address) for address in (far.address, wms)],
        )
        _published_maps(config, folder, blocks)
        places = {
            "towers": ("postgis:works/public.towers", "--time-field", "updated"),
            "far-wms": (f"wms:{wms}#photo",),
            "far-wmts": (f"wmts:{far.maps}/wmts/1.0.0/WMTSCapabilities.xml#photo",),
            "far-xyz": maps.xyz_of(far),
        }
        for name, (source, *options) in places.items():
            common = ("--tenant", maps.TENANT, "--id", name, "--title", name)
            stores.chengtu("register", source, *common, *options, config=config)
        cascades = tuple(name for name in places if name != "towers")
        yield _served_maps(ending, config, folder / "home", cascades=cascades, far=far.address, towers=towers)
