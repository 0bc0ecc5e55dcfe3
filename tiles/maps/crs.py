"""`tiles.crs` under the name by which maps know it."""

from tiles.crs import mapnik_definition, metres_per_unit, parse_crs, transformer

__all__ = ["mapnik_definition", "metres_per_unit", "parse_crs", "transformer"]
