// The light view in the address, in the words of the scene: the camera's place, layers and time go from one view to the other.

import { readState, writeState } from "../scene/codec.js";
import { mapSettings as settings } from "../page.js";
import { text } from "../scene/texts.js";

const REST_MS = 400;
const METRES_A_DEGREE = 111_319.49; // of a great circle of MapLibre's sphere
const METRES_A_PIXEL = 40_075_016.69 / 512; // at zoom 0 on the equator
const STEEPEST = 80; // MapLibre tilts no further

/** Where the camera is, in the words of the scene: its own place, not the place it looks at. */
export function cameraOf(map) {
  const { lng, lat } = map.getCenter();
  const [tilt, bearing] = [(map.getPitch() * Math.PI) / 180, (map.getBearing() * Math.PI) / 180];
  const pixels = map.getCanvas().clientHeight / 2 / Math.tan((map.getVerticalFieldOfView() * Math.PI) / 360);
  const metres = (pixels * METRES_A_PIXEL * Math.cos((lat * Math.PI) / 180)) / 2 ** map.getZoom();
  const [height, behind] = [metres * Math.cos(tilt) + map.getCenterElevation(), metres * Math.sin(tilt)];
  return {
    lon: lng - (behind * Math.sin(bearing)) / (METRES_A_DEGREE * Math.cos((lat * Math.PI) / 180)),
    lat: lat - (behind * Math.cos(bearing)) / METRES_A_DEGREE,
    height,
    heading: (map.getBearing() + 360) % 360,
    pitch: map.getPitch() - 90,
  };
}

export class Follow {
  constructor(map, layers) {
    this.map = map;
    this.layers = layers;
    this.first = new Map(layers.all.map((layer) => [layer.settings.id, { visible: layer.visible, opacity: 1 }]));
    this.kept = {}; // what the scene said and this view cannot show: it is handed back
    this.listeners = [];
  }

  begin() {
    this.restore();
    this.map.on("moveend", () => this.later());
    window.addEventListener("popstate", () => this.restore());
  }

  later(step = false) {
    this.step ||= step;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.write(), REST_MS);
  }

  state() {
    const changed = this.layers.all.filter((layer) => {
      const first = this.first.get(layer.settings.id);
      return layer.visible !== first.visible || layer.opacity !== first.opacity;
    });
    return {
      ...this.kept,
      view: cameraOf(this.map),
      layers: { ...this.kept.layers, ...Object.fromEntries(changed.map(({ settings: { id }, visible, opacity }) => [id, { visible, opacity }])) },
      time: this.layers.year === null ? null : `${String(this.layers.year).padStart(4, "0")}-01-01`,
    };
  }

  write() {
    const hash = `#${writeState(this.state())}`;
    if (hash !== location.hash) history[this.step ? "pushState" : "replaceState"](null, "", hash);
    this.step = false;
    this.link();
  }

  /** The way to the full scene, at the same place. */
  link() {
    document.getElementById("full-view").href = `${settings.scene}?full=1${location.hash}`;
  }

  restore() {
    const { state, ignored } = readState(location.hash);
    const { view, layers = {}, time, ...others } = state;
    const known = new Set(this.first.keys());
    this.kept = { ...others, layers: Object.fromEntries(Object.entries(layers).filter(([id]) => !known.has(id))) };
    if (view) this.look(view);
    for (const [id, first] of this.first) this.layers.set(id, layers[id]?.visible ?? first.visible, layers[id]?.opacity ?? first.opacity);
    this.layers.show(time ? Number(time.slice(0, 4)) : null);
    if (ignored.length) document.getElementById("scene-status").textContent = text("address_ignored", { parts: ignored.join(", ") });
    this.link();
    for (const listener of this.listeners) listener();
  }

  look({ lon, lat, height, heading, pitch }) {
    const tilt = Math.min(Math.max(pitch + 90, 0), STEEPEST);
    const camera = this.map.calculateCameraOptionsFromCameraLngLatAltRotation({ lng: lon, lat }, Math.max(height, 20), heading, tilt);
    this.map.jumpTo(camera);
  }
}
