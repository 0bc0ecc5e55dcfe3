"""What headless QGIS sees of a served city, as JSON on standard output. Run by the Python that has QGIS, not by ours:

    QT_QPA_PLATFORM=offscreen /usr/bin/python3 tests/clients/qgis_read.py ADDRESS FOLDER

ADDRESS is that of a tenant; pictures and the GeoPackage FOLDER/buildings.gpkg are written and read in FOLDER.
"""

import json
import sys
from pathlib import Path
from urllib.parse import quote

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsFeatureRequest,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
    QgsVectorTileLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

BOX = QgsRectangle(24.940, 60.168, 24.944, 60.171)
MERCATOR = QgsRectangle(2775900, 8437700, 2776900, 8438700)


def features(layer):
    """Counts and first attributes of a vector layer, and what it gives for a box."""
    every = list(layer.getFeatures())
    inside = list(layer.getFeatures(QgsFeatureRequest().setFilterRect(BOX)))
    first, names = every[0], layer.fields().names()
    return {
        "valid": layer.isValid(),
        "error": layer.error().message(),
        "count": layer.featureCount(),
        "read": len(every),
        "inside": sorted(str(feature["id"]) for feature in inside) if "id" in names else None,
        "crs": layer.crs().authid(),
        "extent": [
            getattr(layer.extent(), side)() for side in ("xMinimum", "yMinimum", "xMaximum", "yMaximum")
        ],
        "geometry": first.geometry().asWkt()[:20],
        "first": {name: str(first[name]) for name in names},
    }


def vector(address, name, options=""):
    """A collection by the provider for OGC API - Features."""
    return QgsVectorLayer(f"url='{address}/ogc/' typename='{name}' {options}", name, "OAPIF")


def raster(url, layer, extra=""):
    """A WMS or WMTS layer."""
    return QgsRasterLayer(
        f"contextualWMSLegend=0&crs=EPSG:3857&dpiMode=7&format=image/png&layers={layer}&styles={extra}&url={url}",
        layer,
        "wms",
    )


def draw(layers, file):
    """Draw the same square kilometre of layers into a PNG."""
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    settings.setExtent(MERCATOR)
    settings.setOutputSize(QSize(500, 500))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(str(file))
    return {
        "valid": all(layer.isValid() for layer in layers),
        "errors": [error.message for error in job.errors()],
    }


def look(address, folder):
    """Everything, by name."""
    wms = f"{address}/maps/service"
    wmts = f"{address}/maps/wmts/1.0.0/WMTSCapabilities.xml"
    template = f"{address}/ogc/collections/streets/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}?f=mvt"
    buildings = vector(address, "buildings", "restrictToRequestBBOX='1'")
    tiles = QgsVectorTileLayer(f"type=xyz&url={quote(template, safe=':/{}')}&zmin=11&zmax=16", "streets")
    download = QgsVectorLayer(f"{folder}/buildings.gpkg|layername=feature", "download", "ogr")
    return {
        "version": Qgis.QGIS_VERSION,
        "buildings": features(buildings),
        "pipes": features(vector(address, "pipes")),
        "survey": features(vector(address, "survey-cgcs2000", "pageSize='25'")),
        "download": features(download),
        "pictures": {
            "features": draw([buildings], folder / "features.png"),
            "wms": draw([raster(wms, "ortho")], folder / "wms.png"),
            "wmts": draw(
                [raster(wmts, "ortho", "default&tileMatrixSet=WebMercatorQuad")], folder / "wmts.png"
            ),
            "vector_tiles": draw([tiles], folder / "vector_tiles.png"),
            "together": draw(
                [vector(address, "pipes"), tiles, buildings, raster(wms, "ortho")], folder / "together.png"
            ),
        },
    }


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    print(json.dumps(look(sys.argv[1], Path(sys.argv[2]))))
    sys.stdout.flush()
    application.exitQgis()
