// The map of items on this page; a click shows the attributes and marks the row.

import { html } from "lit";
import { showAttributes } from "./attributes.js";
import { addBackdrop, addDataLayers, makeMap, onPick, whenLoaded } from "./map.js";
import { mapSettings, message } from "./page.js";

const { features, bounds, backdrop, itemAddress } = mapSettings;

function boundsOf(collection) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  const visit = (part) => {
    if (typeof part[0] === "number") {
      box[0] = Math.min(box[0], part[0]);
      box[1] = Math.min(box[1], part[1]);
      box[2] = Math.max(box[2], part[0]);
      box[3] = Math.max(box[3], part[1]);
    } else {
      part.forEach(visit);
    }
  };
  for (const { geometry } of collection.features) {
    for (const part of geometry?.geometries ?? (geometry ? [geometry] : [])) visit(part.coordinates);
  }
  // Coordinates of another CRS (crs=...) are not degrees: the map then keeps to the collection's own extent.
  const degrees = box[0] >= -180 && box[2] <= 180 && box[1] >= -90 && box[3] <= 90;
  return degrees && box[0] <= box[2] ? box : null;
}

const box = boundsOf(features);
const map = makeMap(box ?? bounds);
if (map) {
  await whenLoaded(map);
  addBackdrop(map, backdrop);
  const numbered = features.features.map((feature, index) => ({ ...feature, id: index }));
  map.addSource("items", { type: "geojson", data: { type: "FeatureCollection", features: box ? numbered : [] } });
  const panel = document.getElementById("attributes");
  let selected = null;
  onPick(map, addDataLayers(map, "items", "mixed"), (hit) => {
    if (selected !== null) map.removeFeatureState({ source: "items", id: selected });
    selected = hit ? hit.id : null;
    document.querySelector("tr[data-selected]")?.removeAttribute("data-selected");
    if (selected === null || !panel) return;
    map.setFeatureState({ source: "items", id: selected }, { selected: true });
    const feature = features.features[selected];
    document.querySelectorAll(".data tbody tr")[selected]?.setAttribute("data-selected", "");
    const address = `${itemAddress}${encodeURIComponent(feature.id)}?f=html`;
    showAttributes(panel, feature.properties ?? {}, { after: html`<p><a href=${address}>${message("open_item")}</a></p>` });
  });
}
