// The state of the scene in the address: written as it changes, read at the start and when the reader goes back or forward.

import * as Cesium from "cesium";
import { readState, writeState } from "./codec.js";
import { placeOf, reducedMotion } from "./globe.js";
import { PLAIN, isPlain } from "./points-look.js";
import { text } from "./texts.js";

const REST_MS = 400; // the address follows when the camera has rested this long

export class Address {
  constructor(city) {
    this.city = city;
    this.first = new Map(); // how each layer starts
    this.step = false; // the next writing is a step of the history, not a correction of the last
    this.restoring = null;
  }

  /** Begin to follow; returns when what the address asked for has been done. */
  async begin() {
    for (const layer of this.city.layers) this.first.set(layer.id, { visible: layer.visible, opacity: layer.opacity, colouring: layer.colouring });
    await this.restore(location.hash);
    this.city.on("changed", () => this.later(true));
    this.city.on("settling", () => this.later(false));
    this.city.camera.moveEnd.addEventListener(() => this.later(false));
    window.addEventListener("popstate", () => this.restore(location.hash));
  }

  later(step) {
    if (this.restoring) return;
    this.step ||= step;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.write(), REST_MS);
  }

  write() {
    clearTimeout(this.timer);
    const hash = `#${writeState(this.state())}`;
    if (hash !== location.hash) history[this.step ? "pushState" : "replaceState"](null, "", hash);
    this.step = false;
  }

  /** The address of what is shown now. */
  href() {
    return `${location.origin}${location.pathname}${location.search}#${writeState(this.state())}`;
  }

  state() {
    const { camera, layers, tools } = this.city;
    const { lon, lat, height } = placeOf(camera.positionWC);
    const degrees = Cesium.Math.toDegrees;
    const heading = degrees(camera.heading);
    const changed = layers.filter((layer) => !layer.failed);
    return {
      view: { lon, lat, height, heading: heading > 359.95 ? 0 : heading, pitch: degrees(camera.pitch) },
      layers: Object.fromEntries(changed.filter((layer) => this.differs(layer)).map((layer) => [layer.id, { visible: layer.visible, opacity: layer.opacity }])),
      style: Object.fromEntries(changed.filter((layer) => layer.colouring && layer.colouring !== this.first.get(layer.id)?.colouring).map((layer) => [layer.id, layer.colouring])),
      points: Object.fromEntries(changed.filter((layer) => layer.points && !isPlain(layer.points.look)).map((layer) => [layer.id, layer.points.look])),
      under: tools.underground.state,
      cut: tools.section.state,
      box: tools.box.state,
      pit: tools.excavation.state,
      time: tools.timeline.state,
      sun: tools.sun.state,
      compare: tools.comparison.state,
    };
  }

  differs(layer) {
    const first = this.first.get(layer.id);
    return layer.visible !== first.visible || layer.opacity !== first.opacity;
  }

  /** Bring the scene to what a hash says; what it does not say is as at the start. Parts nobody can read are passed over. */
  async restore(hash) {
    const { state, ignored } = readState(hash);
    const { tools, layers } = this.city;
    this.restoring = true;
    try {
      if (state.view) this.look(state.view);
      for (const layer of layers) this.restoreLayer(layer, state.layers?.[layer.id], state.style?.[layer.id], state.points?.[layer.id]);
      tools.underground.restore(state.under);
      tools.section.restore(state.cut);
      tools.box.restore(state.box);
      tools.timeline.restore(state.time);
      tools.sun.restore(state.sun);
      await Promise.all([tools.excavation.restore(state.pit), tools.comparison.restore(state.compare)]);
    } finally {
      this.restoring = false;
      tools.layers.unearthed = []; // the address says what is shown
    }
    this.city.emit("layers");
    if (ignored.length) this.city.warn(text("address_ignored", { parts: ignored.join(", ") }));
    return ignored;
  }

  restoreLayer(layer, shown, colouring, look) {
    if (layer.failed) return;
    const first = this.first.get(layer.id);
    layer.visible = shown?.visible ?? first.visible;
    layer.opacity = shown?.opacity ?? first.opacity;
    if (layer.points) layer.points.look = look ?? PLAIN;
    if (layer.tileset) this.city.tools.colours.restore(layer, colouring ?? first.colouring);
    layer.apply();
  }

  look({ lon, lat, height, heading, pitch }) {
    const { camera } = this.city;
    const radians = Cesium.Math.toRadians;
    const view = { destination: Cesium.Cartesian3.fromDegrees(lon, lat, height), orientation: { heading: radians(heading), pitch: radians(pitch), roll: 0 } };
    camera.cancelFlight();
    if (reducedMotion || Cesium.Cartesian3.distance(camera.positionWC, view.destination) > 50_000) camera.setView(view);
    else camera.flyTo({ ...view, duration: 0.8 });
  }
}
