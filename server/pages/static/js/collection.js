// The page of a collection: a preview map of whatever form the collection has, and a chart where it has readings.

import { html, render } from "lit";
import { showAttributes } from "./attributes.js";
import {
  EMPTY,
  addBackdrop,
  addDataLayers,
  addOutlines,
  addVectorLayer,
  makeMap,
  onPick,
  rectangle,
  showLayers,
  whenLoaded,
} from "./map.js";
import { MapChoices } from "./map-choices.js";
import { getJSON, mapSettings, message } from "./page.js";

const { bounds, backdrop, layer, choices, series, points } = mapSettings;
const MOST_LOCATIONS = 1000; // what one page of the server gives at most
const panel = document.getElementById("attributes");

const hint = () => render(html`<p class="muted">${message("no_attributes")}</p>`, panel);

function pickVector(map, ids) {
  hint();
  let selected = null;
  onPick(map, ids, (hit) => {
    const source = { source: "data", sourceLayer: layer.sourceLayer };
    if (selected !== null) map.removeFeatureState({ ...source, id: selected });
    selected = hit?.id ?? null;
    if (!hit) return hint();
    if (selected !== null) map.setFeatureState({ ...source, id: selected }, { selected: true });
    showAttributes(panel, hit.properties);
  });
}

async function showSeries(map) {
  const address = new URL(series.locations, location.origin);
  address.searchParams.set("f", "json");
  address.searchParams.set("limit", String(MOST_LOCATIONS));
  const locations = (await getJSON(address)).features ?? [];
  const { SeriesChart } = await import("./series.js");
  const chart = new SeriesChart(series, locations);
  if (map) {
    const numbered = locations.map((feature, index) => ({ ...feature, id: index }));
    map.addSource("locations", { type: "geojson", data: { ...EMPTY, features: numbered } });
    const ids = addDataLayers(map, "locations", "point");
    const mark = (index) => {
      map.removeFeatureState({ source: "locations" });
      map.setFeatureState({ source: "locations", id: index }, { selected: true });
    };
    chart.onSelect = mark;
    mark(0);
    onPick(map, ids, (hit) => hit && chart.select(hit.id));
  }
  await chart.show();
}

const map = makeMap(bounds);
if (map) {
  await whenLoaded(map);
  addBackdrop(map, backdrop);
  const ids = layer ? addVectorLayer(map, layer) : [];
  if (layer) pickVector(map, ids);
  if (choices) {
    new MapChoices(map, choices, bounds, (shown) => {
      showLayers(map, ids, shown);
      panel.hidden = !shown;
    }).show();
  } else if (!layer && !series) {
    addOutlines(map, [rectangle(bounds, { simulated: false })]);
  }
}
if (series) await showSeries(map);
if (points) {
  const { PointsPage } = await import("./points.js");
  await new PointsPage(points, bounds, map).start();
}
