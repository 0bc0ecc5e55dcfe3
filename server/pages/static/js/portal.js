// The map of the portal: where the collections lie, one marker a place while the world is in view.

import * as maplibre from "maplibre-gl";
import { html, render } from "lit";
import { addBackdrop, addOutlines, makeMap, padded, rectangle, whenLoaded } from "./map.js";
import { mapSettings, message } from "./page.js";

const { collections, backdrop } = mapSettings;

function union(boxes) {
  return [
    Math.min(...boxes.map((b) => b[0])),
    Math.min(...boxes.map((b) => b[1])),
    Math.max(...boxes.map((b) => b[2])),
    Math.max(...boxes.map((b) => b[3])),
  ];
}

function places() {
  const groups = new Map();
  for (const collection of collections) {
    if (!groups.has(collection.tenant)) groups.set(collection.tenant, []);
    groups.get(collection.tenant).push(collection.bounds);
  }
  return [...groups].map(([name, boxes]) => ({ name, bounds: union(boxes) }));
}

function addPlaceMarkers(map, list) {
  for (const place of list) {
    const [west, south, east, north] = place.bounds;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "map-marker";
    button.textContent = place.name;
    button.addEventListener("click", (event) => {
      event.stopPropagation();
      map.fitBounds(padded(place.bounds), { padding: 28, animate: !matchMedia("(prefers-reduced-motion: reduce)").matches });
    });
    const marker = new maplibre.Marker({ element: button }).setLngLat([(west + east) / 2, (south + north) / 2]).addTo(map);
    button.setAttribute("aria-label", place.name);
    const hide = () => (marker.getElement().hidden = map.getZoom() > 8);
    map.on("zoom", hide);
    hide();
  }
}

function popup(map, event) {
  const { lng, lat } = event.lngLat;
  const here = collections.filter(({ bounds: b }) => b[0] <= lng && lng <= b[2] && b[1] <= lat && lat <= b[3]);
  if (!here.length || map.getZoom() <= 8) return;
  const list = document.createElement("ul");
  list.className = "map-popup";
  render(
    here.map(
      (c) => html`<li>
        <a href=${c.href}>${c.title}</a>
        ${c.simulated ? html`<span class="badge badge-simulated">${message("simulated")}</span>` : ""}
      </li>`,
    ),
    list,
  );
  new maplibre.Popup({ maxWidth: "20rem" }).setLngLat(event.lngLat).setDOMContent(list).addTo(map);
}

const list = places();
const map = makeMap(list.length ? union(list.map((place) => place.bounds)) : [-170, -60, 170, 75], {
  padding: list.length > 1 ? { top: 40, bottom: 40, left: 70, right: 70 } : 28, // room for the markers' names
});
if (map) {
  await whenLoaded(map);
  addBackdrop(map, backdrop);
  addOutlines(map, collections.map((c) => rectangle(c.bounds, { simulated: c.simulated })));
  if (list.length > 1) addPlaceMarkers(map, list);
  map.on("click", (event) => popup(map, event));
}
