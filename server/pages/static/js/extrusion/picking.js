// A click on the light view: the attributes of what is there, by the schema's titles.

import { getJSON, colour } from "../page.js";
import { onPick } from "../map.js";
import { FeaturePanel } from "../scene/feature-panel.js";

const schemas = new Map();

/** The properties of a collection's schema by name, asked once. */
async function schemaOf({ id, schema }) {
  if (!schemas.has(id)) {
    schemas.set(id, schema ? getJSON(schema).then(({ properties }) => properties ?? {}).catch((error) => {
      console.warn(`schema of ${id}: ${error.message}`);
      return {};
    }) : Promise.resolve({}));
  }
  return schemas.get(id);
}

export function pickOn(map, layers) {
  let marked = null;
  const mark = (feature) => {
    if (marked) map.removeLayer("marked");
    marked = feature;
    if (!feature) return;
    const { type, "source-layer": sourceLayer } = feature.layer;
    const name = `${type}-color`;
    const same = ["all", ["==", ["id"], feature.id ?? -1]];
    map.addLayer({ id: "marked", type, source: feature.source, "source-layer": sourceLayer, filter: same, paint: { ...keep(map, feature.layer.id, type), [name]: colour("map-select") } });
  };
  const panel = new FeaturePanel({ close: () => clear(), choose: () => {}, profile: null });
  const clear = () => {
    mark(null);
    panel.hide();
  };
  const ids = layers.all.filter(({ settings }) => settings.geometry !== "raster").map(({ settings }) => settings.id);
  onPick(map, ids, async (feature, event) => {
    clear();
    if (!feature) return;
    const layer = layers.find(feature.source);
    mark(feature);
    const titles = await schemaOf(layer.settings);
    const titled = Object.fromEntries(Object.entries(feature.properties).map(([name, value]) => [titles[name]?.title ?? name, value]));
    const { lng, lat } = event.lngLat;
    const id = feature.properties.id ?? feature.id ?? null;
    panel.show({ layer, feature: null, titled, id, place: { lon: lng, lat, height: map.queryTerrainElevation(event.lngLat) ?? 0 } }, []);
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && panel.open && clear());
}

/** What raises a layer, for its marked twin. */
function keep(map, id, type) {
  if (type !== "fill-extrusion") return {};
  return Object.fromEntries(["height", "base"].map((part) => [`fill-extrusion-${part}`, map.getPaintProperty(id, `fill-extrusion-${part}`)]));
}
