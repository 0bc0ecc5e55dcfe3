// Builds the light view: map, terrain, layers, picking, time; its address is that of the scene.

import { getJSON, mapSettings as settings } from "../page.js";
import { makeMap, whenLoaded } from "../map.js";
import { text } from "../scene/texts.js";
import { Follow } from "./address.js";
import { RaisedLayers } from "./layers.js";
import { showPanel } from "./panel.js";
import { pickOn } from "./picking.js";

const status = document.getElementById("scene-status");
const PITCH = 55;

/** Terrain where the city has it; the map stays flat, and the reader is told, where it cannot be had. */
async function addTerrain(map) {
  if (!settings.terrain) return;
  try {
    const { tiles, encoding = "mapbox", minzoom = 0, maxzoom = 14, tileSize = 256, bounds } = await getJSON(settings.terrain);
    const absolute = tiles.map((one) => new URL(one, location.origin).href.replaceAll("%7B", "{").replaceAll("%7D", "}"));
    map.addSource("terrain", { type: "raster-dem", tiles: absolute, encoding, minzoom, maxzoom, tileSize, ...(bounds ? { bounds } : {}) });
    map.setTerrain({ source: "terrain" });
  } catch (error) {
    console.warn(`terrain: ${error.message}`);
  }
}

/** Resolves when the layers are drawn. */
export async function start() {
  const map = makeMap(settings.bounds, { cooperativeGestures: false, maxPitch: 80, pitch: PITCH, padding: 0 });
  if (!map) {
    status.textContent = "";
    return; // the map itself says why
  }
  await whenLoaded(map);
  await addTerrain(map);
  const layers = new RaisedLayers(map, settings.layers);
  const follow = new Follow(map, layers);
  follow.begin();
  showPanel(layers, follow);
  pickOn(map, layers);
  const light = new URLSearchParams(location.search).has("light");
  status.textContent = light ? text("extrusion_why") : "";
  Object.assign(window.chengtuScene, { map, layers, follow, settled: () => new Promise((resolve) => (map.loaded() && !map.isMoving() ? resolve() : map.once("idle", () => resolve()))) });
  await new Promise((resolve) => map.once("idle", resolve));
}
