"""GeoParquet files read in place by DuckDB, as a `FeatureSource`."""

from providers.features.in_place import SourceFacts
from providers.features.parquet.source import ParquetSource, describe_parquet, open_parquet

__all__ = ["ParquetSource", "SourceFacts", "describe_parquet", "open_parquet"]
