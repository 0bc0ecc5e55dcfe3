"""The settings classes. Their defaults are the server's; config/defaults.yml and docs/reference/settings.md repeat them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from server.settings.rules import boolean, choice, integer, path, paths, secrets, text, texts

INSTALLATION = Path(__file__).resolve().parents[2]
"""The folder that holds the four packages: the checkout, or site-packages."""

_HOST = r"[A-Za-z0-9_.:-]{1,253}"
_PUBLIC_URL = r"https?://[A-Za-z0-9.-]{1,253}(:\d{1,5})?(/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?"
_REGISTRY_URL = r"sqlite:///.+|postgresql(\+psycopg)?://.+"
_CONNECTION = r"postgres(ql)?://[^\x00-\x20]{1,1000}|[^\x00-\x1f]{1,1000}"
_REDIS_URL = r"rediss?://[^\x00-\x20]{1,1000}"
_S3_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]{1,200})?"
_GIBIBYTE = 1024**3
_MEBIBYTE = 1024**2


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The web server: where it listens and with how many processes."""

    host: str = field(
        default="127.0.0.1", metadata=text("address to listen on", _HOST, "a host name or an IP address")
    )
    port: int = field(default=8000, metadata=integer("TCP port to listen on", 1, 65535))
    workers: int = field(default=2, metadata=integer("processes that answer requests", 1, 256))
    blocking_threads: int = field(
        default=32, metadata=integer("threads of a process that answer requests", 1, 256)
    )
    public_url: str | None = field(
        default=None,
        metadata=text(
            "address under which clients reach the server, for links; without it links follow the Host header",
            _PUBLIC_URL,
            "a URL such as https://data.example.org/city, without a slash at its end",
        ),
    )
    log_level: str = field(
        default="info", metadata=choice("how much is logged", "debug", "info", "warning", "error", "critical")
    )
    stop_seconds: int = field(
        default=10, metadata=integer("time that requests under way have to end when the server stops", 1, 600)
    )


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Where the data are."""

    home: Path | None = field(
        default=None, metadata=path("folder of all data; without it `data` in the working directory")
    )
    registry_url: str | None = field(
        default=None,
        metadata=text(
            "database of the registry; without it registry.sqlite in the home folder",
            _REGISTRY_URL,
            "sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
            secret=True,
        ),
        repr=False,
    )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What one request may ask for."""

    items_default: int = field(
        default=10, metadata=integer("items of a page where `limit` is not given", 1, 1_000_000)
    )
    items_max: int = field(default=10_000, metadata=integer("largest `limit` of items", 1, 1_000_000))
    collections_default: int = field(
        default=100, metadata=integer("collections of a page where `limit` is not given", 1, 100_000)
    )
    collections_max: int = field(
        default=1_000, metadata=integer("largest `limit` of collections", 1, 100_000)
    )
    request_body_bytes: int = field(
        default=10 * _MEBIBYTE, metadata=integer("largest request body", 1_024, 10 * _GIBIBYTE)
    )
    map_pixels: int = field(
        default=16_777_216, metadata=integer("width times height of a map image", 65_536, 268_435_456)
    )


@dataclass(frozen=True, slots=True)
class SourcesSettings:
    """What `chengtu register` may serve in place: databases, files, remote services."""

    connections: Mapping[str, str] = field(
        default_factory=dict,
        metadata=secrets(
            "databases and credentials of remote services by name",
            _CONNECTION,
            "postgresql://USER:PASSWORD@HOST/DATABASE, or Bearer TOKEN or USER:PASSWORD for a service",
        ),
        repr=False,
    )
    file_roots: tuple[Path, ...] = field(
        default=(), metadata=paths("folders whose vector files may be served in place")
    )
    outgoing: bool = field(default=True, metadata=boolean("whether remote services may be asked at all"))
    allowed_hosts: tuple[str, ...] = field(
        default=(),
        metadata=texts(
            "remote services on private addresses that may be asked all the same", _HOST, "HOST or HOST:PORT"
        ),
    )
    timeout_seconds: int = field(
        default=10, metadata=integer("time that a remote service has for one answer", 1, 600)
    )


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """What one publish may use, and what is kept."""

    max_uncompressed_bytes: int = field(
        default=20 * _GIBIBYTE, metadata=integer("size of an archive's unpacked content", _MEBIBYTE)
    )
    max_compression_ratio: int = field(
        default=200, metadata=integer("unpacked size over packed size of an archive", 2, 100_000)
    )
    max_archive_files: int = field(default=10_000, metadata=integer("files in an archive", 1, 10_000_000))
    keep_generations: int = field(
        default=3, metadata=integer("generations of a collection kept for `chengtu restore`", 1, 1_000)
    )


