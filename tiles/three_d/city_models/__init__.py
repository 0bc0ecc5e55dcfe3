"""City models: readers of CityJSON, CityJSONSeq and CityGML, and the store from which their objects become 3D tiles."""

from __future__ import annotations

from tiles.three_d.city_models.images import ImageLimits
from tiles.three_d.city_models.reading import (
    CityModelFile,
    Imported,
    common_crs,
    import_city_models,
    open_city_model,
)
from tiles.three_d.city_models.store import ModelStore
from tiles.three_d.city_models.store_writer import ModelStoreWriter

__all__ = [
    "CityModelFile",
    "ImageLimits",
    "Imported",
    "ModelStore",
    "ModelStoreWriter",
    "common_crs",
    "import_city_models",
    "open_city_model",
]
