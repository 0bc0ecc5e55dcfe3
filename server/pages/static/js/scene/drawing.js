// Points, lines and areas drawn on whatever is in view: by pointer, by touch, and by keyboard (Enter sets a point in the middle).

import * as Cesium from "cesium";
import { colour } from "../page.js";
import { middleOf, pointAt } from "./globe.js";
import { text } from "./texts.js";

const FEWEST = { point: 1, line: 2, polygon: 3 };

export class Drawing {
  constructor(city) {
    this.city = city;
    this.job = null;
    this.handler = new Cesium.ScreenSpaceEventHandler(city.scene.canvas);
    const { LEFT_CLICK, MOUSE_MOVE, LEFT_DOUBLE_CLICK, RIGHT_CLICK } = Cesium.ScreenSpaceEventType;
    this.handler.setInputAction(({ position }) => this.job && this.add(position), LEFT_CLICK);
    this.handler.setInputAction(({ endPosition }) => this.job && this.hover(endPosition), MOUSE_MOVE);
    this.handler.setInputAction(() => this.job && this.finish(), LEFT_DOUBLE_CLICK);
    this.handler.setInputAction(() => this.job && this.finish(), RIGHT_CLICK);
    document.getElementById("globe").addEventListener("keydown", (event) => this.job && this.key(event), true);
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.job) this.cancel();
    });
  }

  /** Begin: `kind` "point", "line" or "polygon"; `most` points end it by themselves. Resolves with positions, or null when given up. */
  start({ kind, most = kind === "point" ? 1 : 500, hint, changed = () => {} }) {
    this.cancel();
    this.city.busy = this;
    this.city.say(hint ?? text(`draw_${kind}`));
    document.getElementById("globe").focus({ preventScroll: true });
    return new Promise((resolve) => {
      this.job = { kind, most, changed, resolve, points: [], ahead: null };
      this.sketch = this.makeSketch(kind);
    });
  }

  makeSketch(kind) {
    const tint = Cesium.Color.fromCssColorString(colour("map-select"));
    const line = () => [...this.job.points, ...(this.job.ahead ? [this.job.ahead] : []), ...(kind === "polygon" && this.job.points.length > 1 ? [this.job.points[0]] : [])];
    return this.city.widget.entities.add({
      polyline: {
        positions: new Cesium.CallbackProperty(() => (this.job ? line() : []), false),
        width: 3,
        material: tint,
        depthFailMaterial: tint.withAlpha(0.5),
        arcType: Cesium.ArcType.NONE,
      },
    });
  }

  add(windowPosition) {
    const { job, city } = this;
    const point = pointAt(city.scene, windowPosition);
    if (!point) return city.say(text("no_ground"));
    const last = job.points.at(-1);
    if (last && Cesium.Cartesian3.distance(last, point) < 0.01) return undefined; // the second click of a double click
    job.points.push(point);
    job.changed(job.points);
    city.scene.requestRender();
    if (job.points.length >= job.most) this.finish();
    return undefined;
  }

  hover(windowPosition) {
    const ray = this.city.camera.getPickRay(windowPosition);
    this.job.ahead = this.job.points.length ? (ray && this.city.scene.globe.pick(ray, this.city.scene)) ?? null : null;
    this.city.scene.requestRender();
  }

  key(event) {
    if (event.key === "Enter" && event.shiftKey) this.finish();
    else if (event.key === "Enter") this.add(middleOf(this.city.scene));
    else if (event.key === "Backspace") {
      this.job.points.pop();
      this.job.changed(this.job.points);
    } else return;
    event.preventDefault();
    event.stopImmediatePropagation();
    this.city.scene.requestRender();
  }

  finish() {
    const { job } = this;
    if (job.points.length < FEWEST[job.kind]) return this.city.say(text("too_few_points", { count: FEWEST[job.kind] }));
    return this.end(job.points);
  }

  cancel() {
    if (this.job) this.end(null);
  }

  end(points) {
    const { job, city } = this;
    this.job = null;
    city.widget.entities.remove(this.sketch);
    // A click that ends a drawing must not pick as well.
    setTimeout(() => city.busy === this && (city.busy = null), 0);
    city.say("");
    city.scene.requestRender();
    job.resolve(points);
  }
}
