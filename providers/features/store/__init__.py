"""The embedded feature store: one SQLite file that is a GeoPackage and holds encoded GeoJSON beside it.

`FeatureStoreWriter` builds a file, `open_store` gives the reader of one.
"""

from providers.features.source import FeatureColumns, FeaturePage, ItemResult
from providers.features.store.handles import close_stores, open_store
from providers.features.store.reader import FeatureStore
from providers.features.store.writer import FeatureStoreWriter, StoreSummary

__all__ = [
    "FeatureColumns",
    "FeaturePage",
    "FeatureStore",
    "FeatureStoreWriter",
    "ItemResult",
    "StoreSummary",
    "close_stores",
    "open_store",
]
