// The points along a section, from the side: distance to the right, height upwards. The server finds them; a canvas shows them.

import * as Cesium from "cesium";
import { html, nothing, render } from "lit";
import { getJSON } from "../page.js";
import { placeOf } from "./globe.js";
import { colourOfClass } from "./points-classes.js";
import { length, number, text } from "./texts.js";

const LENGTHS = [50, 100, 200, 500, 1000]; // metres
const WIDTH = 1; // metres to each side of the section
const MOST = 20_000;
const SIZE = { width: 320, height: 200, left: 34, bottom: 18, top: 8, right: 6 };
const GROUND = "#783c14";
const PLAIN = "#5a5a5a";

/** A round step that divides `span` into three to six parts. */
function stepOf(span) {
  const power = 10 ** Math.floor(Math.log10(Math.max(span, 1e-6) / 3));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => span / step <= 6) ?? span;
}

/** The ends [lon, lat] of a line through the middle of a section, from its left to its right as the reader looks at it. */
export function lineOf({ lon, lat, heading }, metres) {
  const frame = Cesium.Transforms.eastNorthUpToFixedFrame(Cesium.Cartesian3.fromDegrees(lon, lat));
  const h = Cesium.Math.toRadians(heading);
  return [-0.5, 0.5].map((part) => {
    const point = new Cesium.Cartesian3(part * metres * Math.cos(h), -part * metres * Math.sin(h), 0);
    const end = placeOf(Cesium.Matrix4.multiplyByPoint(frame, point, point));
    return [end.lon, end.lat];
  });
}

function drawAxes(context, { x, y, low, high, end, ink }) {
  context.font = "10px sans-serif";
  context.fillStyle = ink;
  context.strokeStyle = "rgb(128 128 128 / 30%)";
  context.lineWidth = 1;
  context.textAlign = "right";
  const rise = stepOf(high - low);
  for (let value = Math.ceil(low / rise) * rise; value <= high; value += rise) {
    context.beginPath();
    context.moveTo(SIZE.left, y(value));
    context.lineTo(SIZE.width - SIZE.right, y(value));
    context.stroke();
    context.fillText(number(value, rise < 1 ? 1 : 0), SIZE.left - 4, y(value) + 3);
  }
  context.textAlign = "center";
  const along = stepOf(end);
  for (let value = 0; value <= end - along / 2; value += along) context.fillText(number(value), Math.max(x(value), SIZE.left + 4), SIZE.height - 5);
  context.textAlign = "right";
  context.fillText(length(end), SIZE.width - SIZE.right, SIZE.height - 5);
}

/** Draw an answer of /points/profile; classes in `hidden` are left out. */
function draw(canvas, found, hidden) {
  const context = canvas.getContext("2d");
  const sharp = Math.max(window.devicePixelRatio, 1);
  Object.assign(canvas, { width: SIZE.width * sharp, height: SIZE.height * sharp });
  context.scale(sharp, sharp);
  const { points, heights } = found;
  const unit = heights?.metresPerUnit ?? 1;
  const kept = points.Z.map((_, i) => i).filter((i) => !hidden.includes(points.Classification?.[i]));
  let [low, high] = [Infinity, -Infinity];
  for (const i of kept) [low, high] = [Math.min(low, points.Z[i] * unit), Math.max(high, points.Z[i] * unit)];
  if (low > high) return;
  if (high - low < 1) [low, high] = [low - 0.5, high + 0.5];
  const x = (metres) => SIZE.left + (metres / found.length) * (SIZE.width - SIZE.left - SIZE.right);
  const y = (metres) => SIZE.height - SIZE.bottom - ((metres - low) / (high - low)) * (SIZE.height - SIZE.bottom - SIZE.top);
  drawAxes(context, { x, y, low, high, end: found.length, ink: getComputedStyle(canvas).color });
  for (const i of kept) {
    context.fillStyle = points.Classification ? colourOfClass(points.Classification[i]) : PLAIN;
    context.fillRect(x(points.distance[i]) - 0.75, y(points.Z[i] * unit) - 0.75, 1.5, 1.5);
  }
  if (found.ground) drawGround(context, found.ground, x, (z) => y(z * unit));
}

