// The section: a vertical cut through the whole city, dragged by hand or by sliders.

import * as Cesium from "cesium";
import { html, nothing, render } from "lit";
import { plane } from "./cuts.js";
import { flyToSphere, middleOf, placeOf, pointAt } from "./globe.js";
import { PlaneHandle } from "./section-handle.js";
import { SectionWall } from "./section-wall.js";
import { text } from "./texts.js";

const [SMALLEST, LARGEST] = [200, 6000]; // metres from its middle to either end

/** Half of the diagonal of a box in degrees, in whole metres. */
function halfOf(bounds) {
  const [west, south, east, north] = bounds ?? [0, 0, 0, 0];
  const [a, b] = [Cesium.Cartesian3.fromDegrees(west, south), Cesium.Cartesian3.fromDegrees(east, north)];
  return Math.round(Math.min(Math.max(Cesium.Cartesian3.distance(a, b) / 2, SMALLEST), LARGEST));
}

const bearing = (degrees) => ((degrees % 360) + 360) % 360;

export class Section {
  constructor(city) {
    this.city = city;
    this.at = null; // {lon, lat, heading}: a point of the plane, and where the plane looks: what is before it stays
    this.offset = 0; // metres along the heading since it was placed
    this.element = document.getElementById("tool-section-body");
    this.handle = new PlaneHandle(city, { moved: (metres) => this.shift(metres), done: () => this.settle() });
    this.wall = new SectionWall(city);
    this.half = halfOf(city.bounds);
    this.draw();
  }

  get state() {
    return this.at && this.place();
  }

  restore(state) {
    this.at = state ?? null;
    this.offset = 0;
    this.apply();
  }

  /** The point of the plane after sliding. */
  place() {
    const { lon, lat, heading } = this.at;
    const h = Cesium.Math.toRadians(heading);
    const point = Cesium.Matrix4.multiplyByPoint(this.frame(), new Cesium.Cartesian3(Math.sin(h) * this.offset, Math.cos(h) * this.offset, 0), new Cesium.Cartesian3());
    const moved = placeOf(point);
    return this.offset ? { lon: moved.lon, lat: moved.lat, heading } : { lon, lat, heading };
  }

  frame() {
    return Cesium.Transforms.eastNorthUpToFixedFrame(Cesium.Cartesian3.fromDegrees(this.at.lon, this.at.lat));
  }

  apply() {
    if (this.at) {
      const h = Cesium.Math.toRadians(this.at.heading);
      const normal = [Math.sin(h), Math.cos(h), 0];
      this.city.tools.cuts.set("section", this.frame(), [plane(normal, -this.offset)]);
    } else {
      this.city.tools.cuts.set("section", null, null);
    }
    const shown = this.at && { frame: this.frame(), heading: this.at.heading, offset: this.offset, half: this.half };
    this.handle.show(shown);
    this.wall.show(shown);
    this.city.tools.opened?.();
    this.city.tools.along?.draw();
    this.draw();
  }

  shift(metres) {
    this.offset = Math.max(-this.half, Math.min(this.half, metres));
    this.apply();
  }

  settle() {
    this.city.changed();
  }

  /** Across the middle of the view: what is nearer to the reader goes. */
  acrossView() {
    const { scene, camera } = this.city;
    const point = pointAt(scene, middleOf(scene));
    if (!point) return this.city.say(text("no_ground"));
    const { lon, lat } = placeOf(point);
    this.set({ lon, lat, heading: bearing(Cesium.Math.toDegrees(camera.heading)) });
    this.face();
    return undefined;
  }

  /** Look at the cut from the side that is gone. */
  face() {
    const point = Cesium.Cartesian3.fromDegrees(this.at.lon, this.at.lat);
    flyToSphere(this.city.camera, new Cesium.BoundingSphere(point, 1), { heading: this.at.heading, pitch: -14, range: Math.min(this.half * 0.9, 900) });
  }

  /** Along a line of two points; the side to the left of it stays. */
  async alongLine() {
    const points = await this.city.tools.drawing.start({ kind: "line", most: 2, hint: text("draw_section") });
    if (!points) return;
    const [a, b] = points.map(placeOf);
    const line = new Cesium.EllipsoidGeodesic(Cesium.Cartographic.fromDegrees(a.lon, a.lat), Cesium.Cartographic.fromDegrees(b.lon, b.lat));
    const middle = line.interpolateUsingFraction(0.5);
    const heading = bearing(Cesium.Math.toDegrees(line.startHeading) - 90);
    this.set({ lon: Cesium.Math.toDegrees(middle.longitude), lat: Cesium.Math.toDegrees(middle.latitude), heading });
    this.face();
  }

  set(at) {
    this.at = at;
    this.offset = 0;
    this.apply();
    this.city.tools.layers.unearth();
    this.city.changed();
  }

  draw() {
    const { at } = this;
    const turn = (event) => {
      this.at = { ...this.place(), heading: Number(event.target.value) };
      this.offset = 0;
      this.apply();
    };
    const flip = () => this.set({ ...this.place(), heading: bearing(at.heading + 180) });
    const settle = () => this.settle();
    render(
      html`<p class="muted small">${text("section_help")}</p>
        <div class="tool-buttons">
          <button type="button" class="button button-small" id="section-across" @click=${() => this.acrossView()}>${text("section_across")}</button>
          <button type="button" class="button button-small" id="section-line" @click=${() => this.alongLine()}>${text("section_line")}</button>
          ${at ? html`<button type="button" class="button button-small" id="section-flip" @click=${flip}>${text("section_flip")}</button>
            <button type="button" class="button button-small" id="section-off" @click=${() => this.set(null)}>${text("remove")}</button>` : nothing}
        </div>
        ${at ? html`<label class="slider"><span>${text("section_move")} <output>${Math.round(this.offset)} m</output></span>
            <input type="range" name="section-offset" min=${-this.half} max=${this.half} step="1" .value=${String(Math.round(this.offset))} @input=${(event) => this.shift(Number(event.target.value))} @change=${settle} /></label>
          <label class="slider"><span>${text("section_turn")} <output>${Math.round(at.heading)}°</output></span>
            <input type="range" name="section-heading" min="0" max="359" step="1" .value=${String(Math.round(at.heading))} @input=${turn} @change=${settle} /></label>` : nothing}`,
      this.element,
    );
  }
}
