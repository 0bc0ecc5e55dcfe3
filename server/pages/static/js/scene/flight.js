// Flights: along a drawn path, or from one kept viewpoint to the next; with a speed, in a loop, ended by Escape.

import * as Cesium from "cesium";
import { html, nothing, render } from "lit";
import { placeOf } from "./globe.js";
import { number, text } from "./texts.js";

const KEEP = "chengtu-viewpoints";
const HIGH = 120; // metres over the drawn path
const LOOKING_DOWN = -20; // degrees
const MOST = 40; // kept viewpoints

/** Kept viewpoints of this page, from the browser's own store; an unreadable store is an empty one. */
function kept() {
  try {
    const list = JSON.parse(localStorage.getItem(`${KEEP} ${location.pathname}`) ?? "[]");
    return Array.isArray(list) ? list.filter((one) => ["lon", "lat", "height", "heading", "pitch"].every((key) => Number.isFinite(one?.[key]))).slice(0, MOST) : [];
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof DOMException) return [];
    throw error;
  }
}

export class Flight {
  constructor(city) {
    Object.assign(this, { city, speed: 40, loop: false, flying: null, viewpoints: kept() });
    this.element = document.getElementById("tool-tour-body");
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.flying) this.stop();
    });
    this.draw();
  }

  keep() {
    const { camera } = this.city;
    const degrees = Cesium.Math.toDegrees;
    this.viewpoints = [...this.viewpoints, { ...placeOf(camera.positionWC), heading: degrees(camera.heading), pitch: degrees(camera.pitch) }].slice(-MOST);
    this.store();
  }

  store() {
    try {
      localStorage.setItem(`${KEEP} ${location.pathname}`, JSON.stringify(this.viewpoints));
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      this.city.warn(text("tour_not_kept"));
    }
    this.draw();
  }

  async alongPath() {
    const points = await this.city.tools.drawing.start({ kind: "line", hint: text("draw_path") });
    if (!points) return;
    const stops = points.map(placeOf).map(({ lon, lat, height }) => ({ lon, lat, height: height + HIGH, pitch: LOOKING_DOWN, heading: null }));
    this.start(stops);
  }

  /** Fly over stops {lon, lat, height, heading (null: along the path), pitch}. */
  start(stops) {
    this.stop();
    const positions = stops.map(({ lon, lat, height }) => Cesium.Cartesian3.fromDegrees(lon, lat, height));
    const times = [0];
    for (let i = 1; i < positions.length; i += 1) times.push(times.at(-1) + Math.max(Cesium.Cartesian3.distance(positions[i - 1], positions[i]), 0.1));
    const spline = positions.length > 2 ? new Cesium.CatmullRomSpline({ times, points: positions }) : new Cesium.LinearSpline({ times, points: positions });
    this.flying = { stops, times, spline, metres: 0, last: performance.now() };
    this.city.camera.cancelFlight();
    this.remove = this.city.scene.preRender.addEventListener(() => this.frame());
    this.city.say(text("tour_flying"));
    this.city.scene.requestRender();
    this.draw();
  }

  frame() {
    const { flying } = this;
    const now = performance.now();
    flying.metres += (Math.min(now - flying.last, 200) / 1000) * this.speed;
    flying.last = now;
    const end = flying.times.at(-1);
    if (flying.metres >= end) {
      if (!this.loop) return this.stop();
      flying.metres %= end;
    }
    this.place(flying);
    // The next frame comes by itself: nothing else moves in a still scene.
    setTimeout(() => this.city.scene.requestRender(), 0);
    return undefined;
  }

  place({ stops, times, spline, metres }) {
    const at = Math.max(times.findLastIndex((time) => time <= metres), 0);
    const next = Math.min(at + 1, stops.length - 1);
    const part = next === at ? 0 : (metres - times[at]) / (times[next] - times[at]);
    const position = spline.evaluate(metres);
    const turned = (from, to) => from + ((((to - from) % 360) + 540) % 360 - 180) * part;
    const heading = stops[at].heading === null ? this.bearing(spline, metres, times.at(-1)) : Cesium.Math.toRadians(turned(stops[at].heading, stops[next].heading));
    const pitch = Cesium.Math.toRadians(stops[at].pitch + (stops[next].pitch - stops[at].pitch) * part);
    this.city.camera.setView({ destination: position, orientation: { heading, pitch, roll: 0 } });
  }

  /** Where the path leads: the bearing from a little behind to a little ahead. */
  bearing(spline, metres, end) {
    const [a, b] = [Math.max(metres - 15, 0), Math.min(metres + 15, end)].map((m) => Cesium.Cartographic.fromCartesian(spline.evaluate(m)));
    return new Cesium.EllipsoidGeodesic(a, b).startHeading;
  }

  stop() {
    if (!this.flying) return;
    this.flying = null;
    this.remove();
    this.city.say(text("tour_ended"));
    this.draw();
  }

  draw() {
    const { flying, viewpoints } = this;
    const drop = (i) => {
      this.viewpoints = viewpoints.filter((_, n) => n !== i);
      this.store();
    };
    const button = (id, act, label, more = {}) => html`<button type="button" class="button button-small" id=${id} ?disabled=${more.disabled ?? false} @click=${act}>${label}</button>`;
    render(
      html`<p class="muted small">${text("tour_help")}</p>
        <div class="tool-buttons">
          ${flying ? button("tour-stop", () => this.stop(), text("tour_stop")) : html`${button("tour-path", () => this.alongPath(), text("tour_path"))}
            ${button("tour-views", () => this.start(viewpoints), text("tour_views"), { disabled: viewpoints.length < 2 })}`}
          ${button("tour-keep", () => this.keep(), text("tour_keep"))}
        </div>
        <label class="slider"><span>${text("tour_speed")} <output>${number(this.speed)} m/s</output></span><input type="range" name="tour-speed" min="5" max="300" step="5" .value=${String(this.speed)} @input=${(event) => {
          this.speed = Number(event.target.value);
          this.draw();
        }} /></label>
        <label class="check"><input type="checkbox" name="tour-loop" .checked=${this.loop} @change=${(event) => (this.loop = event.target.checked)} /> ${text("tour_loop")}</label>
        ${viewpoints.length ? html`<ol class="hits">${viewpoints.map((one, i) => html`<li><button type="button" class="link-button" @click=${() => this.city.tools.address.look(one)}>${text("tour_view", { number: i + 1 })}</button>
          <button type="button" class="link-button" aria-label="${text("remove")} ${i + 1}" @click=${() => drop(i)}>${text("remove")}</button></li>`)}</ol>` : nothing}`,
      this.element,
    );
  }
}