@dataclass(frozen=True, slots=True)
class PointSettings:
    """Point clouds: what building them may use, what one request may ask, and where PDAL is."""

    build_memory_bytes: int = field(
        default=_GIBIBYTE,
        metadata=integer("memory of all processes that build one point cloud", 256 * _MEBIBYTE),
    )
    build_processes: int = field(
        default=0, metadata=integer("processes that build one point cloud; 0: one a core", 0, 256)
    )
    leaf_points: int = field(
        default=100_000,
        metadata=integer("points that a node of the octree may hold undivided", 1_000, 1_000_000),
    )
    grid_depth: int = field(
        default=6,
        metadata=integer(
            "cells along an edge in which a divided node shows one point each, as a power of two: 6 are 64 cells",
            5,
            7,
        ),
    )
    request_points: int = field(
        default=50_000_000, metadata=integer("points that one download may read", 1_000)
    )
    geojson_points: int = field(
        default=10_000, metadata=integer("points of one page of GeoJSON", 100, 1_000_000)
    )
    node_cache_bytes: int = field(
        default=64 * _MEBIBYTE, metadata=integer("memory of a process for decoded nodes; 0: none", 0)
    )
    pdal: str = field(
        default="pdal",
        metadata=text(
            "the PDAL command, by name or path", r"[A-Za-z0-9_./-]{1,500}", "a command's name or path"
        ),
    )
    pdal_seconds: int = field(default=600, metadata=integer("time that one pipeline has", 1, 86_400))
    pdal_memory_bytes: int = field(
        default=4 * _GIBIBYTE, metadata=integer("address space that one pipeline has", 256 * _MEBIBYTE)
    )


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Where made tiles are kept, how much of them, and how many are made at one time."""

    store: str = field(
        default="files",
        metadata=choice("what keeps tiles", "files", "mbtiles", "geopackage", "redis", "s3"),
    )
    directory: Path | None = field(
        default=None, metadata=path("folder of kept tiles; without it cache/tiles in the home folder")
    )
    public_directory: Path | None = field(
        default=None,
        metadata=path(
            "folder of links to the tiles of public collections, for a web server in front; without it cache/public in the home "
            "folder"
        ),
    )
    max_bytes: int = field(
        default=0,
        metadata=integer("size of the store; the tiles longest not used go first; 0 for no limit", 0),
    )
    memory_bytes: int = field(
        default=64 * _MEBIBYTE, metadata=integer("tiles that each process keeps in memory", 0, 64 * _GIBIBYTE)
    )
    redis_url: str | None = field(
        default=None,
        metadata=text(
            "Redis server of `store: redis`",
            _REDIS_URL,
            "redis://HOST:PORT/NUMBER, with USER:PASSWORD@ if needed",
            secret=True,
        ),
        repr=False,
    )
    s3_bucket: str | None = field(
        default=None,
        metadata=text(
            "bucket of `store: s3`, with a prefix if wanted", _S3_BUCKET, "BUCKET or BUCKET/PREFIX"
        ),
    )
    s3_endpoint: str | None = field(
        default=None,
        metadata=text(
            "S3-compatible server; without it that of Amazon",
            _PUBLIC_URL,
            "a URL such as https://s3.example.org",
        ),
    )
    s3_region: str = field(
        default="us-east-1", metadata=text("region of the bucket", r"[A-Za-z0-9-]{1,63}", "a region's name")
    )
    s3_access_key: str | None = field(
        default=None, metadata=text("access key of the bucket", secret=True), repr=False
    )
    s3_secret_key: str | None = field(
        default=None, metadata=text("secret key of the bucket", secret=True), repr=False
    )
    stale_seconds: int = field(
        default=0,
        metadata=integer(
            "time for which a public tile that an edit touched may still be shown while it is made anew; 0 for never",
            0,
            86_400,
        ),
    )
    public_seconds: int = field(
        default=0,
        metadata=integer(
            "time for which clients and proxies may use a public tile without asking again; 0 lets them ask each time",
            0,
            31_536_000,
        ),
    )
    renderings: int = field(
        default=2, metadata=integer("tiles and maps that each process makes at one time", 1, 256)
    )
    waiting: int = field(
        default=32,
        metadata=integer("requests of each process that may wait for a tile being made", 0, 10_000),
    )


@dataclass(frozen=True, slots=True)
class MapSettings:
    """How maps are drawn."""

    styles_directory: Path | None = field(
        default=None, metadata=path("folder of map styles; without it config/styles of the installation")
    )
    tile_matrix_sets_directory: Path | None = field(
        default=None,
        metadata=path(
            "folder of tile matrix sets of your own, as JSON (OGC 17-083r4); without it there are none"
        ),
    )


@dataclass(frozen=True, slots=True)
class PageSettings:
    """The portal."""

    vendor_directory: Path | None = field(
        default=None,
        metadata=path(
            "folder of the npm packages that pages load; without it node_modules of the installation"
        ),
    )
    title_en: str = field(default="Chengtu city data", metadata=text("name of the portal in English"))
    title_zh: str = field(default="城图 城市数据", metadata=text("name of the portal in Chinese"))


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one server. `load_settings` makes them; `data.home` is then always an absolute path."""

    server: ServerSettings = field(default_factory=ServerSettings)
    data: DataSettings = field(default_factory=DataSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    sources: SourcesSettings = field(default_factory=SourcesSettings)
    publish: PublishSettings = field(default_factory=PublishSettings)
    points: PointSettings = field(default_factory=PointSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    maps: MapSettings = field(default_factory=MapSettings)
    pages: PageSettings = field(default_factory=PageSettings)

    @property
    def home(self) -> Path:
        """The data home, absolute."""
        return self.data.home if self.data.home is not None else Path("data").absolute()

    @property
    def registry_url(self) -> str:
        """The registry's database, in SQLAlchemy's form."""
        if self.data.registry_url is None:
            return f"sqlite:///{self.home / 'registry.sqlite'}"
        return self.data.registry_url.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def tile_cache_directory(self) -> Path:
        """Folder of kept tiles."""
        return self.cache.directory or self.home / "cache" / "tiles"

    @property
    def public_tiles_directory(self) -> Path:
        """Folder of links to the tiles of public collections."""
        return self.cache.public_directory or self.home / "cache" / "public"

    @property
    def styles_directory(self) -> Path:
        """Folder of map styles; it may not exist where the server was installed without its configuration."""
        return self.maps.styles_directory or INSTALLATION / "config" / "styles"

    @property
    def vendor_directory(self) -> Path | None:
        """Folder of npm packages, None where there is none: pages then work, maps and scenes in them do not."""
        folder = self.pages.vendor_directory or INSTALLATION / "node_modules"
        return folder if folder.is_dir() else None


SECTIONS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "server": ServerSettings,
        "data": DataSettings,
        "limits": LimitSettings,
        "sources": SourcesSettings,
        "publish": PublishSettings,
        "points": PointSettings,
        "cache": CacheSettings,
        "maps": MapSettings,
        "pages": PageSettings,
    }
)
"""The class of each section; the fields of `Settings` are these."""
