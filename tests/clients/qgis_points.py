"""What QGIS sees of point clouds, as JSON on standard output. Run by a Python that has QGIS, 3.22 or later:

    xvfb-run -a python3 qgis_points.py ORDER

ORDER is a JSON file: {"folder": where pictures go, "clouds": {name: [provider, address]}, "scenes": {name: address of a tileset}}. Each
layer is drawn by itself from above, in its own CRS: clouds in the colours of their points, tilesets as they are. Of a virtual cloud its middle
is drawn: wider than one of its files QGIS shows their outlines.
"""

import json
import os
import sys
import time
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsContrastEnhancement,
    QgsCoordinateReferenceSystem,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsPointCloudLayer,
    QgsPointCloudRgbRenderer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

SIDE = 400
WITHIN = 10  # seconds for the index, and for the statistics, of a layer


def draw(layer, crs, file, part=1.02):
    """Draw a layer into a PNG of the middle of its extent, `part` of its sides; gives what is shown (west, south, east, north)."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(crs)
    extent = settings.layerExtentToOutputExtent(layer, layer.extent())
    extent.scale(part)
    settings.setExtent(extent)
    settings.setOutputSize(QSize(SIDE, SIDE))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(str(file))
    shown = settings.visibleExtent()
    return {
        "extent": [shown.xMinimum(), shown.yMinimum(), shown.xMaximum(), shown.yMaximum()],
        "errors": [error.message for error in job.errors()],
    }


def classes_of(layer):
    """Points of each class, of those that QGIS samples (up to a million: all of a small cloud); None where it counts none."""
    if not hasattr(layer, "statistics"):
        return None
    until = time.monotonic() + WITHIN
    layer.statistics()
    done = QgsPointCloudLayer.PointCloudStatisticsCalculationState.Calculated
    while layer.statisticsCalculationState() != done and time.monotonic() < until:
        QgsApplication.processEvents()
        time.sleep(0.05)
    found = layer.statistics()
    # Python is given the classes without their counts; the text in which QGIS keeps its statistics has both.
    counted = json.loads(bytes(found.toStatisticsJson()))["stats"]
    counted = counted.get("Classification", {}).get("class-count", {})
    return {
        "sampled": found.sampledPointsCount(),
        "classes": {str(int(float(code))): int(count) for code, count in counted.items()},
    }


def sixteen_bits():
    """Colours of LAS as colours of a screen."""
    stretch = QgsContrastEnhancement(Qgis.UInt16)
    stretch.setMinimumValue(0)
    stretch.setMaximumValue(65535)
    stretch.setContrastEnhancementAlgorithm(QgsContrastEnhancement.StretchToMinimumMaximum)
    return stretch


def cloud(provider, address, name, folder):
    """A point cloud layer."""
    layer = QgsPointCloudLayer(address, name, provider)
    seen = {"valid": layer.isValid(), "error": layer.error().message()}
    if not layer.isValid():
        return seen
    until = time.monotonic() + WITHIN
    while layer.dataProvider().indexingState() != layer.dataProvider().Indexed and time.monotonic() < until:
        QgsApplication.processEvents()
        time.sleep(0.05)
    renderer = QgsPointCloudRgbRenderer()
    renderer.setMaximumScreenError(0.5)
    for channel in ("Red", "Green", "Blue"):
        getattr(renderer, f"set{channel}ContrastEnhancement")(sixteen_bits())
    layer.setRenderer(renderer)
    bounds = layer.extent()
    seen |= {
        "count": layer.pointCount(),
        "box": [bounds.xMinimum(), bounds.yMinimum(), bounds.xMaximum(), bounds.yMaximum()],
        "crs": layer.crs().authid(),
        "wkt": layer.crs().toWkt()[:200],
        "attributes": [one.name() for one in layer.attributes().attributes()],
        "statistics": classes_of(layer),
    }
    return seen | draw(layer, layer.crs(), folder / f"{name}.png", 0.4 if provider == "vpc" else 1.02)


def scene(address, name, folder):
    """A tileset; drawn in EPSG:3857."""
    from qgis.core import QgsTiledSceneLayer, QgsTiledSceneTextureRenderer

    layer = QgsTiledSceneLayer(f"url={address}", name, "cesiumtiles")
    seen = {"valid": layer.isValid(), "error": layer.error().message()}
    if not layer.isValid():
        return seen
    layer.setRenderer(QgsTiledSceneTextureRenderer())
    return seen | draw(layer, QgsCoordinateReferenceSystem("EPSG:3857"), folder / f"{name}.png")


def look(order):
    """Everything, by name."""
    folder = Path(order["folder"])
    clouds = {
        name: cloud(provider, address, name, folder) for name, (provider, address) in order["clouds"].items()
    }
    scenes = {name: scene(address, name, folder) for name, address in order["scenes"].items()}
    return {"version": Qgis.QGIS_VERSION, "clouds": clouds, "scenes": scenes}


if __name__ == "__main__":
    application = QgsApplication([], True)
    application.initQgis()
    print(json.dumps(look(json.loads(Path(sys.argv[1]).read_text()))))
    sys.stdout.flush()
    # Leaving by the interpreter's end takes living threads of layers apart, and fails at it.
    os._exit(0)
