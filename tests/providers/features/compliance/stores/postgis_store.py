"""A PostGIS table in a database of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
import shapely
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from providers.features.postgis import open_postgis
from providers.features.source import FeatureSource
from providers.features.sources import SourceSettings

NAME = "postgis"
_DATABASE = "chengtu_compliance"
_TYPES = {
    ("string", None): "text",
    ("string", "date"): "date",
    ("string", "date-time"): "timestamptz",
    ("integer", None): "bigint",
    ("number", None): "double precision",
    ("boolean", None): "boolean",
}


def build(sample: Any, folder: Path, request: pytest.FixtureRequest) -> FeatureSource:
    """The sample as a table with a text key."""
    server = conninfo_to_dict(request.getfixturevalue("postgresql_server").replace("+psycopg", ""))
    with psycopg.connect(make_conninfo(**server), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {_DATABASE} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {_DATABASE}".encode())
    given = make_conninfo(**{**server, "dbname": _DATABASE})
    columns = ", ".join(f"{field.name} {_TYPES[field.type, field.format]}" for field in sample.fields)
    marks = ", ".join(["%s"] * len(sample.fields))
    with psycopg.connect(given) as connection:
        connection.execute("CREATE EXTENSION postgis")
        connection.execute(
            f"CREATE TABLE sample (feature text PRIMARY KEY, {columns}, geom geometry(Geometry, 4326))".encode()
        )
        values = [sample.columns[field.name] for field in sample.fields]
        rows = list(zip(sample.ids, *values, map(shapely.to_wkb, sample.geometries), strict=True))
        insert = f"INSERT INTO sample VALUES (%s, {marks}, ST_GeomFromWKB(%s, 4326))"
        connection.cursor().executemany(insert.encode(), rows)
        connection.execute("CREATE INDEX ON sample USING gist (geom)")
    description = {
        "store": "postgis",
        "connection": "compliance",
        "table": "sample",
        "time": sample.time_field,
    }
    return open_postgis(description, SourceSettings(connections={"compliance": given}))
