// The clipping box: only what is inside stays, from the sky to the deepest pipe.

import * as Cesium from "cesium";
import { html, nothing, render } from "lit";
import { plane } from "./cuts.js";
import { middleOf, placeOf, pointAt } from "./globe.js";
import { text } from "./texts.js";

const SLIDERS = [["width", 10, 2000], ["length", 10, 2000], ["bottom", -200, 100], ["top", -50, 400], ["heading", 0, 359]];

export class ClipBox {
  constructor(city) {
    this.city = city;
    this.box = null; // {lon, lat, heading, width, length, bottom, top}: metres; heights above the ellipsoid
    this.element = document.getElementById("tool-box-body");
    this.draw();
  }

  get state() {
    return this.box;
  }

  restore(state) {
    this.box = state ?? null;
    this.apply();
  }

  set(box) {
    this.restore(box);
    this.city.tools.layers.unearth();
    this.city.changed();
  }

  aroundView() {
    const { scene, camera } = this.city;
    const point = pointAt(scene, middleOf(scene));
    if (!point) return this.city.say(text("no_ground"));
    const { lon, lat, height } = placeOf(point);
    const side = Math.round(Math.min(Math.max(Cesium.Cartesian3.distance(camera.positionWC, point) / 2, 40), 1000));
    this.set({ lon, lat, heading: 0, width: side, length: side, bottom: Math.round(height - 40), top: Math.round(height + 120) });
    return undefined;
  }

  apply() {
    const { box } = this;
    const { cuts, opened } = this.city.tools;
    if (box) {
      const frame = Cesium.Transforms.eastNorthUpToFixedFrame(Cesium.Cartesian3.fromDegrees(box.lon, box.lat));
      const h = Cesium.Math.toRadians(box.heading);
      const [ahead, right] = [[Math.sin(h), Math.cos(h), 0], [Math.cos(h), -Math.sin(h), 0]];
      const back = (v) => v.map((value) => -value);
      cuts.set("box", frame, [
        plane(ahead, box.length / 2), plane(back(ahead), box.length / 2), plane(right, box.width / 2), plane(back(right), box.width / 2),
        plane([0, 0, 1], -box.bottom), plane([0, 0, -1], box.top),
      ]);
    } else {
      cuts.set("box", null, null);
    }
    opened?.();
    this.draw();
  }

  change(name, value) {
    this.box = { ...this.box, [name]: value };
    if (this.box.top <= this.box.bottom) this.box = { ...this.box, ...(name === "top" ? { bottom: value - 1 } : { top: value + 1 }) };
    this.apply();
  }

  draw() {
    const { box } = this;
    const slider = ([name, low, high]) => html`<label class="slider"><span>${text(`box_${name}`)} <output>${Math.round(box[name])} ${name === "heading" ? "°" : "m"}</output></span>
      <input type="range" name=${`box-${name}`} min=${low} max=${high} step="1" .value=${String(Math.round(box[name]))}
        @input=${(event) => this.change(name, Number(event.target.value))} @change=${() => this.city.changed()} /></label>`;
    render(
      html`<p class="muted small">${text("box_help")}</p>
        <div class="tool-buttons">
          <button type="button" class="button button-small" id="box-around" @click=${() => this.aroundView()}>${text("box_around")}</button>
          ${box ? html`<button type="button" class="button button-small" id="box-off" @click=${() => this.set(null)}>${text("remove")}</button>` : nothing}
        </div>
        ${box ? SLIDERS.map(slider) : nothing}`,
      this.element,
    );
  }
}
