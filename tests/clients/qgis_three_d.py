"""What QGIS 3.40 draws of tilesets, as JSON on standard output. Run inside the folder of scripts/qgis_trixie:

    xvfb-run -a python3 qgis_three_d.py ORDER

ORDER is a JSON file: {"folder": where pictures go, "layers": {name: address of a tileset}, "scene": [names], "crs": of the scene}.
Each layer is drawn by itself from above, in EPSG:3857; those of the scene together from a slant.
"""

import json
import os
import sys
from pathlib import Path

from qgis._3d import (
    Qgs3D,
    Qgs3DMapSettings,
    QgsCameraPose,
    QgsDirectionalLightSettings,
    QgsLayoutItem3DMap,
    QgsTiledSceneLayer3DRenderer,
)
from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsLayoutExporter,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsPrintLayout,
    QgsProject,
    QgsTiledSceneLayer,
    QgsTiledSceneTextureRenderer,
    QgsVector3D,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

SIDE = 800
DOTS_PER_INCH = 100


def from_above(layer, file):
    """Draw a layer into a PNG of its extent; gives the extent (west, south, east, north in EPSG:3857)."""
    # The renderer that QGIS gives a new layer, without the outlines of triangles.
    layer.setRenderer(QgsTiledSceneTextureRenderer())
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    extent = settings.layerExtentToOutputExtent(layer, layer.extent())
    extent.scale(1.02)
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


def from_a_slant(layers, crs, file):
    """Draw layers in the three-dimensional view into a PNG."""
    Qgs3D.initialize()
    project = QgsProject.instance()
    project.setCrs(crs)
    degrees = QgsCoordinateReferenceSystem("EPSG:4326")
    extent = None
    for layer in layers:
        renderer = QgsTiledSceneLayer3DRenderer()
        renderer.setMaximumScreenError(8)
        layer.setRenderer3D(renderer)
        project.addMapLayer(layer)
        own = QgsCoordinateTransform(degrees, crs, project).transformBoundingBox(layer.extent())
        if extent is None:
            extent = own
        else:
            extent.combineExtentWith(own)
    settings = Qgs3DMapSettings()
    settings.setCrs(crs)
    settings.setExtent(extent)
    settings.setOrigin(QgsVector3D(extent.center().x(), extent.center().y(), 0))
    settings.setTransformContext(project.transformContext())
    settings.setPathResolver(project.pathResolver())
    settings.setMapThemeCollection(project.mapThemeCollection())
    settings.setLayers(layers)
    settings.setBackgroundColor(QColor("white"))
    settings.setTerrainRenderingEnabled(False)
    light = QgsDirectionalLightSettings()
    light.setDirection(QgsVector3D(-0.4, -0.9, -0.3))
    settings.setLightSources([light])
    layout = QgsPrintLayout(project)
    layout.initializeDefaults()
    layout.pageCollection().page(0).setPageSize(QgsLayoutSize(200, 140))
    item = QgsLayoutItem3DMap(layout)
    layout.addLayoutItem(item)
    item.attemptMove(QgsLayoutPoint(0, 0))
    item.attemptResize(QgsLayoutSize(200, 140))
    item.setMapSettings(settings)
    pose = QgsCameraPose()
    pose.setCenterPoint(QgsVector3D(0, 0, 20))
    pose.setDistanceFromCenterPoint(900)
    pose.setPitchAngle(50)
    pose.setHeadingAngle(20)
    item.setCameraPose(pose)
    form = QgsLayoutExporter.ImageExportSettings()
    form.dpi = DOTS_PER_INCH
    return QgsLayoutExporter(layout).exportToImage(str(file), form)


def look(order):
    """Everything, by name."""
    folder = Path(order["folder"])
    layers = {
        name: QgsTiledSceneLayer(f"url={address}", name, "cesiumtiles")
        for name, address in order["layers"].items()
    }
    seen = {
        name: {"valid": layer.isValid(), "error": layer.error().message()}
        | (from_above(layer, folder / f"{name}.png") if layer.isValid() else {})
        for name, layer in layers.items()
    }
    crs = QgsCoordinateReferenceSystem(order["crs"])
    code = from_a_slant([layers[name] for name in order["scene"]], crs, folder / "scene.png")
    return {"version": Qgis.QGIS_VERSION, "layers": seen, "scene": int(code)}


if __name__ == "__main__":
    application = QgsApplication([], True)
    application.initQgis()
    print(json.dumps(look(json.loads(Path(sys.argv[1]).read_text()))))
    sys.stdout.flush()
    # Leaving by the interpreter's end takes a living OpenGL context apart, and fails at it.
    os._exit(0)
