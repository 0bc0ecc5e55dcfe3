"""What headless QGIS makes of WMS and WMTS: styles, a time, a legend, a grid of CGCS2000. Run by the Python that has QGIS:

    QT_QPA_PLATFORM=offscreen /usr/bin/python3 tests/clients/qgis_map_services.py ADDRESS FOLDER TIMES

ADDRESS is that of the map services (.../maps), TIMES the time dimension of their layer; pictures are written into FOLDER, what was seen as JSON on standard output.
"""

import json
import sys
from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsDateTimeRange,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QDate, QDateTime, QEventLoop, QSize, Qt, QTime, QTimer
from qgis.PyQt.QtGui import QColor

BOX = QgsRectangle(116.389, 39.899, 116.412, 39.922)


def layer_of(source):
    """A layer of QGIS's WMS provider, which reads WMTS too."""
    layer = QgsRasterLayer("&".join(f"{name}={value}" for name, value in source.items()), "blocks", "wms")
    return layer


def draw(layer, file, moment=None):
    """The layer on white, 400 x 400, at a moment; whether it is valid, and what went wrong."""
    settings = QgsMapSettings()
    if moment is not None:
        settings.setIsTemporal(True)
        settings.setTemporalRange(QgsDateTimeRange(moment, moment))
    settings.setLayers([layer])
    settings.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:4326"))
    settings.setExtent(BOX)
    settings.setOutputSize(QSize(400, 400))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    image.save(str(file))
    dark = sum(image.pixelColor(x, y).lightness() < 250 for x in range(400) for y in range(400))
    return {"valid": layer.isValid(), "errors": [error.message for error in job.errors()], "dark": dark}


def legend(layer, file):
    """The legend as QGIS fetches it, its size."""
    fetcher = layer.dataProvider().getLegendGraphicFetcher(None)
    images, loop = [], QEventLoop()
    fetcher.finish.connect(lambda image: (images.append(image), loop.quit()))
    fetcher.error.connect(lambda _message: loop.quit())
    QTimer.singleShot(20_000, loop.quit)
    fetcher.start()
    if not images:
        loop.exec_()
    if images:
        images[0].save(str(file))
    return [images[0].width(), images[0].height()] if images else None


def main():
    """Look at everything."""
    address, folder = sys.argv[1], Path(sys.argv[2])
    application = QgsApplication([], False)
    application.initQgis()
    wms = {"crs": "EPSG:4326", "format": "image/png", "layers": "blocks", "url": f"{address}/service"}
    wmts = {
        "contextualWMSLegend": "0",
        "crs": "EPSG:3857",
        "format": "image/png",
        "layers": "blocks",
        "url": f"{address}/wmts/1.0.0/WMTSCapabilities.xml",
    }
    seen = {
        "polygon": draw(layer_of(wms | {"styles": "polygon"}), folder / "services-polygon.png"),
        "any": draw(layer_of(wms | {"styles": "buildings"}), folder / "services-buildings.png"),
        "wmts": draw(
            layer_of(wmts | {"styles": "polygon", "tileMatrixSet": "WebMercatorQuad"}),
            folder / "services-wmts.png",
        ),
        "cgcs2000": draw(
            layer_of(wmts | {"styles": "polygon", "tileMatrixSet": "CGCS2000GK3CM117E", "crs": "EPSG:4548"}),
            folder / "services-cgcs2000.png",
        ),
    }
    # The layer as QGIS adds it where the capabilities have a time dimension.
    timed = layer_of(
        wms
        | {
            "styles": "polygon",
            "type": "wmst",
            "timeDimensionExtent": sys.argv[3],
            "allowTemporalUpdates": "true",
            "temporalSource": "provider",
        }
    )
    timed.temporalProperties().setIsActive(True)
    moment = QDateTime(QDate(2001, 5, 1), QTime(0, 0), Qt.UTC)
    seen["time"] = draw(timed, folder / "services-time.png", moment)
    available = timed.dataProvider().temporalCapabilities().availableTemporalRange()
    seen["range"] = [available.begin().date().year(), available.end().date().year()]
    seen["legend"] = legend(layer_of(wms | {"styles": "polygon"}), folder / "services-legend.png")
    print(json.dumps(seen))
    application.exitQgis()


main()
