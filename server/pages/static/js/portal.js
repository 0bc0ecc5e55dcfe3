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

const NEAR = 1; // degrees: what lies closer together than this is one place on the map of the world

const apart = (a, b) => a[0] - b[2] > NEAR || b[0] - a[2] > NEAR || a[1] - b[3] > NEAR || b[1] - a[3] > NEAR;

/** Collections gathered into places: {name, bounds}. A tenant's main place bears its name, any other its collection's. */
function places() {
  const tenants = Map.groupBy(collections, (collection) => collection.tenant);
  const found = [];
  for (const [tenant, members] of tenants) {
    const groups = [];
    for (const member of members) {
      const near = groups.find((group) => !apart(group.bounds, member.bounds));
      if (near) {
        near.members.push(member);
        near.bounds = union([near.bounds, member.bounds]);
      } else {
        groups.push({ members: [member], bounds: member.bounds });
      }
    }
    groups.sort((a, b) => b.members.length - a.members.length);
    groups.forEach(({ members: [first], bounds }, index) => found.push({ name: index ? first.title : tenant, bounds, main: !index }));
  }
  return found;
}

function addPlaceMarkers(map, list) {
  for (const place of list) {
    const [west, south, east, north] = place.bounds;
    const button = document.createElement("button");
    button.type = "button";
    button.className = place.main ? "map-marker" : "map-marker map-marker-minor";
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
// A tenant's own page looks at its main place; the city's at all of them.
const seen = new Set(collections.map((c) => c.tenant)).size > 1 ? list : list.filter((place) => place.main);
const map = makeMap(seen.length ? union(seen.map((place) => place.bounds)) : [-170, -60, 170, 75], {
  padding: seen.length > 1 ? { top: 40, bottom: 40, left: 70, right: 70 } : 28, // room for the markers' names
});
if (map) {
  await whenLoaded(map);
  addBackdrop(map, backdrop);
  // One line around each box: real data speak for it where they share it with simulated ones.
  const boxes = new Map([...collections].sort((a, b) => b.simulated - a.simulated).map((c) => [c.bounds.map((n) => n.toFixed(3)).join(), c]));
  addOutlines(map, [...boxes.values()].map((c) => rectangle(c.bounds, { simulated: c.simulated })));
  if (list.length > 1) addPlaceMarkers(map, list);
  map.on("click", (event) => popup(map, event));
}
