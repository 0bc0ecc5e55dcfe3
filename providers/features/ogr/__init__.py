"""Vector files read in place by fiona, as a `FeatureSource`."""

from providers.features.in_place import SourceFacts
from providers.features.ogr.source import OgrSource, describe_ogr, layers_of, open_ogr

__all__ = ["OgrSource", "SourceFacts", "describe_ogr", "layers_of", "open_ogr"]
