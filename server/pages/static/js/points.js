// The page of a point cloud: its classes as bars, and a part of it to download, counted before.

import { html, render } from "lit";
import { getJSON, message, settings } from "./page.js";
import { addBox } from "./points-box.js";
import { colourOfClass } from "./scene/points-classes.js";

const DIGITS = 6; // of degrees: a decimetre
const SIDES = ["west", "south", "east", "north"];

const number = (value, digits = 0) => new Intl.NumberFormat(settings.language, { maximumFractionDigits: digits }).format(value);

export class PointsPage {
  constructor(points, bounds, map) {
    this.points = points;
    this.bounds = bounds;
    this.map = map;
    this.form = document.getElementById("points-form");
    this.status = document.getElementById("points-status");
    this.estimate = document.getElementById("points-estimate");
    this.download = document.getElementById("points-download");
    this.show = map ? addBox(map) : () => {};
    this.form.addEventListener("submit", (event) => this.count(event));
    this.form.addEventListener("input", () => this.changed());
    document.getElementById("points-from-map").addEventListener("click", () => this.fromMap());
    this.write(bounds);
  }

  /** The classes of all points that this reader may see. */
  async start() {
    try {
      const { count, classes = [] } = await getJSON(this.points.statistics);
      const found = [...classes].sort((a, b) => b.count - a.count);
      this.status.textContent = found.length ? "" : message("points.no_classes");
      this.bars(found, count);
      this.choices(found);
    } catch (error) {
      console.warn(error);
      this.status.textContent = message("points.failed");
    }
  }

  bars(found, count) {
    const most = found[0]?.count ?? 1;
    const row = ({ code, name, count: points }) => html`<tr><th scope="row">${name} <span class="muted">${code}</span></th>
      <td class="bar"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect width=${Math.max((100 * points) / most, 0.5)} height="10" fill=${colourOfClass(code)}></rect></svg></td>
      <td class="number">${number(points)}</td><td class="number">${number((100 * points) / count, 2)} %</td></tr>`;
    render(html`<table class="points-bars"><tbody>${found.map(row)}</tbody></table>`, document.getElementById("points-classes"));
  }

  choices(found) {
    const select = this.form.elements.class;
    for (const { code, name } of found) select.append(new Option(`${name} (${code})`, String(code)));
  }

  write(box) {
    SIDES.forEach((side, i) => {
      this.form.elements[side].value = String(Number(box[i].toFixed(DIGITS)));
    });
    this.changed();
  }

  get box() {
    return SIDES.map((side) => Number(this.form.elements[side].value));
  }

  /** The part of the map in view, as far as there are points. */
  fromMap() {
    if (!this.map) return;
    const seen = this.map.getBounds().toArray().flat();
    const part = this.bounds.map((side, i) => (i < 2 ? Math.max(side, seen[i]) : Math.min(side, seen[i])));
    if (part[0] < part[2] && part[1] < part[3]) this.write(part);
  }

  changed() {
    this.estimate.textContent = "";
    this.download.hidden = true;
    this.show(this.box);
  }

  question() {
    const only = this.form.elements.class.value;
    const query = new URLSearchParams({ bbox: this.box.join(",") });
    if (only) query.set("filter", `Classification = ${only}`);
    return query;
  }

  /** How many points that would be; then the link to them. */
  async count(event) {
    event.preventDefault();
    const query = this.question();
    this.estimate.textContent = message("points.counting");
    try {
      const { count, exact = true } = await getJSON(`${this.points.statistics}&${query}`);
      if (String(query) !== String(this.question())) return;
      this.estimate.textContent = exact ? message("points.counted", { count: number(count) }) : message("points.estimated", { count: number(count) });
      this.download.href = `${this.points.points}?${query}&f=${this.form.elements.f.value}`;
      this.download.hidden = count === 0;
    } catch (error) {
      console.warn(error);
      this.estimate.textContent = message("points.failed");
    }
  }
}