function drawGround(context, { distance, terrain }, x, y) {
  context.strokeStyle = GROUND;
  context.lineWidth = 1.2;
  context.beginPath();
  let down = false;
  terrain.forEach((z, i) => {
    if (z !== null) context[down ? "lineTo" : "moveTo"](x(distance[i]), y(z));
    down = z !== null;
  });
  context.stroke();
}

export class PointsProfile {
  constructor(city) {
    this.city = city;
    this.metres = 200;
    this.layer = null;
    this.found = null; // {at, answer} or {at, failed}
    this.element = document.getElementById("tool-profile-body");
    this.element.append(Object.assign(document.createElement("div")), Object.assign(document.createElement("canvas"), { hidden: true }));
    [this.form, this.canvas] = this.element.children;
    this.canvas.className = "points-profile";
    this.canvas.setAttribute("role", "img");
    for (const news of ["layers", "changed"]) city.on(news, () => this.draw());
  }

  /** Layers of points that a section goes through and a server cuts. */
  get layers() {
    return this.city.layers.filter((layer) => layer.points?.settings.profile && !layer.failed && layer.visible);
  }

  async ask() {
    const at = this.city.tools.section.state;
    const layer = this.layer ?? this.layers[0];
    if (!at || !layer) return;
    const line = lineOf(at, this.metres).map(([lon, lat]) => `${lon.toFixed(8)} ${lat.toFixed(8)}`).join(",");
    const query = new URLSearchParams({ f: "json", coords: `LINESTRING(${line})`, width: String(WIDTH), "max-points": String(MOST) });
    this.asking = JSON.stringify([at, this.metres]);
    const mine = this.asking;
    try {
      const answer = await getJSON(`${layer.points.settings.profile}?${query}`);
      if (this.asking === mine) this.found = { at: mine, answer, layer };
    } catch (error) {
      if (this.asking === mine) this.found = { at: mine, failed: error.message };
    }
    this.draw();
  }

  draw() {
    const { section } = this.city.tools;
    const { layers } = this;
    const shown = Boolean(section?.at) && layers.length > 0;
    this.element.hidden = !shown;
    if (!shown) return;
    const { found } = this;
    const stale = found && found.at !== JSON.stringify([section.state, this.metres]);
    const points = !stale && found?.answer;
    const measure = ({ target }) => {
      this.metres = Number(target.value);
      if (found) this.ask();
    };
    const choose = ({ target }) => {
      this.layer = this.city.layer(target.value);
      this.ask();
    };
    render(
      html`<h3>${text("points_along")}</h3>
        ${layers.length > 1 ? html`<label class="field">${text("group_points")} <select name="profile-layer" @change=${choose}>${layers.map(({ id, settings }) => html`<option value=${id} ?selected=${this.layer?.id === id}>${settings.title}</option>`)}</select></label>` : nothing}
        <label class="field">${text("points_along_length")} <select name="profile-length" @change=${measure}>${LENGTHS.map((metres) => html`<option value=${metres} ?selected=${metres === this.metres}>${length(metres)}</option>`)}</select></label>
        <div class="tool-buttons"><button type="button" class="button button-small" id="points-along" @click=${() => this.ask()}>${text("points_along_show")}</button></div>
        ${stale ? html`<p class="muted small">${text("points_along_moved")}</p>` : nothing}
        ${found?.failed && !stale ? html`<p role="alert">${text("profile_failed", { why: found.failed })}</p>` : nothing}
        ${points ? html`<p class="muted small">${points.numberReturned ? text("points_along_found", { count: number(points.numberReturned), width: number(2 * WIDTH) }) : text("nothing_here")}</p>` : nothing}`,
      this.form,
    );
    this.canvas.hidden = !points || points.numberReturned === 0;
    this.canvas.setAttribute("aria-label", text("points_along"));
    if (!this.canvas.hidden) draw(this.canvas, points, found.layer.points.look.hidden);
  }
}
