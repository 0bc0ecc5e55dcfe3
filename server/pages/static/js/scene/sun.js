// The sun at a day and an hour: its direction, and the shadows it throws.

import * as Cesium from "cesium";
import { html, nothing, render } from "lit";
import { sunAt } from "./geodesy.js";
import { lightFrom } from "./globe.js";
import { number, text } from "./texts.js";

const two = (value) => String(value).padStart(2, "0");

export class Sun {
  constructor(city) {
    this.city = city;
    this.instant = null; // "2026-06-21T10:00Z", null: a light that stands still
    this.element = document.getElementById("tool-sun-body");
    this.draw();
  }

  get state() {
    return this.instant;
  }

  restore(state) {
    this.set(state ?? null, { quiet: true });
  }

  get middle() {
    const [west, south, east, north] = this.city.bounds ?? [0, 0, 0, 0];
    return [(west + east) / 2, (south + north) / 2];
  }

  /** Hours that the sun's time at this place is ahead of UTC. */
  get ahead() {
    return Math.round(this.middle[0] / 15);
  }

  set(instant, { quiet = false } = {}) {
    const { scene, bounds, budget } = this.city;
    this.instant = instant;
    if (instant) {
      const sun = sunAt(...this.middle, new Date(instant));
      const strength = Math.min(Math.max((sun.height + 4) / 12, 0), 1);
      lightFrom(scene, bounds, sun.azimuth, Math.max(sun.height, 1), 0.4 + 2.4 * strength);
      this.where = sun;
      scene.shadowMap.enabled = sun.height > 0;
      scene.shadowMap.size = budget.shadows;
      scene.shadowMap.softShadows = budget.kind === "desktop";
      scene.shadowMap.maximumDistance = 2500;
      scene.shadowMap.darkness = 0.45;
      scene.globe.shadows = Cesium.ShadowMode.RECEIVE_ONLY;
    } else {
      lightFrom(scene, bounds);
      scene.shadowMap.enabled = false;
    }
    scene.requestRender();
    this.draw();
    if (!quiet) this.city.changed();
  }

  /** The day and the minute of the day at this place of the instant. */
  local() {
    const date = new Date(Date.parse(this.instant) + this.ahead * 3_600_000);
    return { day: date.toISOString().slice(0, 10), minute: date.getUTCHours() * 60 + date.getUTCMinutes() };
  }

  at(day, minute, quiet = false) {
    const date = new Date(Date.parse(`${day}T00:00Z`) + minute * 60_000 - this.ahead * 3_600_000);
    if (!Number.isNaN(date.getTime())) this.set(`${date.toISOString().slice(0, 16)}Z`, { quiet });
  }

  draw() {
    const on = () => this.at(new Date().toISOString().slice(0, 10), 11 * 60);
    const local = this.instant && this.local();
    render(
      html`<div class="tool-buttons">
          ${this.instant ? html`<button type="button" class="button button-small" id="sun-off" @click=${() => this.set(null)}>${text("sun_off")}</button>` : html`<button type="button" class="button button-small" id="sun-on" @click=${on}>${text("sun_on")}</button>`}
        </div>
        ${local ? html`<label class="field">${text("time_day")} <input type="date" name="sun-day" .value=${local.day} @change=${(event) => this.at(event.target.value, local.minute)} /></label>
          <label class="slider"><span>${text("sun_hour")} <output>${two(Math.floor(local.minute / 60))}:${two(local.minute % 60)}</output></span>
            <input type="range" name="sun-hour" min="0" max="1435" step="5" .value=${String(local.minute)} @input=${(event) => this.at(local.day, Number(event.target.value), true)} @change=${() => this.city.changed()} /></label>
          <p class="muted small">${text("sun_where", { height: number(this.where.height, 1), azimuth: number(this.where.azimuth, 1) })}</p>` : nothing}`,
      this.element,
    );
  }
}
