"""What headless QGIS makes of maps and rasters, as JSON on standard output. Run by the Python that has QGIS, not by ours:

    QT_QPA_PLATFORM=offscreen /usr/bin/python3 tests/clients/qgis_maps.py TASKS FOLDER

TASKS is a JSON file: `pictures` by name (source, provider, crs, box, size, and of vector tiles the address of a style), and
`identify` by name (source, point, box). Pictures are written into FOLDER.
"""

import json
import sys
from pathlib import Path
from urllib.request import urlopen

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsMapBoxGlStyleConversionContext,
    QgsMapBoxGlStyleConverter,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsPointXY,
    QgsRaster,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorTileLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def styled(layer, address):
    """Put our MapLibre style on a layer of vector tiles; what the converter says."""
    with urlopen(address) as answer:
        style = json.load(answer)
    context = QgsMapBoxGlStyleConversionContext()
    converter = QgsMapBoxGlStyleConverter()
    done = converter.convert(style, context)
    if done == QgsMapBoxGlStyleConverter.Success:
        layer.setRenderer(converter.renderer())
        layer.setLabeling(converter.labeling())
    return {"converted": done == QgsMapBoxGlStyleConverter.Success, "warnings": converter.warnings()}


def opened(task):
    """The layer of a task, and what there is to say of its style."""
    if task["provider"] == "vectortiles":
        layer = QgsVectorTileLayer(task["source"], "layer")
        return layer, styled(layer, task["style"])
    return QgsRasterLayer(task["source"], "layer", task["provider"]), {}


def draw(task, file):
    """The picture of a task, on white."""
    layer, said = opened(task)
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(QgsCoordinateReferenceSystem(task["crs"]))
    settings.setExtent(QgsRectangle(*task["box"]))
    settings.setOutputSize(QSize(*task["size"]))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(str(file))
    seen = settings.visibleExtent()  # the box, widened to the shape of the picture
    box = [seen.xMinimum(), seen.yMinimum(), seen.xMaximum(), seen.yMaximum()]
    errors = [error.message for error in job.errors()]
    return {"valid": layer.isValid(), "errors": errors, "box": box, **said}


def identify(task):
    """What is told of a point, as the provider gives it."""
    layer, _ = opened(task)
    formats = {
        "text": QgsRaster.IdentifyFormatText,
        "feature": QgsRaster.IdentifyFormatFeature,
        "value": QgsRaster.IdentifyFormatValue,
    }
    answer = layer.dataProvider().identify(
        QgsPointXY(*task["point"]), formats[task["format"]], QgsRectangle(*task["box"]), *task["size"]
    )
    return {
        "valid": answer.isValid(),
        "error": answer.error().message(),
        "results": {str(key): plain(one) for key, one in answer.results().items()},
    }


def plain(value):
    """Values, texts, and attributes of features, as JSON has them."""
    if isinstance(value, (str, int, float)) or value is None:
        return value
    found = []
    for store in value:
        for feature in store.features():
            found.append({field.name(): feature[field.name()] for field in store.fields()})
    return found


def main():
    """Do every task."""
    tasks, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    application = QgsApplication([], False)
    application.initQgis()
    seen = {"version": Qgis.QGIS_VERSION, "pictures": {}, "identify": {}}
    for name, task in tasks["pictures"].items():
        seen["pictures"][name] = draw(task, folder / f"{name}.png")
    for name, task in tasks["identify"].items():
        seen["identify"][name] = identify(task)
    print(json.dumps(seen, default=str))
    sys.stdout.flush()
    application.exitQgis()


main()
