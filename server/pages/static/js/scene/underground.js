// Looking under the ground: the globe turns to glass as far as the slider says, the buildings pale, and the camera may go below.

import * as Cesium from "cesium";
import { html, render } from "lit";
import { flyToSphere } from "./globe.js";
import { shaderOf } from "./shaders.js";
import { text } from "./texts.js";

const USUAL = 0.65; // transparency of the ground when it is switched on
const NEAR = 150; // metres: nearer than this the ground is at its clearest
const PALE = { above: 0.12, points: 0.3 }; // how much is left of what stands above

export class Underground {
  constructor(city) {
    this.city = city;
    this.transparency = 0;
    this.element = document.getElementById("tool-underground-body");
    this.draw();
  }

  get on() {
    return this.transparency > 0;
  }

  get state() {
    return this.on ? this.transparency : null;
  }

  restore(state) {
    this.set(state ?? 0, { fly: false, quiet: true });
  }

  toggle() {
    this.set(this.on ? 0 : USUAL);
  }

  /** `transparency` 0: ground as it is; 1: none left. */
  set(transparency, { fly = true, quiet = false } = {}) {
    const [was, on] = [this.on, transparency > 0];
    this.transparency = transparency;
    this.glass(on);
    if (on !== was) {
      this.fade(on);
      if (on && fly) this.fly();
    }
    document.getElementById("view-underground").setAttribute("aria-pressed", String(on));
    this.draw();
    if (!quiet) {
      this.city.say(on ? text("underground_on") : "");
      this.city.changed();
    }
  }

  glass(on) {
    const { scene } = this.city;
    const { globe } = scene;
    const left = 1 - this.transparency;
    this.free = on;
    globe.translucency.enabled = on;
    globe.translucency.frontFaceAlphaByDistance = on ? new Cesium.NearFarScalar(NEAR, left * 0.5, 6000, left) : undefined;
    globe.translucency.backFaceAlpha = on ? Math.min(0.3, left) : 1;
    this.city.tools.opened?.();
  }

  /** What stands above the ground pales while we look below; what is buried shines. */
  fade(on) {
    for (const layer of this.city.layers) {
      if (!layer.tileset) continue;
      if (layer.group === "underground") for (const tileset of layer.tilesets) tileset.customShader = shaderOf(layer, on);
      if (layer.group !== "underground") layer.pale = on ? (PALE[layer.group] ?? PALE.above) : undefined;
      layer.apply();
    }
  }

  /** Low over what is buried, looking down and along it. */
  fly() {
    const buried = this.city.layers.find(({ group, tileset, visible }) => tileset && visible && group === "underground");
    const sphere = buried?.tileset.boundingSphere;
    if (!sphere) return;
    flyToSphere(this.city.camera, new Cesium.BoundingSphere(sphere.center, 1), { heading: 20, pitch: -28, range: Math.min(sphere.radius * 0.4, 420), duration: 1.5 });
  }

  draw() {
    const slide = (event) => this.set(Number(event.target.value) / 100);
    const percent = Math.round(this.transparency * 100);
    render(
      html`<label class="slider"><span>${text("transparency")} <output>${percent} %</output></span>
        <input type="range" min="0" max="100" step="5" .value=${String(percent)} name="transparency" @input=${slide} /></label>
        <p class="muted small">${text("underground_help")}</p>`,
      this.element,
    );
  }
}
