"""What headless QGIS reads, filters and edits of a collection, store by store, as JSON on standard output.

    QT_QPA_PLATFORM=offscreen /usr/bin/python3 tests/clients/qgis_edit_stores.py TASK

Run by the Python that has QGIS, not by ours. TASK is a JSON object: `ogc` (address of the OGC APIs), `wfs` (address of the
WFS or null), `names` (collections), `box` (west, south, east, north), `subset` (an expression), and to edit a source
beside the server: `postgis` (a PostgreSQL layer) and `ogr` (a file in place).
"""

import json
import sys
from functools import partial

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsFeatureRequest,
    QgsGeometry,
    QgsProject,
    QgsRectangle,
    QgsVectorDataProvider,
    QgsVectorLayer,
)

EDITS = (
    QgsVectorDataProvider.AddFeatures
    | QgsVectorDataProvider.ChangeAttributeValues
    | QgsVectorDataProvider.ChangeGeometries
    | QgsVectorDataProvider.DeleteFeatures
)
NEW = "POLYGON((114.0 22.7, 114.001 22.7, 114.001 22.701, 114.0 22.701, 114.0 22.7))"


def keys(layer, request=None):
    """The towers of a layer, by the field that is unique in every store."""
    return sorted(str(feature["secret"]) for feature in layer.getFeatures(request or QgsFeatureRequest()))


def in_grid(layer):
    """The first corner of the tower s1, moved by QGIS to CGCS2000 / 3-degree Gauss-Kruger CM 114E."""
    request = QgsFeatureRequest()
    request.setDestinationCrs(
        QgsCoordinateReferenceSystem("EPSG:4547"), QgsProject.instance().transformContext()
    )
    corner = next(feature for feature in layer.getFeatures(request) if feature["secret"] == "s1")
    box = corner.geometry().boundingBox()
    return [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()]


def look(fresh, box, subset):
    """Everything that can be read of a layer, and whether it may be edited; `fresh()` makes the layer."""
    layer = fresh()
    if not layer.isValid():
        return {"valid": False, "error": layer.error().message()}
    to_layer = QgsCoordinateTransform(
        QgsCoordinateReferenceSystem("OGC:CRS84"), layer.crs(), QgsProject.instance()
    )
    rectangle = to_layer.transformBoundingBox(QgsRectangle(*box))
    seen = {
        "valid": True,
        "crs": layer.crs().authid(),
        "fields": {field.name(): field.typeName() for field in layer.fields()},
        "count": layer.featureCount(),
        "all": keys(layer),
        # A layer that was read whole answers a box from what it keeps.
        "box": keys(fresh(), QgsFeatureRequest().setFilterRect(rectangle)),
        "expression": keys(layer, QgsFeatureRequest().setFilterExpression(subset)),
        "grid": in_grid(layer),
        "edits": bool(layer.dataProvider().capabilities() & EDITS),
        "startEditing": layer.startEditing(),
    }
    layer.rollBack()
    seen["setSubsetString"] = layer.setSubsetString(subset)
    seen["subset"] = keys(layer)
    return seen


def edit(layer):
    """Adds, changes and deletes a tower in one edit session of QGIS."""
    assert layer.isValid(), layer.error().message()
    assert layer.startEditing()
    by_key = {feature["secret"]: feature for feature in layer.getFeatures()}
    made = QgsFeature(layer.fields())
    shape = QgsGeometry.fromWkt(NEW)
    shape.transform(
        QgsCoordinateTransform(QgsCoordinateReferenceSystem("OGC:CRS84"), layer.crs(), QgsProject.instance())
    )
    made.setGeometry(shape)
    for name, value in (
        ("ident", "T900"),
        ("name", "新楼"),
        ("height", 12.5),
        ("floors", 4),
        ("secret", "s900"),
    ):
        made[name] = value
    names = layer.fields()
    done = [
        layer.addFeature(made),
        layer.changeAttributeValue(by_key["s2"].id(), names.indexOf("floors"), 77),
        layer.deleteFeature(by_key["s3"].id()),
        layer.commitChanges(),
    ]
    return {"done": done, "errors": layer.commitErrors()}


def run(task):
    """Everything that the task asks for."""
    box, subset = task["box"], task["subset"]
    oapif, wfs = {}, {}
    for name in task["names"]:
        source = f"url='{task['ogc']}' typename='{name}' pageSize='25' restrictToRequestBBOX='1'"
        oapif[name] = look(partial(QgsVectorLayer, source, name, "OAPIF"), box, subset)
        if task["wfs"]:
            source = (
                f"url='{task['wfs']}' typename='chengtu:{name}' version='2.0.0' srsname='EPSG:4326' "
                "pagingEnabled='true' restrictToRequestBBOX='1'"
            )
            wfs[name] = look(partial(QgsVectorLayer, source, name, "WFS"), box, subset)
    edited = {
        kind: edit(QgsVectorLayer(task[kind], kind, provider))
        for kind, provider in (("postgis", "postgres"), ("ogr", "ogr"))
        if task.get(kind)
    }
    return {"version": Qgis.QGIS_VERSION, "oapif": oapif, "wfs": wfs, "edited": edited}


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    print(json.dumps(run(json.loads(sys.argv[1]))))
    sys.stdout.flush()
    application.exitQgis()
